/**
 * Reading the jobs of all actions: the groups share out the partitions, one fetch brings what they have.
 *
 * A fetch costs the broker as much as a hundred records do, and one for each action would bring every record to each.
 *
 * Rule 1: what is read are the partitions that any group of this worker has; a job is given to the share of its action, and
 *         only where that action's group has the partition.
 * Rule 2: each group begins at an offset of its own. Reading goes back to the one that is furthest behind; what lies below the
 *         floor of a share it has had, or somebody else has.
 * Rule 3: so many jobs, and bytes of them, may wait for a place; then nothing is read. What was fetched beyond them lies here
 *         unread, at most one answer of each broker.
 * Rule 4: whatever was fetched before reading had to begin elsewhere is thrown away: it comes again.
 */

import { Backoff } from "../http.js";
import type { Logger } from "../logging.js";
import { now, Wake } from "../waiting.js";
import { type Cluster, codesOf, isTrouble, reasonOf } from "./cluster.js";
import {
  EARLIEST,
  type Entry,
  type Fetched,
  fetchFrom,
  LATEST,
  listOffsets,
  type Place,
  placeKey,
} from "./fetching.js";
import { actionOf, type KafkaJob, readJob, UndecodableError } from "./records.js";
import type { KafkaSettings } from "./settings.js";
import type { Undecodable } from "./undecodable.js";

const LOOK_MS = 100;
const WAITING_MAX = 250;
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
const RETRY_MS_MAX = 2_000;
const OFFSET_OUT_OF_RANGE = 1;

/** What one action gets: jobs that wait, and the partitions of its group with the offsets where it began. */
export class Share {
  readonly action: string;
  readonly topic: string;
  pending: KafkaJob[] = [];
  readonly floors = new Map<number, number>();
  readonly onArrival: () => void;

  constructor(action: string, topic: string, onArrival: () => void) {
    this.action = action;
    this.topic = topic;
    this.onArrival = onArrival;
  }
}

/** The next record of a partition. A new object whenever reading begins elsewhere. */
class Position implements Place {
  readonly topic: string;
  readonly partition: number;
  offset: number;
  isFetching = false;
  /** What was fetched and is not given out yet. */
  unread: { entries: readonly Entry[]; at: number; end: number } | undefined;

  constructor({ topic, partition }: Place, offset: number) {
    this.topic = topic;
    this.partition = partition;
    this.offset = offset;
  }
}

/** Fetches for all shares of one worker. */
export class Reader {
  readonly #cluster: Cluster;
  readonly #settings: KafkaSettings;
  readonly #leaseMs: number;
  readonly #undecodable: Undecodable;
  readonly #logger: Logger;
  readonly #signal: AbortSignal;
  readonly #shares = new Map<string, Share>();
  readonly #positions = new Map<string, Position>();
  readonly #wake = new Wake({ keep: true });
  readonly #told = new Set<string>();
  readonly #backoff = new Backoff();
  #notBefore = 0;
  #isGivingDue = false;
  #startedAt = now();

  constructor(
    cluster: Cluster,
    settings: KafkaSettings,
    leaseMs: number,
    undecodable: Undecodable,
    logger: Logger,
    signal: AbortSignal,
  ) {
    this.#cluster = cluster;
    this.#settings = settings;
    this.#leaseMs = leaseMs;
    this.#undecodable = undecodable;
    this.#logger = logger;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#wake.notify());
  }

  // ------------------------------------------------------------ the shares

  add(share: Share): void {
    this.#shares.set(share.action, share);
  }

  /** Give a share the jobs of these partitions, from these offsets on. */
  begin(share: Share, starts: ReadonlyMap<number, number>): void {
    for (const [partition, start] of starts) {
      share.floors.set(partition, start);
      const place = { topic: share.topic, partition };
      const position = this.#positions.get(placeKey(place));
      if (position !== undefined && start >= position.offset) continue;
      if (position !== undefined) {
        for (const other of this.#sharesOf(place)) {
          if (other === share) continue;
          other.floors.set(partition, Math.max(other.floors.get(partition) ?? 0, position.offset));
        }
      }
      this.#positions.set(placeKey(place), new Position(place, start));
    }
    this.#wake.notify();
  }

  /** Take partitions away from a share, with the jobs of them that are pending. */
  end(share: Share, partitions: Iterable<number>): void {
    for (const partition of partitions) {
      share.floors.delete(partition);
      const place = { topic: share.topic, partition };
      if (this.#sharesOf(place).length === 0) this.#positions.delete(placeKey(place));
    }
    share.pending = share.pending.filter((job) => share.floors.has(job.place.partition));
    this.madeRoom();
  }

  /** The offset after the last record that was read, of each partition of a share. */
  passed(share: Share): Map<number, number> {
    const found = new Map<number, number>();
    for (const [partition, floor] of share.floors) {
      const position = this.#positions.get(placeKey({ topic: share.topic, partition }));
      found.set(partition, Math.max(floor, position?.offset ?? floor));
    }
    return found;
  }

  /** So many jobs wait that nothing is read: nobody knows what is behind them. */
  get isFull(): boolean {
    const { jobs, bytes } = this.#waiting();
    return jobs >= WAITING_MAX || bytes >= WAITING_BYTES_MAX;
  }

  /** How many jobs wait for a place. */
  get waiting(): number {
    return this.#waiting().jobs;
  }

  /**
   * Since when so many jobs wait that nothing is read, and none of this worker's was started; undefined when not so.
   *
   * A worker that is busy and goes on is not stuck, however many wait.
   */
  get fullSince(): number | undefined {
    return this.isFull ? this.#startedAt : undefined;
  }

  /** Jobs wait no more: they were started, or are others' now. */
  madeRoom(): void {
    this.#startedAt = now();
    if (this.#isGivingDue) return;
    this.#isGivingDue = true;
    setImmediate(() => {
      this.#isGivingDue = false;
      this.#give();
      this.#wake.notify();
    });
  }

  // ------------------------------------------------------------ fetching

  /** Read until the signal. */
  async run(): Promise<void> {
    while (!this.#signal.aborted) {
      const moment = now();
      if (moment >= this.#notBefore && !this.isFull) {
        try {
          await this.#fetchWhatIsWanted();
        } catch (error) {
          this.#failed(error);
        }
      }
      await this.#wake.pause(this.#notBefore > moment ? this.#notBefore - moment : LOOK_MS);
    }
  }

  async #fetchWhatIsWanted(): Promise<void> {
    const wanted = [...this.#positions.values()].filter((one) => !one.isFetching && one.unread === undefined);
    if (wanted.length === 0) return;
    const topics = [...new Set(wanted.map(({ topic }) => topic))];
    const known = (await this.#cluster.metadata(topics, { signal: this.#signal })).topics;
    const ids = new Map([...known].map(([name, { id }]) => [name, id]));
    const byLeader = new Map<number, Position[]>();
    for (const position of wanted) {
      const leader = known.get(position.topic)?.partitions[position.partition]?.leader ?? -1;
      if (leader < 0)
        this.#cluster.forget(); // one is being chosen
      else byLeader.set(leader, [...(byLeader.get(leader) ?? []), position]);
    }
    for (const [leader, positions] of byLeader) void this.#fetch(leader, positions, ids);
  }

  /** Never rejects. */
  async #fetch(leader: number, positions: readonly Position[], ids: ReadonlyMap<string, string>): Promise<void> {
    const { numbers } = this.#settings;
    for (const position of positions) position.isFetching = true;
    // A broker fills its answer from the first partition on: each is the first one in turn.
    const turn = Math.floor(Math.random() * positions.length);
    const order = [...positions.slice(turn), ...positions.slice(0, turn)];
    try {
      const fetched = await fetchFrom(this.#cluster, leader, order, ids, {
        waitMs: numbers["fetch.wait.max.ms"],
        bytesMax: numbers["fetch.max.bytes"],
        partitionBytesMax: numbers["max.partition.fetch.bytes"],
        signal: this.#signal,
      });
      let refused: CodeError | undefined;
      for (const one of fetched) {
        const position = positions.find(({ topic, partition }) => topic === one.topic && partition === one.partition);
        if (position === undefined) continue;
        if (one.code === 0 || one.code === OFFSET_OUT_OF_RANGE) await this.#take(position, one);
        else refused = new CodeError(one.code);
      }
      if (refused !== undefined) throw refused;
      this.#backoff.reset();
    } catch (error) {
      this.#failed(error);
    }
    for (const position of positions) position.isFetching = false;
    this.#give();
    this.#wake.notify();
  }

  async #take(position: Position, { code, entries, end }: Fetched): Promise<void> {
    if (code === OFFSET_OUT_OF_RANGE) await this.#beginWhereThereIs(position);
    else if (end > position.offset) position.unread = { entries, at: 0, end };
  }

  /** The offset is not there: what is left of the topic is read, or all of it when it was made anew. */
  async #beginWhereThereIs(position: Position): Promise<void> {
    const { topic, partition } = position;
    this.#cluster.forget();
    const options = { signal: this.#signal };
    const first = (await listOffsets(this.#cluster, topic, [partition], EARLIEST, options)).get(partition) ?? 0;
    const last = (await listOffsets(this.#cluster, topic, [partition], LATEST, options)).get(partition) ?? 0;
    if (this.#positions.get(placeKey(position)) !== position) return;
    if (position.offset > last) {
      // Its offsets begin again, and nobody has had any of it.
      for (const share of this.#sharesOf(position)) share.floors.set(partition, 0);
    }
    this.#positions.set(placeKey(position), new Position(position, first));
  }

  #failed(error: unknown): void {
    if (this.#signal.aborted) return;
    this.#cluster.forget();
    this.#notBefore = now() + Math.min(RETRY_MS_MAX, 50 + this.#backoff.next());
    // Trouble with the network is told by the session, once for all.
    const reason = reasonOf(error);
    const kind = codesOf(error)[0] ?? reason;
    const isNew = !isTrouble(error) && !this.#told.has(kind);
    this.#told.add(kind);
    this.#logger[isNew ? "warn" : "debug"](`reading jobs: ${reason}`);
  }

  // ------------------------------------------------------------ giving out

  /** Put the jobs where they belong, and pass over everything else, until too many wait. */
  #give(): void {
    const arrived = new Set<Share>();
    const waiting = this.#waiting();
    let jobs = WAITING_MAX - waiting.jobs;
    let bytes = WAITING_BYTES_MAX - waiting.bytes;
    for (const position of this.#positions.values()) {
      const { unread } = position;
      if (unread === undefined) continue;
      while (unread.at < unread.entries.length && jobs > 0 && bytes > 0) {
        const entry = unread.entries[unread.at] as Entry;
        unread.at += 1;
        position.offset = entry.offset + 1;
        const share = this.#put(position, entry);
        if (share === undefined) continue;
        arrived.add(share);
        jobs -= 1;
        bytes -= entry.record.value?.length ?? 0;
      }
      if (unread.at >= unread.entries.length) {
        position.offset = unread.end;
        position.unread = undefined;
      }
    }
    for (const share of arrived) share.onArrival();
  }

  #waiting(): { jobs: number; bytes: number } {
    let jobs = 0;
    let bytes = 0;
    for (const { pending } of this.#shares.values()) {
      jobs += pending.length;
      for (const job of pending) bytes += job.size;
    }
    return { jobs, bytes };
  }

  #put(position: Position, { offset, record }: Entry): Share | undefined {
    try {
      const share = this.#shares.get(actionOf(record));
      const floor = share?.topic === position.topic ? share.floors.get(position.partition) : undefined;
      if (share === undefined || floor === undefined || offset < floor) return undefined;
      const { topic, partition } = position;
      share.pending.push(readJob(share.action, record, { topic, partition }, offset, this.#leaseMs));
      return share;
    } catch (error) {
      if (!(error instanceof UndecodableError)) throw error;
      this.#undecodable.add(position, offset, error.message);
      return undefined;
    }
  }

  #sharesOf({ topic, partition }: Place): Share[] {
    return [...this.#shares.values()].filter((share) => share.topic === topic && share.floors.has(partition));
  }
}

class CodeError extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`the broker says ${code}`);
    this.code = code;
  }
}
