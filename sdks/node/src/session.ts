/** One life of a worker that calls the orchestrator: its parts wired to one transport. */

import { Exchanges } from "./exchange.js";
import { Heartbeats } from "./heartbeat.js";
import type { Job } from "./jobs.js";
import { Life, type LifeOptions } from "./life.js";
import { Link } from "./link.js";
import { messageOf, type Outcome } from "./outcomes.js";
import { type Transport, WorkerUnknown } from "./transport/transport.js";

/** Registers, exchanges results for jobs, beats, and leaves, by the five calls of a transport. */
export class Session extends Life {
  readonly #transport: Transport;
  readonly #link: Link;
  readonly #exchanges: Exchanges;
  readonly #heartbeats: Heartbeats;

  constructor(transport: Transport, options: LifeOptions) {
    super(options);
    this.#transport = transport;
    const onDraining = (): void => this.#askedToDrain();
    this.#link = new Link(transport, options.hello, options.logger, this.over.signal);
    this.#exchanges = new Exchanges(this.#link, this.jobs, this.execution, options.hello.concurrency, options.logger, {
      onDraining,
      onFailure: (error) => this.failed(error),
      onAccepted: (jobs) => this.#heartbeats.accepted(jobs),
    });
    this.#heartbeats = new Heartbeats(
      this.#link,
      this.jobs,
      this.#exchanges,
      this.execution,
      onDraining,
      this.over.signal,
    );
    this.#link.onRecovery = () => {
      this.#exchanges.resume();
      this.#heartbeats.resume();
    };
  }

  protected override get address(): string {
    return this.#transport.address;
  }

  protected override get unsent(): number {
    return this.#exchanges.outbox.size;
  }

  protected override async connect(): Promise<void> {
    await this.#link.register();
    const { resultBytesMax, requestBytesMax } = this.#link.terms;
    this.execution.resultBytesMax = resultBytesMax;
    this.#exchanges.outbox.requestBytesMax = requestBytesMax;
  }

  protected override async beat(): Promise<void> {
    await Promise.all([this.#heartbeats.run(), this.#heartbeats.guard()]);
  }

  protected override begin(): void {
    this.#exchanges.nudge();
  }

  protected override async stopTaking(): Promise<void> {
    this.#exchanges.stopTaking();
  }

  protected override report(results: readonly Outcome[]): void {
    this.#exchanges.report(results);
  }

  protected override drop(job: Job): void {
    this.#exchanges.drop(job);
  }

  protected override async prepareFlush(): Promise<void> {
    await this.#exchanges.abortWaiting();
  }

  protected override async flush(): Promise<void> {
    await this.#exchanges.waitFlushed();
  }

  protected override async sayGoodbye(timeoutMs: number): Promise<void> {
    try {
      await this.#transport.leave(timeoutMs);
      this.logger.info(`worker ${this.hello.workerId} has left ${this.address}`);
    } catch (error) {
      if (error instanceof WorkerUnknown) {
        this.logger.info(`${this.address} had forgotten worker ${this.hello.workerId}`);
      } else {
        this.logger.warn(`left ${this.address} without a word: ${messageOf(error)}`);
      }
    }
  }

  protected override async close(): Promise<void> {
    await this.#exchanges.close();
    this.#transport.close();
  }

  #askedToDrain(): void {
    if (this.leaving.isSet) return;
    this.logger.info("the orchestrator asks this worker to finish and go");
    this.leave();
  }
}
