/**
 * One life of a worker over Kafka: its consumers, its sender, and what goes between them and the handlers.
 *
 * Rule 1: a place is given back when the result is written, not when it has arrived; but results that do not arrive hold places
 *         once there are too many of them, so that an outage does not fill the memory.
 * Rule 2: results of one turn of the event loop go out together. After many of them those of the next few milliseconds do: a
 *         request costs more than what is in it. Their places are free meanwhile.
 * Rule 3: a job that runs alone may end this process: it starts when no result is left in it that could be lost with it.
 */

import { type AttemptName, attemptKey, type Job } from "../jobs.js";
import { Life, type LifeOptions } from "../life.js";
import type { Outcome } from "../outcomes.js";
import * as outcomes from "../outcomes.js";
import { now, sleep, within } from "../waiting.js";
import { Cluster, reasonOf } from "./cluster.js";
import { ActionConsumer } from "./consumer.js";
import { Control } from "./control.js";
import { Heartbeats, PRESENCE_MS } from "./heartbeat.js";
import { noteGone, noteHere, Predecessors } from "./predecessors.js";
import { Reader } from "./reader.js";
import { BeatWriter, KafkaJob, writeResult } from "./records.js";
import { Sender, type Sending } from "./sender.js";
import { type KafkaSettings, LEASE_MS_DEFAULT, topicOf } from "./settings.js";
import { Slots } from "./slots.js";
import { Undecodable } from "./undecodable.js";

const UNSENT_MAX = 10_000;
const UNSENT_BYTES_MAX = 64 * 1024 * 1024;
const CANCELLED_MAX = 10_000;
const LOST_IS_TOLD_AFTER_MS = 1_000;
const LOOK_AGAIN_MS = 500;
const LEAVE_GROUPS_MS = 3_000;
const MANY = 8;
const REST_MS = 2;

/** Takes jobs from a topic, one consumer group for each action, and writes results to another. */
export class KafkaSession extends Life {
  readonly #settings: KafkaSettings;
  readonly #leaseMs: number;
  readonly #slots: Slots;
  readonly #undecodable: Undecodable;
  readonly #cancelled = new Set<string>();
  readonly #clusters: Cluster[] = [];
  readonly #control: Control;
  readonly #sender: Sender;
  readonly #heartbeats: Heartbeats;
  readonly #reader: Reader;
  #consumers: readonly ActionConsumer[] = [];
  #consuming: Promise<unknown> = Promise.resolve();
  readonly #ready: Outcome<KafkaJob>[] = []; // results of this turn of the loop
  #free = 0; // places of this turn of the loop
  #isTurnDue = false;
  #flushing: NodeJS.Timeout | undefined;
  #restsUntil = 0; // when results are sent again
  #unsentCount = 0;
  #unsentBytes = 0;
  #held = 0; // places that are held back until results have arrived
  #downSince: number | undefined;
  #isTold = false;
  #telling: NodeJS.Timeout | undefined;

  constructor(settings: KafkaSettings, group: string | undefined, options: LifeOptions) {
    super(options);
    const { hello, logger } = options;
    const { signal } = this.over;
    this.#settings = settings;
    this.#leaseMs = hello.leaseMs ?? LEASE_MS_DEFAULT;
    this.#slots = new Slots(hello.concurrency);
    this.#slots.onChange = () => {
      for (const consumer of this.#consumers) consumer.stir();
    };
    this.#undecodable = new Undecodable(logger);
    const jobTopics = [...new Set(hello.actions.map((action) => topicOf(settings, action)))].sort();
    this.#control = new Control(this.#cluster(), settings, jobTopics, logger, signal, (words) => this.#cancel(words));
    this.#sender = new Sender(this.#cluster(), settings, logger);
    this.#reader = new Reader(this.#cluster(), settings, this.#leaseMs, this.#undecodable, logger, signal);
    this.#heartbeats = new Heartbeats(
      {
        writer: new BeatWriter(hello, group, this.#leaseMs, PRESENCE_MS),
        topic: settings.topics.heartbeats,
        key: Buffer.from(hello.workerId),
        leaseMs: this.#leaseMs,
        sender: this.#sender,
        jobs: this.jobs,
        execution: this.execution,
        capacity: () => this.#capacity(),
        onHeard: () => this.#up(),
      },
      signal,
    );
  }

  /** Connections of their own for a part that keeps them busy. */
  #cluster(): Cluster {
    const cluster = new Cluster(this.#settings, this.hello.workerId, (reason) => this.#down(reason));
    this.#clusters.push(cluster);
    return cluster;
  }

  // ------------------------------------------------------------ the stages

  protected override get address(): string {
    return this.#settings.address;
  }

  protected override get unsent(): number {
    return this.#unsentCount + this.#ready.length;
  }

  protected override async connect(): Promise<void> {
    let isTold = false;
    while (!this.over.signal.aborted) {
      const missing = await this.#control.look();
      if (missing === undefined) break;
      if (!isTold && !this.over.signal.aborted) {
        this.logger.warn(`cannot reach ${this.address} (${missing}); retrying`);
        isTold = true;
      }
      await sleep(LOOK_AGAIN_MS, this.over.signal);
    }
    await this.#waitForTheDead();
    this.over.signal.throwIfAborted();
  }

  /** Let the others of the groups go on until it is known there that a worker which was here has died. */
  async #waitForTheDead(): Promise<void> {
    const { signal } = this.over;
    const { hello } = this;
    const predecessors = new Predecessors(this.#cluster(), this.#settings, hello.workerId, hello.actions, this.logger);
    const until = now() + predecessors.patienceMs;
    let isTold = false;
    while (!signal.aborted && now() < until) {
      const dead = await predecessors.find(signal);
      if (dead.size === 0) return;
      if (!isTold) {
        const names = [...dead].sort().join(", ");
        this.logger.info(`waiting until the groups have noticed that ${names} is dead`);
        isTold = true;
      }
      await sleep(LOOK_AGAIN_MS, signal);
    }
  }

  protected override async beat(): Promise<void> {
    await this.#heartbeats.run();
  }

  protected override begin(): void {
    noteHere(this.hello.workerId);
    const parts = { settings: this.#settings, reader: this.#reader, slots: this.#slots, logger: this.logger };
    this.#consumers = this.hello.actions.map(
      (action) =>
        new ActionConsumer(action, { ...parts, cluster: this.#cluster(), handOver: (jobs) => this.#accept(jobs) }),
    );
    const fail = (error: unknown): void => this.failed(error);
    this.#control.run().catch(fail);
    this.#reader.run().catch(fail);
    this.#consuming = Promise.all(this.#consumers.map((consumer) => consumer.run().catch(fail)));
  }

  protected override async stopTaking(): Promise<void> {
    for (const consumer of this.#consumers) consumer.stop();
  }

  protected override async flush(): Promise<void> {
    this.#sendReady();
    while (this.unsent > 0 && !this.over.signal.aborted) await this.#sender.waitSent();
  }

  protected override async sayGoodbye(timeoutMs: number): Promise<void> {
    if (this.#undecodable.count > 0) {
      this.logger.warn(`${this.#undecodable.count} records on ${this.#settings.topics.jobs} were no jobs`);
    }
    this.#heartbeats.sayGoodbye();
    if (await within(this.#sender.waitSent(), timeoutMs)) {
      this.logger.info(`worker ${this.hello.workerId} has left ${this.address}`);
    } else {
      this.logger.warn(`left ${this.address} without a word: not acknowledged within ${timeoutMs / 1_000} s`);
    }
  }

  protected override async close(): Promise<void> {
    clearTimeout(this.#flushing);
    clearTimeout(this.#telling);
    for (const consumer of this.#consumers) consumer.stop();
    this.#sender.close();
    await within(this.#consuming, LEAVE_GROUPS_MS);
    await within(Promise.all(this.#clusters.map((cluster) => cluster.close())), LEAVE_GROUPS_MS);
    noteGone(this.hello.workerId);
  }

  // ------------------------------------------------------------ jobs

  #accept(jobs: readonly KafkaJob[]): void {
    const moment = now();
    const startedAt = new Date().toISOString();
    const accepted: KafkaJob[] = [];
    for (const job of jobs) {
      job.seenAt = moment;
      job.startedAt = startedAt;
      if (this.jobs.has(job.id, job.attempt) || this.#cancelled.has(job.name)) {
        this.#givePlace(job);
      } else {
        this.jobs.add(job);
        accepted.push(job);
      }
    }
    if (accepted.length === 0) return;
    this.#heartbeats.accepted();
    if (accepted[0]?.isAlone === true) this.#startAlone(accepted).catch((error: unknown) => this.failed(error));
    else this.execution.start(accepted);
  }

  async #startAlone(jobs: readonly KafkaJob[]): Promise<void> {
    await this.flush();
    if (!this.over.signal.aborted) this.execution.start(jobs);
  }

  /** How many more jobs could start now: none while others wait for a place, or the worker leaves. */
  #capacity(): number {
    return this.leaving.isSet ? 0 : Math.max(0, this.#slots.free - this.#reader.waiting);
  }

  #cancel(words: readonly AttemptName[]): void {
    for (const { jobId, attempt } of words) this.#cancelled.add(attemptKey(jobId, attempt));
    for (const oldest of this.#cancelled) {
      if (this.#cancelled.size <= CANCELLED_MAX) break;
      this.#cancelled.delete(oldest);
    }
    this.execution.stopJobs(this.jobs.findAll(words), "cancelled");
  }

  // ------------------------------------------------------------ results

  protected override report(results: readonly Outcome[]): void {
    for (const outcome of results as readonly Outcome<KafkaJob>[]) {
      this.jobs.remove(outcome.job);
      this.#ready.push(outcome);
      this.#givePlace(outcome.job);
    }
  }

  protected override drop(job: Job): void {
    this.jobs.remove(job);
    this.#givePlace(job);
  }

  #givePlace(job: Job): void {
    if (job instanceof KafkaJob && job.isAlone) this.#slots.giveBackAll();
    else this.#free += 1;
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(() => this.#endTurn());
  }

  /** Send the results of this turn of the loop, unless sending rests; then give back the places. */
  #endTurn(): void {
    this.#isTurnDue = false;
    if (this.#flushing === undefined && this.#ready.length > 0) {
      const rest = this.#restsUntil - now();
      if (rest > 0) this.#flushing = setTimeout(() => this.#sendReady(), rest);
      else this.#sendReady();
    }
    this.#held += this.#free;
    this.#free = 0;
    this.#letGoOfPlaces();
  }

  #sendReady(): void {
    clearTimeout(this.#flushing);
    this.#flushing = undefined;
    const ready = this.#ready.splice(0);
    if (ready.length >= MANY) this.#restsUntil = now() + REST_MS;
    if (ready.length > 0) this.#sender.sendTogether(ready.map((outcome) => this.#sending(outcome)));
  }

  #sending(outcome: Outcome<KafkaJob>): Sending {
    const { job } = outcome;
    const value = writeResult(outcome, this.hello.workerId);
    const bytes = Buffer.byteLength(value);
    this.#unsentCount += 1;
    this.#unsentBytes += bytes;
    const onEnd = (error?: unknown): void => {
      this.#unsentCount -= 1;
      this.#unsentBytes -= bytes;
      if (error !== undefined) this.#sendInstead(job, bytes, reasonOf(error));
      if (this.#held > 0) this.#letGoOfPlaces();
    };
    return {
      topic: this.#settings.topics.results,
      key: job.key,
      value,
      bytes,
      headers: job.resultHeaders(),
      job,
      onEnd,
    };
  }

  /** The broker will not have this result: say so in its place, so that the attempt does not hang. */
  #sendInstead(job: KafkaJob, bytes: number, reason: string): void {
    if (bytes <= outcomes.STACK_BYTES_MAX) {
      this.logger.error(`${job}: its result of ${bytes} bytes was not taken: ${reason}`);
      return;
    }
    const message = `the result of ${bytes} bytes was not taken by the broker: ${reason}`;
    this.logger.warn(`${job}: ${message}`);
    const outcome = outcomes.failed(job, { type: outcomes.TOO_LARGE, message, isRetryable: false });
    this.#sender.sendTogether([this.#sending(outcome)]);
  }

  #letGoOfPlaces(): void {
    if (this.#held === 0 || this.#unsentCount >= UNSENT_MAX || this.#unsentBytes >= UNSENT_BYTES_MAX) return;
    const free = this.#held;
    this.#held = 0;
    this.#slots.giveBack(free);
  }

  // ------------------------------------------------------------ outages

  /** A broker is out of reach. It is told when it lasts; the next heartbeat that is heard shows when it is over. */
  #down(reason: string): void {
    if (!this.isConnected || this.#downSince !== undefined || this.over.signal.aborted) return;
    this.#downSince = now();
    this.#telling = setTimeout(() => {
      this.#isTold = true;
      this.logger.warn(`lost ${this.address} (${reason}); retrying`);
    }, LOST_IS_TOLD_AFTER_MS);
    this.#heartbeats.beat();
  }

  #up(): void {
    if (this.#downSince === undefined) return;
    clearTimeout(this.#telling);
    if (this.#isTold) {
      const seconds = ((now() - this.#downSince) / 1_000).toFixed(1);
      this.logger.info(`connected again to ${this.address} after ${seconds} s`);
    }
    this.#downSince = undefined;
    this.#isTold = false;
  }
}
