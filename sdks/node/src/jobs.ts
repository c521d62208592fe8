/** A job in the worker's hands, and the set of them. */

import { JobStoppedError } from "./errors.js";

export const DETAILS_BYTES_MAX = 16 * 1024;

/** A trace context (W3C) by the names of its headers, which are those of a job's fields: what propagators call a carrier. */
export interface Trace {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** Why a job was told to stop. */
export const STOPS = {
  cancelled: "its run was cancelled or its attempt timed out",
  leaseLost: "its lease is lost: another worker may have it",
  fenced: "the orchestrator could not be reached for longer than the lease",
  released: "the worker is leaving",
} as const;
export type Stop = keyof typeof STOPS;

/** A job as the protocol writes it. Fields that this version does not know are there too. */
export type RawJob = Readonly<Record<string, unknown>>;

/** Names an attempt. */
export interface AttemptName {
  readonly jobId: string;
  readonly attempt: number;
}

/** One attempt of one step. */
export class Job {
  readonly raw: RawJob;
  readonly id: string;
  readonly attempt: number;
  readonly leaseMs: number;
  readonly heartbeatTimeoutMs: number | undefined;
  readonly burst: number;
  /** When the orchestrator last knew, for certain, that this worker has the job. */
  seenAt: number;
  stop: Stop | undefined;
  hasBegun = false;
  /** Whether its handler knows that it is not wanted: whatever comes of it then may be half a work. */
  hasSeenStop = false;
  /** What the handler said last, as JSON, and what of it the orchestrator has. */
  details: string | undefined;
  detailsTold: string | undefined;
  #controller: AbortController | undefined;

  /** Throws a `TypeError` when it is not the object of a job. */
  constructor(raw: RawJob, seenAt: number, { burst = 0, leaseMs = 30_000 } = {}) {
    const { jobId, attempt, lease, heartbeatTimeout } = raw;
    if (typeof jobId !== "string" || typeof attempt !== "number" || !Number.isSafeInteger(attempt)) {
      throw new TypeError("a job has an id and the number of its attempt");
    }
    this.raw = raw;
    this.id = jobId;
    this.attempt = attempt;
    this.leaseMs = typeof lease === "number" && lease > 0 ? lease * 1_000 : leaseMs;
    this.heartbeatTimeoutMs =
      typeof heartbeatTimeout === "number" && heartbeatTimeout > 0 ? heartbeatTimeout * 1_000 : undefined;
    this.seenAt = seenAt;
    this.burst = burst;
  }

  get action(): string {
    return typeof this.raw.action === "string" ? this.raw.action : "";
  }

  get name(): string {
    return attemptKey(this.id, this.attempt);
  }

  /** Aborted when the job is told to stop. Whoever asks for it is told. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.stop !== undefined) this.#abort(this.#controller, this.stop);
    return this.#controller.signal;
  }

  /** Tell the job to stop; once. */
  stopFor(why: Stop): void {
    if (this.stop !== undefined) return;
    this.stop = why;
    if (this.#controller !== undefined) this.#abort(this.#controller, why);
  }

  /** The beginning of every JSON object that names this attempt. */
  wireHead(): string {
    return `{"jobId":${JSON.stringify(this.id)},"attempt":${this.attempt}`;
  }

  toString(): string {
    return `<Job ${this.action} ${this.id} attempt ${this.attempt}>`;
  }

  #abort(controller: AbortController, why: Stop): void {
    this.hasSeenStop = true;
    if (!controller.signal.aborted) controller.abort(new JobStoppedError(`stop: ${STOPS[why]}`));
  }
}

/** Every job that was taken and has no result yet, also those that were told to stop and still run. */
export class JobsInHand implements Iterable<Job> {
  readonly #jobs = new Map<string, Job>();
  #alone = 0;
  #emptied: (() => void)[] = [];

  get size(): number {
    return this.#jobs.size;
  }

  [Symbol.iterator](): Iterator<Job> {
    return [...this.#jobs.values()][Symbol.iterator]();
  }

  add(job: Job): void {
    this.#jobs.set(job.name, job);
    if (job.raw.alone === true) this.#alone += 1;
  }

  /** Take a job out; a job that is not there any more is left alone. */
  remove(job: Job): void {
    if (this.#jobs.get(job.name) !== job) return;
    this.#jobs.delete(job.name);
    if (job.raw.alone === true) this.#alone -= 1;
    if (this.#jobs.size > 0) return;
    const emptied = this.#emptied;
    this.#emptied = [];
    for (const resolve of emptied) resolve();
  }

  /** Tell whether a job is here that must have no neighbours. */
  get hasAlone(): boolean {
    return this.#alone > 0;
  }

  holds(job: Job): boolean {
    return this.#jobs.get(job.name) === job;
  }

  has(id: string, attempt: number): boolean {
    return this.#jobs.has(attemptKey(id, attempt));
  }

  /** The attempts that are here, of those that are named. */
  findAll(names: readonly AttemptName[]): Job[] {
    return names.flatMap(({ jobId, attempt }) => this.#jobs.get(attemptKey(jobId, attempt)) ?? []);
  }

  /** The shortest heartbeat time-out among the jobs, in milliseconds, if any has one. */
  get heartbeatTimeoutMs(): number | undefined {
    let shortest: number | undefined;
    for (const { heartbeatTimeoutMs } of this.#jobs.values()) {
      if (heartbeatTimeoutMs !== undefined) shortest = Math.min(shortest ?? heartbeatTimeoutMs, heartbeatTimeoutMs);
    }
    return shortest;
  }

  /** Resolve once there is none. */
  waitEmpty(): Promise<void> {
    return this.#jobs.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#emptied.push(resolve));
  }
}

export function attemptKey(id: string, attempt: number): string {
  return `${attempt} ${id}`;
}
