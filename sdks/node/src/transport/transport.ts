/**
 * How a worker and the orchestrator talk.
 *
 * The worker's own logic (what runs, what is reported, when to beat, how to leave) knows only what is in this file.
 * A transport carries five calls; another one that is called is one more file beside `http.ts`. Kafka is not called,
 * it pushes: it is in `kafka/`.
 */

import type { AttemptName, RawJob } from "../jobs.js";

/** A call did not come through. One of the four below. */
export class TransportError extends Error {}

/** No answer, or one that says "not now". Make the same call again, after a growing pause. */
export class Unavailable extends TransportError {}

/** The orchestrator does not know this worker (any more). Register again and repeat the call. */
export class WorkerUnknown extends TransportError {}

/** The call was too large as a whole. Send fewer results at once. */
export class TooLarge extends TransportError {}

/** The orchestrator will not do this, however often it is asked. */
export class Refused extends TransportError {
  readonly status: number;
  readonly title: string;
  readonly detail: string;

  constructor(status: number, title: string, detail: string) {
    super(`${status} ${title}${detail ? `: ${detail}` : ""}`);
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

/** What a worker says about itself when it registers. Without `leaseMs` the orchestrator decides. */
export interface Hello {
  readonly workerId: string;
  readonly actions: readonly string[];
  readonly sdk: string;
  readonly version: string;
  readonly host: string;
  readonly pid: number;
  readonly concurrency: number;
  readonly leaseMs: number | undefined;
}

/** What the orchestrator grants: times in milliseconds, sizes in bytes. */
export interface Terms {
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly waitMsMax: number;
  readonly capacityMax: number;
  readonly resultBytesMax: number;
  readonly requestBytesMax: number;
}

export const TERMS_DEFAULT: Terms = {
  leaseMs: 30_000,
  heartbeatMs: 10_000,
  waitMsMax: 60_000,
  capacityMax: 1_000,
  resultBytesMax: 2 * 1024 * 1024,
  requestBytesMax: 16 * 1024 * 1024,
};

/** A result that changed nothing. */
export interface Rejection extends AttemptName {
  readonly code?: string;
  readonly reason?: string;
}

/** What came back from an exchange. `cancelled`: attempts to stop. */
export interface Answer {
  readonly jobs: readonly RawJob[];
  readonly cancelled: readonly AttemptName[];
  readonly rejected: readonly Rejection[];
  readonly isDraining: boolean;
}

/** What came back from a heartbeat: attempts to stop, as they are cancelled or this worker's no more. */
export interface Pulse {
  readonly cancelled: readonly AttemptName[];
  readonly unknown: readonly AttemptName[];
  readonly isDraining: boolean;
}

/**
 * The five calls. Each throws a `TransportError`, or the reason of its signal.
 *
 * Results and in-flight entries are JSON objects of the protocol, already written: they are made once, where the
 * handler ran, and are the same for every transport.
 */
export interface Transport {
  /** Where the orchestrator is, for log lines: without a password. */
  readonly address: string;

  /** Make the worker known; the same id again replaces the registration and keeps its jobs. */
  register(hello: Hello, signal: AbortSignal): Promise<Terms>;

  /**
   * Report results and take up to `capacity` jobs, waiting up to `waitMs` for the first.
   *
   * The results are durable when this resolves. When it rejects, they may or may not be: sending them again is safe.
   */
  exchange(results: readonly string[], capacity: number, waitMs: number, signal: AbortSignal): Promise<Answer>;

  /** Say which jobs are in hand. */
  heartbeat(inFlight: readonly string[], signal: AbortSignal): Promise<Pulse>;

  /** End the registration; the orchestrator takes back what is still in this worker's hands. */
  leave(timeoutMs: number): Promise<void>;

  /** Close the connections. */
  close(): void;
}
