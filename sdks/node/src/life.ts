/**
 * One life of a worker, whatever it speaks: connect, work, leave.
 *
 * Rule 1: a worker that leaves takes no more jobs first, and says goodbye last.
 * Rule 2: jobs in hand get the drain time-out to finish; what is not finished by then is given back.
 * Rule 3: a result of an attempt that nobody wants any more is dropped; every other one is reported.
 */

import { setMaxListeners } from "node:events";
import { Execution } from "./execution.js";
import type { Handler } from "./handlers.js";
import { type Job, JobsInHand } from "./jobs.js";
import type { Logger } from "./logging.js";
import type { Outcome } from "./outcomes.js";
import * as outcomes from "./outcomes.js";
import type { Hello } from "./transport/transport.js";
import { Flag, now, within } from "./waiting.js";

const FAREWELL_MS = 5_000;
const HURRIED_FAREWELL_MS = 1_000;

export interface LifeOptions {
  readonly hello: Hello;
  readonly handlers: ReadonlyMap<string, Handler>;
  readonly drainTimeoutMs: number;
  readonly logger: Logger;
}

/** Runs handlers from the first connection to the goodbye. What is said, and to whom, is a subclass's. */
export abstract class Life {
  protected readonly hello: Hello;
  protected readonly logger: Logger;
  protected readonly jobs = new JobsInHand();
  protected readonly execution: Execution;
  protected readonly leaving = new Flag();
  /** Aborted when this life ends: whatever loops or waits for it ends too. */
  protected readonly over = new AbortController();
  protected isConnected = false;
  readonly #drainTimeoutMs: number;
  readonly #hurrying = new Flag();
  #failure: { readonly error: unknown } | undefined;

  constructor({ hello, handlers, drainTimeoutMs, logger }: LifeOptions) {
    // Every call that is under way listens to it.
    setMaxListeners(0, this.over.signal);
    this.hello = hello;
    this.logger = logger;
    this.#drainTimeoutMs = drainTimeoutMs;
    this.execution = new Execution(handlers, logger, (results) => this.#deliver(results));
  }

  /** Finish what is in hand and go. */
  leave(): void {
    this.leaving.set();
  }

  /** Give back what is in hand and go. */
  leaveAtOnce(): void {
    this.#hurrying.set();
    this.leaving.set();
  }

  /** How many handlers still run, after all was given back. */
  get stillRunning(): number {
    return this.execution.running.length;
  }

  /** Work until told to leave. Throws `RegistrationError` when the orchestrator refuses the worker. */
  async run(): Promise<void> {
    try {
      if (!(await this.#connectUnlessToldToLeave())) return;
      this.beat().catch((error: unknown) => this.failed(error));
      this.begin();
      await this.leaving.wait();
      await this.#drain();
    } finally {
      this.over.abort();
      await this.close();
    }
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  // ------------------------------------------------------------ what a subclass says

  /** The other side, for log lines: without a password. */
  protected abstract get address(): string;

  /** How many results are not acknowledged. */
  protected abstract get unsent(): number;

  /** Connect, trying until it is done or this life is over. */
  protected abstract connect(): Promise<void>;

  /** Give signs of life until this life is over. */
  protected abstract beat(): Promise<void>;

  /** Take jobs from now on. */
  protected abstract begin(): void;

  /** Take no more jobs. Those that still come are given back. */
  protected abstract stopTaking(): Promise<void>;

  /** Take results that are ready to be sent, and their jobs out of hand. */
  protected abstract report(results: readonly Outcome[]): void;

  /** Let a job go of which nobody wants the result. */
  protected abstract drop(job: Job): void;

  /** Resolve when every result has been acknowledged. */
  protected abstract flush(): Promise<void>;

  /** Say that this worker leaves, and log how that went. Never rejects. */
  protected abstract sayGoodbye(timeoutMs: number): Promise<void>;

  /** Close the connections. Never rejects. */
  protected abstract close(): Promise<void>;

  /** End what would bring new jobs while the last results go out. */
  protected async prepareFlush(): Promise<void> {
    // Over Kafka nothing would.
  }

  // ------------------------------------------------------------ what the parts say

  /** This life cannot go on. */
  protected failed(error: unknown): void {
    if (this.over.signal.aborted) return; // it is how what waited for the end was ended
    this.#failure ??= { error };
    this.leaveAtOnce();
  }

  /** Wait for an end, so long at most, and not longer than `hurriedMs` once told to hurry. */
  protected async waitFor(end: Promise<unknown>, timeoutMs: number, hurriedMs: number): Promise<void> {
    await within(Promise.race([end, this.#hurrying.wait()]), timeoutMs);
    if (this.#hurrying.isSet) await within(end, hurriedMs);
  }

  #deliver(results: readonly Outcome[]): void {
    const wanted: Outcome[] = [];
    for (const outcome of results) {
      const { job } = outcome;
      if (!this.jobs.holds(job)) continue; // given back in the meantime
      if (isUnwanted(job)) this.drop(job);
      else wanted.push(outcome);
    }
    if (wanted.length > 0) this.report(wanted);
  }

  // ------------------------------------------------------------ the stages

  /** Connect; false when the worker was told to leave before it was done. */
  async #connectUnlessToldToLeave(): Promise<boolean> {
    const connecting = this.connect().then(() => true);
    // It may be given up: then nobody hears how it ends.
    connecting.catch(() => undefined);
    const done = await Promise.race([connecting, this.leaving.wait().then(() => false)]);
    if (!done) return false;
    this.isConnected = true;
    const { workerId, actions, concurrency } = this.hello;
    const line = `worker ${workerId} connected to ${this.address}, actions: ${actions.join(", ")}, concurrency ${concurrency}`;
    this.logger.info(line);
    return true;
  }

  async #drain(): Promise<void> {
    await this.stopTaking();
    const until = now() + this.#drainTimeoutMs;
    if (this.jobs.size > 0 && !this.#hurrying.isSet) {
      this.logger.info(
        `leaving: ${this.jobs.size} jobs in hand get ${this.#drainTimeoutMs / 1_000} s to finish; a second signal ends them`,
      );
    }
    await this.waitFor(this.jobs.waitEmpty(), this.#drainTimeoutMs, 0);
    this.#giveBack();
    await this.prepareFlush();
    await this.waitFor(this.flush(), Math.max(FAREWELL_MS, until - now()), HURRIED_FAREWELL_MS);
    if (this.unsent > 0) this.logger.error(`${this.unsent} results could not be reported to ${this.address}`);
    await this.sayGoodbye(this.#hurrying.isSet ? HURRIED_FAREWELL_MS : FAREWELL_MS);
  }

  #giveBack(): void {
    const left = [...this.jobs];
    if (left.length === 0) return;
    const names = left.slice(0, 10).join(", ");
    this.logger.warn(`giving back ${left.length} jobs that have not finished: ${names}`);
    const wanted = left.filter((job) => !isUnwanted(job));
    this.execution.stopJobs(left, "released");
    this.report(wanted.map((job) => outcomes.released(job)));
    for (const job of left) this.jobs.remove(job);
  }
}

/** Nobody wants its result: the orchestrator said so, or has it from elsewhere. */
function isUnwanted(job: Job): boolean {
  return job.stop === "cancelled" || job.stop === "leaseLost";
}
