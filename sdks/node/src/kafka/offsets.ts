/** The partitions that a group has here: how far they are passed, what of it is committed, where a new group begins. */

import type { Cluster } from "./cluster.js";
import { LATEST, listOffsets } from "./fetching.js";
import type { Membership } from "./membership.js";
import type { Reader, Share } from "./reader.js";

const LOOKBACK_MS = 3_600_000;
const UNKNOWN = -1;

/** Offsets by partition number. */
export class Offsets {
  /** The partitions of which no commit was confirmed since they were assigned. */
  readonly unsafe = new Set<number>();
  readonly #reader: Reader;
  readonly #share: Share;
  readonly #expected = new Map<number, number>(); // what is committed, or on its way
  readonly #confirmed = new Map<number, number>();

  constructor(reader: Reader, share: Share) {
    this.#reader = reader;
    this.#share = share;
  }

  /** How many partitions are here. */
  get size(): number {
    return this.#expected.size;
  }

  /** What is to be committed: up to the first job that was not started, everything else being passed. */
  changes(): Map<number, number> {
    const offsets = this.#reader.passed(this.#share);
    for (const job of this.#share.pending) {
      const { partition } = job.place;
      offsets.set(partition, Math.min(job.offset, offsets.get(partition) ?? job.offset));
    }
    return new Map([...offsets].filter(([partition, offset]) => this.#expected.get(partition) !== offset));
  }

  /** The same when nothing is on its way that might come through. */
  unconfirmed(): Map<number, number> {
    this.#expected.clear();
    for (const [partition, offset] of this.#confirmed) this.#expected.set(partition, offset);
    return this.changes();
  }

  /** A commit is on its way that nobody waits for. */
  expect(changes: ReadonlyMap<number, number>): void {
    for (const [partition, offset] of changes) this.#expected.set(partition, offset);
  }

  confirm(changes: ReadonlyMap<number, number>): void {
    for (const [partition, offset] of changes) {
      if (!this.#confirmed.has(partition)) continue; // it was taken away meanwhile
      this.#confirmed.set(partition, Math.max(offset, this.#confirmed.get(partition) ?? offset));
      this.#expected.set(partition, Math.max(offset, this.#expected.get(partition) ?? offset));
      this.unsafe.delete(partition);
    }
  }

  /** A commit did not come through: unless a later one is on its way, it is due again. */
  doubt(changes: ReadonlyMap<number, number>): void {
    for (const [partition, offset] of changes) {
      if (this.#expected.get(partition) === offset) this.#expected.set(partition, UNKNOWN);
    }
  }

  /**
   * A commit that was waited for was not confirmed, and may have been made: what is committed is not known. So it is due
   * again, back to the first job that was not started as well: who has the partition next begins there.
   */
  forget(changes: ReadonlyMap<number, number>): void {
    for (const partition of changes.keys()) {
      if (!this.#confirmed.has(partition)) continue; // it was taken away meanwhile
      this.#expected.set(partition, UNKNOWN);
      this.#confirmed.set(partition, UNKNOWN);
    }
  }

  /** Begin at these offsets. */
  takeUp(starts: ReadonlyMap<number, number>): void {
    for (const [partition, offset] of starts) {
      this.#expected.set(partition, offset);
      this.#confirmed.set(partition, offset);
      this.unsafe.add(partition);
    }
    this.#reader.begin(this.#share, starts);
  }

  /** Forget all partitions, and the jobs of them that were not started: the next owner has them. */
  letGo(): void {
    this.#reader.end(this.#share, [...this.#share.floors.keys()]);
    this.#expected.clear();
    this.#confirmed.clear();
    this.unsafe.clear();
  }
}

/** Where a group goes on; where it never was, an hour ago, and that is committed at once. */
export async function whereToBegin(
  cluster: Cluster,
  member: Membership,
  topic: string,
  partitions: readonly number[],
): Promise<Map<number, number>> {
  if (partitions.length === 0) return new Map();
  const starts = await member.committed(partitions);
  const fresh = partitions.filter((partition) => (starts.get(partition) ?? UNKNOWN) < 0);
  if (fresh.length === 0) return starts;
  // The ends are asked for first: a job that is written between the two questions must not be passed over.
  const ends = await listOffsets(cluster, topic, fresh, LATEST);
  const since = await listOffsets(cluster, topic, fresh, Date.now() - LOOKBACK_MS);
  const begun = new Map<number, number>();
  for (const partition of fresh) {
    const found = since.get(partition) ?? UNKNOWN;
    begun.set(partition, found >= 0 ? found : (ends.get(partition) ?? 0));
  }
  // A rebalance may refuse it: the first jobs are committed before they start, so that is not the end of it.
  await member.commit(begun).catch(() => undefined);
  return new Map([...starts, ...begun]);
}
