/**
 * Being a member of one consumer group, by the classic protocol: join, beat, commit, leave.
 *
 * Rule 1: a commit is made in the name of the generation that was joined, and a refusal is an error: it says that the
 *         partitions may be another member's. Only `join` gives a new generation.
 * Rule 2: who coordinates the group is forgotten whenever a call to it fails, and found again by the next.
 */

import { ASSIGNOR, assign, readAssignment, readSubscription, writeAssignment, writeSubscription } from "./assignor.js";
import { type CallOptions, type Cluster, NoTopicError, says } from "./cluster.js";
import type { FindCoordinatorAnswer, JoinGroupAnswer, OffsetFetchAnswer, SyncGroupAnswer } from "./wire.js";

const GROUP_KEY = 0;
const JOIN_EXTRA_MS = 10_000;
/** A member of another client may take this long to come when a group is shared out anew. */
const JOIN_MS_MAX = 330_000;

export interface MembershipOptions {
  readonly group: string;
  readonly topic: string;
  readonly sessionMs: number;
  readonly rebalanceMs: number;
}

/** What a heartbeat brings: nothing new, a word to join anew, or that the broker has taken this member for gone. */
export type Word = "ok" | "rebalance" | "lost";

export class Membership {
  readonly #cluster: Cluster;
  readonly #options: MembershipOptions;
  #coordinator: number | undefined;
  #memberId = "";
  #generation = -1;
  #count = 0;
  #isLeader = false;

  constructor(cluster: Cluster, options: MembershipOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  /** How many partitions the topic had when the group was last joined. */
  get count(): number {
    return this.#count;
  }

  /** Join, and share out when this member leads; return the partitions of this member. Waits for the other members. */
  async join(signal: AbortSignal): Promise<number[]> {
    const { group, topic, sessionMs, rebalanceMs } = this.#options;
    this.#count = (await this.#cluster.topic(topic, { isFresh: true, signal })).partitionsCount;
    const protocols = [{ name: ASSIGNOR, metadata: writeSubscription([topic]) }];
    const timeoutMs = Math.max(JOIN_MS_MAX, rebalanceMs + JOIN_EXTRA_MS);
    let joined: JoinGroupAnswer;
    try {
      const args = [group, sessionMs, rebalanceMs, this.#memberId, null, "consumer", protocols, ""];
      joined = await this.#ask<JoinGroupAnswer>("JoinGroup", args, { timeoutMs, signal });
    } catch (error) {
      if (says(error, "MEMBER_ID_REQUIRED")) {
        // Brokers name a member before they let it in.
        this.#memberId = memberIdIn(error);
        return this.join(signal);
      }
      if (says(error, "UNKNOWN_MEMBER_ID")) this.#memberId = "";
      throw error;
    }
    this.#memberId = joined.memberId ?? "";
    this.#generation = joined.generationId;
    this.#isLeader = joined.leader === this.#memberId;
    const assignments = this.#isLeader ? await this.#shareOut(joined, signal) : [];
    const args = [group, this.#generation, this.#memberId, null, "consumer", joined.protocolName, assignments];
    const synced = await this.#ask<SyncGroupAnswer>("SyncGroup", args, { timeoutMs, signal });
    return readAssignment(synced.assignment).get(topic) ?? [];
  }

  async heartbeat(timeoutMs: number): Promise<Word> {
    try {
      await this.#ask("Heartbeat", [this.#options.group, this.#generation, this.#memberId, null], { timeoutMs });
      return "ok";
    } catch (error) {
      if (says(error, "REBALANCE_IN_PROGRESS")) return "rebalance";
      if (!says(error, "ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "FENCED_INSTANCE_ID")) throw error;
      this.#memberId = "";
      return "lost";
    }
  }

  /** Whether the topic has other partitions than were shared out. Only the member that leads looks. */
  async hasChanged(): Promise<boolean> {
    if (!this.#isLeader) return false;
    const { partitionsCount } = await this.#cluster.topic(this.#options.topic, { isFresh: true });
    return partitionsCount !== this.#count;
  }

  /** The committed offsets of partitions; -1 where there is none. */
  async committed(partitions: readonly number[]): Promise<Map<number, number>> {
    const { group, topic } = this.#options;
    const topics = [{ name: topic, partitionIndexes: [...partitions] }];
    const asked = [[{ groupId: group, memberId: null, memberEpoch: -1, topics }], false];
    const answer = await this.#ask<OffsetFetchAnswer>("OffsetFetch", asked);
    const found = answer.groups.flatMap((one) => one.topics).flatMap((one) => one.partitions);
    return new Map(found.map((place) => [place.partitionIndex, Number(place.committedOffset)]));
  }

  /** Commit offsets. Rejects when the broker has not confirmed them. */
  async commit(offsets: ReadonlyMap<number, number>): Promise<void> {
    const { group, topic } = this.#options;
    const partitions = [...offsets].map(([partitionIndex, offset]) => ({
      partitionIndex,
      committedOffset: BigInt(offset),
      committedLeaderEpoch: -1,
      committedMetadata: null,
    }));
    await this.#ask("OffsetCommit", [group, this.#generation, this.#memberId, null, [{ name: topic, partitions }]]);
  }

  /** Leave the group, if it was joined. */
  async leave(timeoutMs: number): Promise<void> {
    if (this.#memberId === "") return;
    const members = [{ memberId: this.#memberId, groupInstanceId: null, reason: "" }];
    this.#memberId = "";
    await this.#ask("LeaveGroup", [this.#options.group, members], { timeoutMs });
  }

  async #shareOut(joined: JoinGroupAnswer, signal: AbortSignal): Promise<{ memberId: string; assignment: Buffer }[]> {
    const members = joined.members.map(({ memberId, metadata }) => ({
      memberId,
      topics: metadata === null ? [] : readSubscription(metadata),
    }));
    const counts = new Map<string, number>();
    for (const topic of new Set(members.flatMap(({ topics }) => topics))) {
      try {
        counts.set(topic, (await this.#cluster.topic(topic, { isFresh: true, signal })).partitionsCount);
      } catch (error) {
        // A member that is told of another topic than this one must not keep the others from their jobs.
        if (!(error instanceof NoTopicError)) throw error;
      }
    }
    this.#count = counts.get(this.#options.topic) ?? this.#count;
    return [...assign(members, counts)].map(([memberId, partitions]) => ({
      memberId,
      assignment: writeAssignment(partitions),
    }));
  }

  async #ask<R>(name: string, args: unknown[], options: CallOptions = {}): Promise<R> {
    try {
      this.#coordinator ??= await this.#find(options.signal);
      return await this.#cluster.call<unknown[], R>(this.#coordinator, name, args, options);
    } catch (error) {
      const isAnswer = says(
        error,
        "REBALANCE_IN_PROGRESS",
        "ILLEGAL_GENERATION",
        "UNKNOWN_MEMBER_ID",
        "MEMBER_ID_REQUIRED",
      );
      if (!isAnswer) this.#coordinator = undefined;
      throw error;
    }
  }

  async #find(signal: AbortSignal | undefined): Promise<number> {
    const { group } = this.#options;
    const args = [GROUP_KEY, [group]];
    const answer = await this.#cluster.call<unknown[], FindCoordinatorAnswer>(undefined, "FindCoordinator", args, {
      signal,
    });
    const found = answer.coordinators.find(({ key }) => key === group);
    if (found === undefined || found.nodeId < 0) throw new Error(`nobody coordinates ${group} yet`);
    return found.nodeId;
  }
}

function memberIdIn(error: unknown): string {
  const { response } = error as { response?: JoinGroupAnswer };
  const { memberId } = response ?? {};
  if (!memberId) throw error;
  return memberId;
}
