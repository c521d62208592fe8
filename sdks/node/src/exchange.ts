/**
 * The heart of the worker: reporting results and taking jobs, in as few calls as possible.
 *
 * Rule 1: while there is room for a job, one call waits for jobs at the orchestrator.
 * Rule 2: a result goes out with the next call, and that call asks for the next jobs: one round trip per step.
 * Rule 3: a result never waits for a waiting call to come back; it goes out beside it, on a second connection.
 * Rule 4: results that are ready while both lines are in use are gathered for the next call.
 * Rule 5: the jobs of one answer get two milliseconds to come back together before the next call is made.
 * Rule 6: results stay here until a call that carried them was answered.
 * Rule 7: whoever answers "nothing" without waiting is asked ten times a second, not more often.
 */

import { RegistrationError } from "./errors.js";
import type { Execution } from "./execution.js";
import { Job, type JobsInHand, type RawJob } from "./jobs.js";
import type { Link } from "./link.js";
import type { Level, Logger } from "./logging.js";
import * as outcomes from "./outcomes.js";
import { Outbox, type Outcome } from "./outcomes.js";
import {
  type Answer,
  Refused,
  type Rejection,
  TooLarge,
  TransportError,
  WorkerUnknown,
} from "./transport/transport.js";
import { Flag, now } from "./waiting.js";

const WAIT_MS = 20_000;
const TOGETHER_MS = 2;
const NOTHING_MS = 100;
const CONTENT_STATUSES = new Set([400, 422]);

/** What a rejected result means for whoever reads the log. */
const REJECTIONS: Readonly<Record<string, Level>> = {
  "already-recorded": "debug",
  "run-finished": "info",
  "attempt-superseded": "warn",
  "job-unknown": "warn",
  "result-invalid": "error",
};

/** An exchange that is under way. */
interface Call {
  readonly batch: readonly Outcome[];
  readonly capacity: number;
  readonly sentAt: number;
  readonly abort: AbortController;
  readonly ended: Flag;
}

/** What an exchange tells the worker's life. */
export interface ExchangeEvents {
  readonly onDraining: () => void;
  readonly onFailure: (error: unknown) => void;
  readonly onAccepted: (jobs: readonly Job[]) => void;
}

/**
 * Decides when to call, with what, and what to do with the answer.
 *
 * There are two lines. The first one waits for jobs and carries the results that are ready when it is sent; the second
 * one is used for results only while the first one is waiting.
 */
export class Exchanges {
  readonly outbox = new Outbox();
  readonly #link: Link;
  readonly #jobs: JobsInHand;
  readonly #execution: Execution;
  readonly #concurrency: number;
  readonly #logger: Logger;
  readonly #events: ExchangeEvents;
  #first: Call | undefined;
  #second: Call | undefined;
  #isPumpDue = false;
  #pumpTimer: NodeJS.Timeout | undefined;
  #notBefore = 0;
  #askAfter = 0;
  // The number of the latest burst of jobs, how many of it are not done, and until when it counts.
  #burst = 0;
  #burstLeft = 0;
  #burstUntil = 0;
  #isTaking = true;
  #isClosed = false;
  readonly #atRest: (() => void)[] = [];

  constructor(
    link: Link,
    jobs: JobsInHand,
    execution: Execution,
    concurrency: number,
    logger: Logger,
    events: ExchangeEvents,
  ) {
    this.#link = link;
    this.#jobs = jobs;
    this.#execution = execution;
    this.#concurrency = concurrency;
    this.#logger = logger;
    this.#events = events;
  }

  // ------------------------------------------------------------ from outside

  /** Take results that are ready to be sent. */
  report(results: readonly Outcome[]): void {
    this.outbox.add(results);
    for (const { job } of results) this.#forget(job);
    if (this.#burstLeft === 0 && !this.#isPumpDue && now() < this.#burstUntil) {
      this.#pump(); // the whole burst is here: nothing else is about to come
    } else {
      this.nudge();
    }
  }

  /** Let a job go of which nobody wants the result. */
  drop(job: Job): void {
    this.#forget(job);
    this.nudge();
  }

  /** Look, soon, whether there is something to send. */
  nudge(): void {
    if (this.#isPumpDue || this.#isClosed) return;
    this.#isPumpDue = true;
    setImmediate(() => {
      if (this.#isPumpDue) this.#pump();
    });
  }

  /** The orchestrator is there again: do not wait for the end of the pause. */
  resume(): void {
    this.#notBefore = 0;
    this.nudge();
  }

  /** Ask for no more jobs. A call that waits goes on until it ends; what it brings is given back. */
  stopTaking(): void {
    this.#isTaking = false;
    this.nudge();
  }

  /** End the call that waits. Its results are sent again; its jobs, if any, go back when the worker leaves. */
  async abortWaiting(): Promise<void> {
    this.#first?.abort.abort();
    await this.#first?.ended.wait();
  }

  /** Resolve when every result has been acknowledged. Call it after `stopTaking`. */
  async waitFlushed(): Promise<void> {
    while (!this.#isClosed && (this.outbox.size > 0 || this.#first || this.#second)) {
      this.nudge();
      await new Promise<void>((resolve) => this.#atRest.push(resolve));
    }
  }

  /** End everything. What has not been sent is lost. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#pumpTimer);
    const calls = [this.#first, this.#second];
    for (const call of calls) call?.abort.abort();
    await Promise.all(calls.map((call) => call?.ended.wait()));
    this.#rest();
  }

  // ------------------------------------------------------------ deciding

  #pump(): void {
    this.#isPumpDue = false;
    if (this.#isClosed) return;
    const moment = now();
    if (moment < this.#notBefore) {
      this.#pumpAt(this.#notBefore);
    } else if (this.#burstLeft > 0 && moment < this.#burstUntil) {
      this.#pumpAt(this.#burstUntil);
    } else if (this.#first === undefined) {
      this.#useFirst(moment);
    } else if (this.outbox.size > 0 && this.#second === undefined) {
      this.#useSecond(moment, this.#first);
    }
    if (this.outbox.size === 0 && !this.#first && !this.#second) this.#rest();
  }

  #rest(): void {
    for (const resolve of this.#atRest.splice(0)) resolve();
  }

  #useFirst(moment: number): void {
    const capacity = this.#capacity();
    if (this.outbox.size === 0) {
      if (capacity === 0) return;
      if (moment < this.#askAfter) {
        this.#pumpAt(this.#askAfter);
        return;
      }
    }
    this.#first = this.#send(moment, capacity, Math.min(WAIT_MS, this.#link.terms.waitMsMax));
    if (this.outbox.size > 0) this.nudge();
  }

  #useSecond(moment: number, first: Call): void {
    // A call that carried results is most often answered in a moment: what comes meanwhile is gathered.
    if (first.batch.length > 0 && moment < first.sentAt + TOGETHER_MS) {
      this.#pumpAt(first.sentAt + TOGETHER_MS);
    } else {
      this.#second = this.#send(moment, this.#capacity(), 0);
    }
  }

  #capacity(): number {
    // An orchestrator that did not hand the job out itself does not know that it runs alone.
    if (!this.#isTaking || this.#jobs.hasAlone) return 0;
    const offered = (this.#first?.capacity ?? 0) + (this.#second?.capacity ?? 0);
    const free = this.#concurrency - this.#jobs.size - offered;
    return Math.max(0, Math.min(free, this.#link.terms.capacityMax));
  }

  #pumpAt(when: number): void {
    clearTimeout(this.#pumpTimer);
    this.#pumpTimer = setTimeout(() => this.nudge(), Math.max(0, when - now()));
  }

  // ------------------------------------------------------------ calling

  #send(moment: number, capacity: number, waitMs: number): Call {
    const batch = this.outbox.take();
    const call: Call = { batch, capacity, sentAt: moment, abort: new AbortController(), ended: new Flag() };
    // A call must answer at once when more results wait for the line, and when it is to show, after a failure, whether
    // the orchestrator is there again.
    const isAtOnce = capacity === 0 || this.outbox.size > 0 || this.#link.isInDoubt;
    void this.#make(call, isAtOnce ? 0 : waitMs);
    return call;
  }

  /** Never rejects. */
  async #make(call: Call, waitMs: number): Promise<void> {
    for (const outcome of call.batch) outcome.tries += 1;
    const { registrations } = this.#link;
    try {
      const bodies = call.batch.map((outcome) => outcome.body);
      const answer = await this.#link.transport.exchange(bodies, call.capacity, waitMs, call.abort.signal);
      this.#freeLine(call);
      this.#link.reached();
      this.outbox.carryMore();
      this.#apply(answer, call.batch);
      if (waitMs > 0 && call.batch.length === 0 && isNothing(answer)) {
        this.#askAfter = Math.max(this.#askAfter, call.sentAt + NOTHING_MS);
      }
    } catch (error) {
      await this.#recover(call, error, registrations);
      this.#freeLine(call);
    }
    call.ended.set();
    this.nudge();
  }

  #freeLine(call: Call): void {
    if (this.#first === call) this.#first = undefined;
    else if (this.#second === call) this.#second = undefined;
  }

  async #recover({ batch, abort }: Call, error: unknown, registrations: number): Promise<void> {
    const isContent = error instanceof TooLarge || (error instanceof Refused && CONTENT_STATUSES.has(error.status));
    const [only] = batch;
    if (isContent && only !== undefined && batch.length === 1) {
      this.outbox.putBack(this.#insteadOf(only, error));
      return;
    }
    this.outbox.putBack(batch);
    if (isContent && batch.length > 0) {
      this.outbox.carryFewer(batch.length); // one of them is to blame: halving finds it
    } else if (error instanceof WorkerUnknown) {
      try {
        await this.#link.registerAgain(registrations);
      } catch (refusal) {
        if (refusal instanceof RegistrationError) this.#events.onFailure(refusal);
      }
    } else if (error instanceof TransportError) {
      this.#notBefore = now() + this.#link.failed(error);
    } else if (!abort.signal.aborted) {
      this.#events.onFailure(error);
    }
  }

  /** The orchestrator will not have this result: say so in its place, so that the attempt does not hang. */
  #insteadOf(outcome: Outcome, error: Error): Outcome[] {
    if (outcome.status === "failed") {
      this.#logger.error(`${outcome.job}: its failure could not be reported: ${error.message}`);
      return [];
    }
    const type = error instanceof TooLarge ? outcomes.TOO_LARGE : outcomes.REFUSED;
    const message = `the result of ${outcome.bytes} bytes was not taken: ${error.message}`;
    return [outcomes.failed(outcome.job, { type, message, isRetryable: false })];
  }

  // ------------------------------------------------------------ answers

  #apply(answer: Answer, sent: readonly Outcome[]): void {
    if (answer.cancelled.length > 0) this.#execution.stopJobs(this.#jobs.findAll(answer.cancelled), "cancelled");
    if (answer.rejected.length > 0) this.#tellRejections(answer.rejected, sent);
    if (answer.isDraining) this.#events.onDraining();
    if (answer.jobs.length > 0) this.#accept(answer.jobs);
  }

  #accept(raws: readonly RawJob[]): void {
    const moment = now();
    if (moment >= this.#burstUntil) {
      this.#burst += 1;
      this.#burstLeft = 0;
    }
    const accepted = raws.flatMap((raw) => this.#read(raw, moment) ?? []);
    if (!this.#isTaking) {
      this.report(accepted.map((job) => outcomes.released(job)));
      return;
    }
    this.#burstLeft += accepted.length;
    this.#burstUntil = moment + TOGETHER_MS;
    this.#events.onAccepted(accepted);
    this.#execution.start(accepted);
  }

  #read(raw: RawJob, moment: number): Job | undefined {
    let job: Job;
    try {
      job = new Job(raw, moment, { burst: this.#burst, leaseMs: this.#link.terms.leaseMs });
    } catch (error) {
      this.#logger.error(`a job that cannot be read: ${outcomes.messageOf(error)}`);
      return undefined;
    }
    if (this.#jobs.has(job.id, job.attempt)) return undefined;
    this.#jobs.add(job);
    return job;
  }

  #forget(job: Job): void {
    this.#jobs.remove(job);
    if (job.burst === this.#burst) this.#burstLeft -= 1;
  }

  #tellRejections(rejections: readonly Rejection[], sent: readonly Outcome[]): void {
    // A result whose first answer was lost is expected to be refused the second time.
    const again = new Set(sent.filter(({ tries }) => tries > 1).map(({ job }) => job.name));
    for (const { jobId, attempt, code = "", reason } of rejections) {
      const level = again.has(`${attempt} ${jobId}`) ? "debug" : (REJECTIONS[code] ?? "warn");
      this.#logger[level](`the result of job ${jobId} attempt ${attempt} was not used: ${reason ?? code}`);
    }
  }
}

function isNothing({ jobs, cancelled, rejected, isDraining }: Answer): boolean {
  return jobs.length === 0 && cancelled.length === 0 && rejected.length === 0 && !isDraining;
}
