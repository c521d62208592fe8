/** The few ways in which parts of a worker wait for each other. All of them let the process end: no timer stays behind. */

/** Now, in milliseconds, on a clock that nobody sets. */
export function now(): number {
  return performance.now();
}

/** Something that has happened or not; once set it stays so. */
export class Flag {
  #isSet = false;
  #waiters: (() => void)[] = [];

  get isSet(): boolean {
    return this.#isSet;
  }

  set(): void {
    this.#isSet = true;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter();
  }

  /** Resolve once it is set. */
  wait(): Promise<void> {
    return this.#isSet ? Promise.resolve() : new Promise((resolve) => this.#waiters.push(resolve));
  }
}

/** Wakes those who pause. What was notified before a pause does not count, unless `keep` was asked for. */
export class Wake {
  readonly #waiters = new Set<() => void>();
  #isKept = false;
  readonly #keeps: boolean;

  /** `keep`: a notification while nobody pauses ends the next pause at once. */
  constructor({ keep = false }: { keep?: boolean } = {}) {
    this.#keeps = keep;
  }

  notify(): void {
    if (this.#waiters.size === 0) this.#isKept = this.#keeps;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter();
  }

  /** Wait for a notification, so many milliseconds at most. */
  pause(ms: number): Promise<void> {
    if (this.#isKept) {
      this.#isKept = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(end);
        resolve();
      };
      const timer = setTimeout(end, Math.max(0, Math.min(ms, 0x7fffffff)));
      this.#waiters.add(end);
    });
  }
}

/** Wait so many milliseconds, or until the signal. Never throws. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, Math.max(0, Math.min(ms, 0x7fffffff)));
    if (signal?.aborted) end();
    else signal?.addEventListener("abort", end);
  });
}

/** Wait for a promise, so many milliseconds at most; tell whether it was done by then. Its error is thrown. */
export async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms), false);
  });
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
