/** What a handler is, and the context that it is given beside the payload. */

import type { Job, Trace } from "./jobs.js";
import { DETAILS_BYTES_MAX } from "./jobs.js";
import { stringify } from "./json.js";
import { type Logger, withFields } from "./logging.js";

/**
 * Does an action. What it returns, or its promise resolves to, is any JSON value: the payload of the next step.
 *
 * A handler runs on the event loop and must not block it: one that computes for long belongs into a worker thread.
 */
export type Handler<P = unknown> = (payload: P, context: Context) => unknown;

/** The second argument of a handler. */
export class Context {
  readonly #job: Job;
  readonly #logger: Logger;

  /** @internal */
  constructor(job: Job, logger: Logger) {
    this.#job = job;
    this.#logger = logger;
  }

  /** The step's own id, the same for all its attempts: the idempotency key for effects outside. */
  get jobId(): string {
    return this.#job.id;
  }

  /** Which attempt this is: 1, 2, 3 … */
  get attempt(): number {
    return this.#job.attempt;
  }

  /** The run that this step belongs to. */
  get runId(): string {
    return this.#text("workflowRunId");
  }

  /** The workflow that the run is one of. */
  get workflowId(): string {
    return this.#text("workflowId");
  }

  /** The action that this handler was registered for. */
  get action(): string {
    return this.#job.action;
  }

  /** The place of the step in its workflow, from 0. */
  get stepIndex(): number {
    const index = this.#job.raw.stepIndex;
    return typeof index === "number" ? index : 0;
  }

  /** When the attempt has failed whatever comes; undefined when the step has no time-out. */
  get deadline(): Date | undefined {
    const text = this.#text("deadline");
    return text === "" ? undefined : new Date(text);
  }

  /** What the previous attempt said in its last heartbeat; undefined when it said nothing. */
  get details(): unknown {
    return this.#job.raw.details ?? undefined;
  }

  /** The `traceparent` that the run was triggered with; undefined when there was none. */
  get traceparent(): string | undefined {
    return this.#text("traceparent") || undefined;
  }

  /** The `tracestate` that goes with it; undefined when there is none. */
  get tracestate(): string | undefined {
    return this.#text("tracestate") || undefined;
  }

  /** Both by their names, as a carrier: `propagation.extract(ROOT_CONTEXT, context.trace)`. Empty without a trace. */
  get trace(): Trace {
    const { traceparent, tracestate } = this;
    return { ...(traceparent && { traceparent }), ...(tracestate && { tracestate }) };
  }

  /** The whole job as it came, also the fields that this version does not know. */
  get raw(): Readonly<Record<string, unknown>> {
    return this.#job.raw;
  }

  /**
   * Aborted once this attempt is not wanted any more: stop as soon as you can, the result will not be used.
   *
   * That is when the run was cancelled, the attempt has timed out, the lease is lost, the orchestrator could not be
   * reached for longer than the lease, or the worker leaves without waiting any longer. Give it to `fetch`, to timers
   * and to whatever else takes one. Its reason is a `JobStoppedError`.
   */
  get signal(): AbortSignal {
    return this.#job.signal;
  }

  /** True once this attempt is not wanted any more; what the handler returns or throws after it has seen that is not used. */
  get cancelled(): boolean {
    if (this.#job.stop === undefined) return false;
    this.#job.hasSeenStop = true;
    return true;
  }

  /** A logger whose lines carry `workflow`, `run`, `step`, `action` and `attempt`. */
  get logger(): Logger {
    const { workflowId: workflow, runId: run, stepIndex: step, action, attempt } = this;
    return withFields(this.#logger, { workflow, run, step, action, attempt });
  }

  /**
   * Say how far this attempt is. It goes with the worker's next heartbeat.
   *
   * `details` is any JSON value up to 16 KiB: people see it, and the next attempt finds it in `context.details`. Without
   * it the last details stay. Throws a `RangeError` when they are too large, a `NotJsonError` when they are not JSON.
   *
   * The worker beats by itself while a handler runs; this call is only for the details.
   */
  heartbeat(details?: unknown): void {
    if (details === undefined || details === null) return;
    const text = stringify(details);
    const bytes = Buffer.byteLength(text);
    if (bytes > DETAILS_BYTES_MAX) {
      throw new RangeError(`heartbeat details are at most ${DETAILS_BYTES_MAX} bytes of JSON, these are ${bytes}`);
    }
    this.#job.details = text;
  }

  #text(name: string): string {
    const value = this.#job.raw[name];
    return typeof value === "string" ? value : "";
  }
}
