/** Running handlers on the event loop. */

import { JobStoppedError } from "./errors.js";
import { Context, type Handler } from "./handlers.js";
import { type Job, STOPS, type Stop } from "./jobs.js";
import type { Logger } from "./logging.js";
import type { Outcome } from "./outcomes.js";
import * as outcomes from "./outcomes.js";

/** Takes jobs, gives outcomes to `deliver`. Every job that is started is delivered once, in any order. */
export class Execution {
  resultBytesMax = 2 * 1024 * 1024;
  readonly #handlers: ReadonlyMap<string, Handler>;
  readonly #logger: Logger;
  readonly #deliver: (results: readonly Outcome[]) => void;
  readonly #done: Outcome[] = [];
  readonly #running = new Set<Job>();

  constructor(handlers: ReadonlyMap<string, Handler>, logger: Logger, deliver: (results: readonly Outcome[]) => void) {
    this.#handlers = handlers;
    this.#logger = logger;
    this.#deliver = deliver;
  }

  /** The jobs whose handlers have not ended, also those that were given back meanwhile. */
  get running(): readonly Job[] {
    return [...this.#running];
  }

  /** Start jobs. Their handlers are called after the present turn of the event loop's microtasks. */
  start(jobs: readonly Job[]): void {
    for (const job of jobs) {
      this.#running.add(job);
      void this.#run(job).then((outcome) => {
        this.#running.delete(job);
        this.#lay(outcome);
      });
    }
  }

  /** Tell jobs to stop, each once, and say so in the log. */
  stopJobs(jobs: readonly Job[], why: Stop): void {
    for (const job of jobs) {
      if (job.stop !== undefined) continue;
      this.#logger[why === "released" ? "debug" : "info"](`${job}: stopping: ${STOPS[why]}`);
      job.stopFor(why);
    }
  }

  /** Never rejects. */
  async #run(job: Job): Promise<Outcome> {
    await Promise.resolve();
    const handler = this.#handlers.get(job.action);
    if (handler === undefined) {
      const message = `this worker has no handler for the action ${JSON.stringify(job.action)}`;
      return outcomes.failed(job, { type: outcomes.UNKNOWN_ACTION, message });
    }
    if (job.stop !== undefined) return outcomes.released(job);
    job.hasBegun = true;
    try {
      const result = await handler(job.raw.payload ?? null, new Context(job, this.#logger));
      // Its handler was promised that the result will not be used. The lease may live on: another attempt does it.
      return job.hasSeenStop ? outcomes.released(job) : outcomes.completed(job, result, this.resultBytesMax);
    } catch (error) {
      return this.#fail(job, error);
    }
  }

  #fail(job: Job, error: unknown): Outcome {
    if (job.hasSeenStop || error instanceof JobStoppedError) return outcomes.released(job);
    const failure = outcomes.failureOf(error);
    this.#logger.warn(`${job} failed: ${failure.type}: ${failure.message.slice(0, 500)}`);
    this.#logger.debug(failure.stack ?? "");
    return outcomes.failed(job, failure);
  }

  /** Hand over what ends in one turn of the event loop together: a call costs more than what is in it. */
  #lay(outcome: Outcome): void {
    this.#done.push(outcome);
    if (this.#done.length === 1) setImmediate(() => this.#deliver(this.#done.splice(0)));
  }
}
