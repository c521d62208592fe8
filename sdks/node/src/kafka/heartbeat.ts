/**
 * Signs of life over Kafka, and the worker's own fence when nobody acknowledges them.
 *
 * Rule 1: a heartbeat names every job in hand, and every job whose result is not acknowledged.
 * Rule 2: a short job costs no heartbeat. One that has run for a second is named soon after, and so is what its handler says;
 *         both make at most one heartbeat more a second. That no other job could start is said soon after it has been so for a
 *         second, and that one could again with the next heartbeat.
 * Rule 3: idle or busy, a worker says every ten seconds at the latest that it is there.
 * Rule 4: one heartbeat is on its way at a time. When it took long, the next one follows at once.
 */

import type { Execution } from "../execution.js";
import { BEATS_PER_TIMEOUT, isKeptAlive, untoldDetails } from "../heartbeat.js";
import type { Job, JobsInHand } from "../jobs.js";
import { now, Wake } from "../waiting.js";
import { type BeatWriter, KafkaJob, writeInFlight } from "./records.js";
import type { Sender } from "./sender.js";

export const PRESENCE_MS = 10_000;
const NAMED_AFTER_MS = 1_000;
const TICK_MS = 1_000;
const OLD_MS = 2_000;
const DETAILS_BYTES_AT_ONCE = 512 * 1024;

export interface HeartbeatParts {
  readonly writer: BeatWriter;
  readonly topic: string;
  readonly key: Buffer;
  readonly leaseMs: number;
  readonly sender: Sender;
  readonly jobs: JobsInHand;
  readonly execution: Execution;
  /** How many more jobs could start now. */
  readonly capacity: () => number;
  readonly onHeard: () => void;
}

/** Beats for one worker. */
export class Heartbeats {
  readonly #parts: HeartbeatParts;
  readonly #signal: AbortSignal;
  readonly #news = new Wake();
  #isIdle = true;
  #onWay: object | undefined;
  #hasLeft = false;
  #last = 0;
  #fullSince: number | undefined; // as far as was looked
  #isFullTold = false;

  constructor(parts: HeartbeatParts, signal: AbortSignal) {
    this.#parts = parts;
    this.#signal = signal;
    signal.addEventListener("abort", () => this.#news.notify());
  }

  /** Note new jobs: an idle worker looks after them from now on. */
  accepted(): void {
    if (!this.#isIdle) return;
    this.#isIdle = false;
    this.#news.notify();
  }

  /** Beat now, unless the last one is not acknowledged yet or was the goodbye. */
  beat(): void {
    if (this.#onWay !== undefined || this.#hasLeft) return;
    const named = [...this.#named()];
    this.#send(named, untoldDetails(named, DETAILS_BYTES_AT_ONCE), false);
  }

  /** Send the last heartbeat. */
  sayGoodbye(): void {
    this.#hasLeft = true;
    this.#send([], new Map(), true);
  }

  /** Beat until the signal. */
  async run(): Promise<void> {
    this.beat();
    while (!this.#signal.aborted) {
      const { jobs, sender } = this.#parts;
      this.#isIdle = jobs.size === 0 && sender.jobs().next().done === true;
      const { every, tick } = this.#pace();
      const due = this.#last + every * (0.8 + Math.random() * 0.2);
      await this.#news.pause(Math.min(tick, due - now()));
      const moment = now();
      this.#fence(moment);
      this.#lookForPlaces(moment);
      if (moment >= due || (moment >= this.#last + Math.min(TICK_MS, every) && this.#hasNews(moment))) this.beat();
      // It is on its way: no hurry until it is heard.
      if (this.#onWay !== undefined && moment >= due) await this.#news.pause(Math.min(TICK_MS, tick));
    }
  }

  /** The milliseconds between two heartbeats, and those between two looks at what there is. */
  #pace(): { every: number; tick: number } {
    if (this.#isIdle) return { every: PRESENCE_MS, tick: PRESENCE_MS };
    const { jobs, leaseMs } = this.#parts;
    const timeout = jobs.heartbeatTimeoutMs ?? Number.POSITIVE_INFINITY;
    const every = Math.min(PRESENCE_MS, leaseMs / BEATS_PER_TIMEOUT, timeout / BEATS_PER_TIMEOUT);
    return { every, tick: Math.min(TICK_MS, every) };
  }

  *#named(): Generator<KafkaJob> {
    for (const job of this.#parts.jobs) if (isNameable(job)) yield job;
    for (const job of this.#parts.sender.jobs()) if (job.hasId) yield job;
  }

  #lookForPlaces(moment: number): void {
    if (this.#parts.capacity() > 0) this.#fullSince = undefined;
    else this.#fullSince ??= moment;
  }

  #hasNews(moment: number): boolean {
    if (this.#fullSince !== undefined && !this.#isFullTold && moment >= this.#fullSince + NAMED_AFTER_MS) return true;
    for (const job of this.#parts.jobs) {
      if (!isNameable(job)) continue;
      if (!job.isNamed && moment >= job.seenAt + NAMED_AFTER_MS) return true;
      if (job.details !== job.detailsTold) return true;
    }
    return false;
  }

  #send(named: readonly KafkaJob[], news: ReadonlyMap<KafkaJob, string>, isLeaving: boolean): void {
    const { writer, topic, key, sender, capacity, onHeard } = this.#parts;
    const sentAt = now();
    const room = capacity();
    this.#last = sentAt;
    this.#isFullTold = room === 0;
    const mark = {};
    this.#onWay = mark;
    const entries = named.map((job) => writeInFlight(job, news.get(job)));
    const value = writer.write(entries, room, isLeaving);
    const onEnd = (error?: unknown): void => {
      if (this.#onWay === mark) this.#onWay = undefined;
      if (error !== undefined) return;
      for (const job of named) {
        job.seenAt = Math.max(job.seenAt, sentAt);
        job.isNamed = true;
        job.detailsTold = news.get(job) ?? job.detailsTold;
      }
      onHeard();
      if (now() > sentAt + OLD_MS) this.beat();
    };
    sender.send({ topic, key, value, bytes: Buffer.byteLength(value), headers: [], onEnd });
  }

  /** Stop the jobs of which nobody has heard for longer than their lease: another worker may have them by now. */
  #fence(moment: number): void {
    const late = [...this.#parts.jobs].filter((job) => job.stop === undefined && moment >= job.seenAt + job.leaseMs);
    if (late.length > 0) this.#parts.execution.stopJobs(late, "fenced");
  }
}

function isNameable(job: Job): job is KafkaJob {
  return job instanceof KafkaJob && job.hasId && isKeptAlive(job);
}
