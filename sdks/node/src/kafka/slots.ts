/**
 * The worker's places for jobs, shared by its consumers.
 *
 * Rule 1: a job has a place from the moment it is claimed to the moment its result is written.
 * Rule 2: while somebody wishes to be alone, nobody else is given a place; once all are free, he has them all.
 */

/** Counts places. */
export class Slots {
  /** Called after places were given back, or a wish was let go. */
  onChange: () => void = () => {};
  readonly #limit: number;
  #free: number;
  #alone: object | undefined; // who wishes to be alone, or is
  #isGranted = false;

  constructor(limit: number) {
    this.#limit = limit;
    this.#free = limit;
  }

  /** How many jobs could be given a place now: none while somebody wishes to be alone. */
  get free(): number {
    return this.#alone === undefined ? this.#free : 0;
  }

  get isIdle(): boolean {
    return this.#free === this.#limit;
  }

  /** Take up to so many places; return how many there were. */
  take(count: number): number {
    const taken = Math.min(count, this.free);
    this.#free -= taken;
    return taken;
  }

  /** Take every place; false while not all are free, and from then on nobody else is given one. */
  takeAll(who: object): boolean {
    this.#alone ??= who;
    if (!this.wouldGive(who)) return false;
    this.#free = 0;
    this.#isGranted = true;
    return true;
  }

  giveBack(count: number): void {
    this.#free += count;
    this.onChange();
  }

  /** End being alone. */
  giveBackAll(): void {
    this.#free = this.#limit;
    this.#alone = undefined;
    this.#isGranted = false;
    this.onChange();
  }

  /** Let go of a wish to be alone, unless it was granted. */
  withdraw(who: object): void {
    if (this.#alone !== who || this.#isGranted) return;
    this.#alone = undefined;
    this.onChange();
  }

  /** Whether `who` would be given what it wants. */
  wouldGive(who: object): boolean {
    if (this.#alone === undefined) return this.#free > 0;
    return this.#alone === who && !this.#isGranted && this.isIdle;
  }
}
