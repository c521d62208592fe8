/** Reading partitions without a group: where they begin and end, and one fetch from one broker. */

import type { KafkaRecord } from "@platformatic/kafka";
import type { CallOptions, Cluster } from "./cluster.js";
import type { FetchAnswer, FetchedPartition, ListOffsetsAnswer } from "./wire.js";

export const LATEST = -1;
export const EARLIEST = -2;

const NO_REPLICA = -1;
const READ_COMMITTED = 1;
const IS_TRANSACTIONAL = 0x10;
const IS_CONTROL = 0x20;
const ANSWER_EXTRA_MS = 10_000;

/** A partition of a topic. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

export interface Entry {
  readonly offset: number;
  readonly record: KafkaRecord;
}

/** What a fetch brought of one partition. `code` is Kafka's, 0 when all is well; `end` is where to go on. */
export interface Fetched extends Place {
  readonly code: number;
  readonly entries: readonly Entry[];
  readonly end: number;
}

export function placeKey({ topic, partition }: Place): string {
  return `${topic}/${partition}`;
}

/** The offsets of the first records from a moment on (milliseconds, `LATEST`, `EARLIEST`); -1 where there is none. */
export async function listOffsets(
  cluster: Cluster,
  topic: string,
  partitions: Iterable<number>,
  timestamp: number,
  options: CallOptions = {},
): Promise<Map<number, number>> {
  const known = await cluster.topic(topic, options);
  const byLeader = groupByLeader(partitions, (partition) => known.partitions[partition]?.leader ?? -1);
  const found = new Map<number, number>();
  for (const [leader, numbers] of byLeader) {
    const asked = numbers.map((partitionIndex) => ({
      partitionIndex,
      currentLeaderEpoch: -1,
      timestamp: BigInt(timestamp),
    }));
    const args = [NO_REPLICA, READ_COMMITTED, [{ name: topic, partitions: asked }]];
    const answer = await cluster.call<unknown[], ListOffsetsAnswer>(leader, "ListOffsets", args, options);
    for (const { partitionIndex, offset } of answer.topics.flatMap((one) => one.partitions)) {
      found.set(partitionIndex, Number(offset));
    }
  }
  return found;
}

export interface FetchOptions {
  readonly waitMs: number;
  readonly bytesMax: number;
  readonly partitionBytesMax: number;
  readonly signal: AbortSignal;
}

/** Fetch from one broker, from the offsets that are given. `ids`: the topics' ids by their names. */
export async function fetchFrom(
  cluster: Cluster,
  node: number,
  positions: readonly (Place & { readonly offset: number })[],
  ids: ReadonlyMap<string, string>,
  options: FetchOptions,
): Promise<Fetched[]> {
  const { waitMs, bytesMax, partitionBytesMax, signal } = options;
  const topics = [...new Set(positions.map(({ topic }) => topic))].map((topic) => ({
    topicId: ids.get(topic) ?? "",
    partitions: positions
      .filter((position) => position.topic === topic)
      .map(({ partition, offset }) => ({
        partition,
        currentLeaderEpoch: -1,
        fetchOffset: BigInt(offset),
        lastFetchedEpoch: -1,
        partitionMaxBytes: partitionBytesMax,
      })),
  }));
  const args = [waitMs, 1, bytesMax, READ_COMMITTED, 0, 0, topics, [], ""];
  const call = { timeoutMs: waitMs + ANSWER_EXTRA_MS, signal };
  let answer: FetchAnswer;
  try {
    answer = await cluster.call<unknown[], FetchAnswer>(node, "Fetch", args, call);
  } catch (error) {
    // One partition that cannot be read makes the client throw; the others are in the answer all the same.
    const { response } = error as { response?: FetchAnswer };
    if (response === undefined || response.errorCode !== 0) throw error;
    answer = response;
  }
  const names = new Map([...ids].map(([name, id]) => [id, name]));
  const starts = new Map(positions.map((position) => [placeKey(position), position.offset]));
  return answer.responses.flatMap(({ topicId, partitions }) =>
    partitions.flatMap((raw) => {
      const place = { topic: names.get(topicId) ?? "", partition: raw.partitionIndex };
      const start = starts.get(placeKey(place));
      return start === undefined ? [] : { ...place, code: raw.errorCode, ...unpack(raw, start) };
    }),
  );
}

/** The records from an offset on, without those of transactions that came to nothing. */
function unpack(raw: FetchedPartition, start: number): { entries: Entry[]; end: number } {
  const entries: Entry[] = [];
  let end = start;
  const aborted = [...(raw.abortedTransactions ?? [])].sort((one, other) =>
    Number(one.firstOffset - other.firstOffset),
  );
  const dropped = new Set<bigint>();
  for (const batch of raw.records ?? []) {
    const first = Number(batch.firstOffset);
    const last = first + batch.lastOffsetDelta;
    while (aborted[0] !== undefined && Number(aborted[0].firstOffset) <= last) {
      dropped.add(aborted[0].producerId);
      aborted.shift();
    }
    if (batch.attributes & IS_CONTROL) {
      dropped.delete(batch.producerId);
    } else if (!(batch.attributes & IS_TRANSACTIONAL && dropped.has(batch.producerId))) {
      for (const record of batch.records) {
        const offset = first + record.offsetDelta;
        if (offset >= start) entries.push({ offset, record });
      }
    }
    end = Math.max(end, last + 1);
  }
  return { entries, end };
}

function groupByLeader(partitions: Iterable<number>, leaderOf: (partition: number) => number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const partition of partitions) {
    const leader = leaderOf(partition);
    found.set(leader, [...(found.get(leader) ?? []), partition]);
  }
  return found;
}
