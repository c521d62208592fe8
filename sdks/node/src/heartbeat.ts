/** Signs of life for the jobs in hand, and the worker's own fence when they cannot be given. */

import type { Exchanges } from "./exchange.js";
import type { Execution } from "./execution.js";
import type { Job, JobsInHand } from "./jobs.js";
import type { Link } from "./link.js";
import { TransportError, WorkerUnknown } from "./transport/transport.js";
import { now, Wake } from "./waiting.js";

export const BEATS_PER_TIMEOUT = 3;
const RETRY_MS_MIN = 50;

/** A fenced job may still be this worker's: its handler may go on, and the result is reported. */
export function isKeptAlive(job: Job): boolean {
  return job.stop === undefined || job.stop === "fenced";
}

/**
 * Names every job in hand, often enough for the shortest of their time-outs.
 *
 * A job whose result waits here to be sent is named too; one whose result is on its way is not.
 */
export class Heartbeats {
  readonly #link: Link;
  readonly #jobs: JobsInHand;
  readonly #exchanges: Exchanges;
  readonly #execution: Execution;
  readonly #onDraining: () => void;
  readonly #signal: AbortSignal;
  readonly #news = new Wake();
  readonly #shortLease = new Wake();
  #toldAtRegistration = 0;

  constructor(
    link: Link,
    jobs: JobsInHand,
    exchanges: Exchanges,
    execution: Execution,
    onDraining: () => void,
    signal: AbortSignal,
  ) {
    this.#link = link;
    this.#jobs = jobs;
    this.#exchanges = exchanges;
    this.#execution = execution;
    this.#onDraining = onDraining;
    this.#signal = signal;
    signal.addEventListener("abort", () => {
      this.#news.notify();
      this.#shortLease.notify();
    });
  }

  /** Note new jobs: one with a heartbeat time-out moves the next beat forward, and has a shorter lease. */
  accepted(jobs: readonly Job[]): void {
    if (jobs.every((job) => job.heartbeatTimeoutMs === undefined)) return;
    this.#news.notify();
    this.#shortLease.notify();
  }

  /** The orchestrator is there again: do not wait for the end of a pause. */
  resume(): void {
    this.#news.notify();
  }

  /** Beat until the signal. */
  async run(): Promise<void> {
    let last = now();
    while (!this.#signal.aborted) {
      const timeout = this.#jobs.heartbeatTimeoutMs ?? Number.POSITIVE_INFINITY;
      const every = Math.min(this.#link.terms.heartbeatMs, timeout / BEATS_PER_TIMEOUT);
      const due = last + every * (0.8 + Math.random() * 0.2);
      await this.#news.pause(due - now());
      if (now() >= due && !this.#signal.aborted) {
        last = now();
        await this.#beatUntilHeard();
      }
    }
  }

  /** Watch over the leases until the signal, whatever the calls are doing. */
  async guard(): Promise<void> {
    while (!this.#signal.aborted) {
      const moment = now();
      this.#fence(moment);
      let nextLook = moment + this.#link.terms.leaseMs;
      for (const job of this.#jobs) {
        if (job.stop === undefined) nextLook = Math.min(nextLook, job.seenAt + job.leaseMs);
      }
      await this.#shortLease.pause(Math.max(RETRY_MS_MIN, nextLook - moment));
    }
  }

  /** Stop the jobs whose lease has run out unheard: another worker may have them by now. */
  #fence(moment: number): void {
    const late = [...this.#jobs].filter((job) => job.stop === undefined && moment >= job.seenAt + job.leaseMs);
    this.#execution.stopJobs(late, "fenced");
  }

  async #beatUntilHeard(): Promise<void> {
    while (!this.#signal.aborted) {
      const { registrations } = this.#link;
      try {
        await this.#beat();
        return;
      } catch (error) {
        if (this.#signal.aborted) return;
        if (error instanceof WorkerUnknown) await this.#link.registerAgain(registrations);
        else if (error instanceof TransportError) {
          await this.#news.pause(Math.max(RETRY_MS_MIN, this.#link.failed(error)));
        } else throw error;
      }
    }
  }

  /** Send one heartbeat, if there is anything to name. Throws a `TransportError`. */
  async #beat(): Promise<void> {
    const named = [...[...this.#jobs].filter(isKeptAlive), ...this.#exchanges.outbox.jobs];
    if (named.length === 0) return;
    const news = this.#newsOf(named);
    const sentAt = now();
    const entries = named.map((job) => `${job.wireHead()}${writeDetails(news.get(job))}}`);
    const pulse = await this.#link.transport.heartbeat(entries, this.#signal);
    this.#link.reached();
    for (const job of named) {
      job.seenAt = sentAt;
      job.detailsTold = news.get(job) ?? job.detailsTold;
    }
    this.#execution.stopJobs(this.#jobs.findAll(pulse.cancelled), "cancelled");
    this.#execution.stopJobs(this.#jobs.findAll(pulse.unknown), "leaseLost");
    if (pulse.isDraining) this.#onDraining();
  }

  /** The details that are not told yet, as many as a call may carry; the others go with the next one. */
  #newsOf(jobs: readonly Job[]): Map<Job, string> {
    if (this.#toldAtRegistration !== this.#link.registrations) {
      this.#toldAtRegistration = this.#link.registrations;
      // An orchestrator that had to be told of the worker knows nothing of this.
      for (const job of jobs) job.detailsTold = undefined;
    }
    return untoldDetails(jobs, Math.floor(this.#exchanges.outbox.requestBytesMax / 2));
  }
}

/** The details of jobs that are not told yet, so many bytes of them. */
export function untoldDetails<J extends Job>(jobs: Iterable<J>, bytesMax: number): Map<J, string> {
  const news = new Map<J, string>();
  let room = bytesMax;
  for (const job of jobs) {
    const { details } = job;
    if (details === undefined || details === job.detailsTold) continue;
    const bytes = Buffer.byteLength(details);
    if (bytes > room) continue;
    news.set(job, details);
    room -= bytes;
  }
  return news;
}

/** The field of an entry in a heartbeat. */
export function writeDetails(details: string | undefined): string {
  return details === undefined ? "" : `,"details":${details}`;
}
