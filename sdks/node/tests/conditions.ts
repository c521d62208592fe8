/** Waiting for what a test is about, and nothing longer. */

import { setTimeout as sleep } from "node:timers/promises";

const WAIT_MS = 20_000;
const LOOK_MS = 2;

/** Resolve when a condition holds; fail when it does not in time. */
export async function until(condition: () => unknown, what = "the condition", waitMs = WAIT_MS): Promise<void> {
  const end = performance.now() + waitMs;
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`${what} did not come true`);
    await sleep(LOOK_MS);
  }
}

/** A promise, and what resolves it. */
export class Gate<T = void> {
  readonly opened: Promise<T>;
  open!: (value: T) => void;

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}
