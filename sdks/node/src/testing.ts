/**
 * Test your handlers as the workflow that they are, without an orchestrator and without waiting.
 *
 *     import { runWorkflow } from "workersdk/testing";
 *
 *     test("the card is charged once the bank is back", async () => {
 *       const run = await runWorkflow(worker, ["reserve", "charge"], { id: 7 });
 *       assert.equal(run.status, "COMPLETED");
 *       assert.equal(run.elapsed, 1);
 *     });
 *
 * The whole run happens in memory, with the worker's own handlers. Retries follow the policies of the definition; their
 * delays are not waited for but added to a clock of the run, which handlers do not move. Between the steps every payload is
 * written as JSON and read again, as on the way through an orchestrator.
 *
 * What this leaves out: jitter, time-outs, leases, cancelling.
 */

import { randomUUID } from "node:crypto";
import { type Definition, makeDefinition, type StepDefinition } from "./client.js";
import { type Duration, readDuration } from "./duration.js";
import { WorkflowError } from "./errors.js";
import { Context, type Handler } from "./handlers.js";
import { Job } from "./jobs.js";
import { parse, stringify } from "./json.js";
import { type Logger, standardLogger } from "./logging.js";
import { type DeadLetter, type RawJson, type Run, readDeadLetter, readRun } from "./models.js";
import { type Failure, failureOf, writeResult } from "./outcomes.js";
import { nextDelay, POLICY_DEFAULT, type RetryPolicy, refinePolicy } from "./policy.js";
import { TERMS_DEFAULT } from "./transport/transport.js";
import type { Worker } from "./worker.js";

/** A run as a client would see it, and what only a test wants to know. */
export interface SimulatedRun extends Run {
  /** Seconds on the run's own clock, which is the sum of the delays between attempts. */
  readonly elapsed: number;
  /** What people would find after a step has failed for good. */
  readonly deadLetter: DeadLetter | undefined;
}

export interface SimulationOptions {
  /** When the run's clock begins; now when left out. */
  readonly start?: Date;
  /** Where `context.logger` writes. */
  readonly logger?: Logger;
}

/**
 * Run a workflow to its end with the handlers of a worker that is not started.
 *
 * `definition`: a whole one, or only its steps. Rejects with `WorkflowError` when an action has no handler, with a
 * `NotJsonError` when the input is not JSON, with a `TypeError` or `RangeError` when the definition is not valid. A run that
 * fails is no error: look at `status`.
 */
export async function runWorkflow(
  worker: Worker,
  definition: Definition | readonly StepDefinition[],
  input: unknown = null,
  options: SimulationOptions = {},
): Promise<SimulatedRun> {
  const whole = "id" in definition ? makeDefinition(definition) : makeDefinition("test", definition);
  return new Simulation(worker, whole, options).run(input);
}

interface SimulatedStep {
  readonly stepIndex: number;
  readonly action: string;
  readonly raw: RawJson;
  readonly handler: Handler;
}

class Simulation {
  readonly #worker: Worker;
  readonly #definition: RawJson;
  readonly #steps: readonly SimulatedStep[];
  readonly #policy: RetryPolicy;
  readonly #logger: Logger;
  readonly #runId = randomUUID();
  readonly #start: number;
  #now: number;

  constructor(worker: Worker, definition: RawJson & { steps: readonly RawJson[] }, options: SimulationOptions) {
    this.#worker = worker;
    this.#definition = definition;
    this.#steps = readSteps(worker, definition.steps);
    this.#policy = refinePolicy(POLICY_DEFAULT, definition.retry);
    this.#logger = options.logger ?? standardLogger;
    this.#start = this.#now = (options.start ?? new Date()).getTime();
  }

  async run(given: unknown): Promise<SimulatedRun> {
    let payload = roundTrip(given);
    const shown = this.#steps.map(({ stepIndex, action }) => ({
      stepIndex,
      action,
      status: "PENDING",
      attempts: [] as RawJson[],
    }));
    const stepResults: RawJson[] = [];
    const raw: Record<string, unknown> = {
      runId: this.#runId,
      workflowId: this.#definition.id,
      workflowVersion: 1,
      startTime: this.#iso(),
      input: payload,
      status: "COMPLETED",
      stepResults,
      steps: shown,
    };
    let deadLetter: DeadLetter | undefined;
    for (const [place, step] of this.#steps.entries()) {
      const { attempts } = shown[place] as (typeof shown)[number];
      raw.currentStep = step.stepIndex;
      const outcome = await this.#runStep(step, attempts, payload);
      Object.assign(shown[place] ?? {}, { status: "failure" in outcome ? "FAILED" : "COMPLETED" });
      if ("failure" in outcome) {
        Object.assign(raw, { status: "FAILED", error: shownError(outcome.failure) });
        deadLetter = this.#deadLetter(step, attempts.length, payload, outcome.failure);
        break;
      }
      payload = outcome.result;
      const { action, stepIndex } = step;
      stepResults.push({ action, stepIndex, result: payload, timestamp: this.#iso() });
    }
    if (deadLetter === undefined) raw.finalOutput = payload;
    raw.endTime = this.#iso();
    return { ...readRun(raw), elapsed: (this.#now - this.#start) / 1_000, deadLetter };
  }

  async #runStep(
    step: SimulatedStep,
    attempts: RawJson[],
    payload: unknown,
  ): Promise<{ readonly result: unknown } | { readonly failure: Failure }> {
    const policy = refinePolicy(this.#policy, step.raw.retry);
    let details: unknown = null;
    for (;;) {
      const number = attempts.length + 1;
      const job = this.#job(step, number, payload, details);
      const startedAt = this.#iso();
      const outcome = await attempt(step.handler, job, this.#logger);
      const isFailed = typeof outcome !== "string";
      attempts.push({
        attempt: number,
        status: isFailed ? "FAILED" : "COMPLETED",
        worker: this.#worker.workerId,
        scheduledAt: startedAt,
        startedAt,
        finishedAt: this.#iso(),
        error: isFailed ? shownError(outcome) : null,
      });
      if (!isFailed) return { result: parse(outcome) };
      const delay = nextDelay(policy, outcome, number);
      if (delay === undefined) return { failure: outcome };
      this.#now += delay;
      if (job.details !== undefined) details = parse(job.details);
    }
  }

  #job(step: SimulatedStep, number: number, payload: unknown, details: unknown): Job {
    const raw: Record<string, unknown> = {
      jobId: `${this.#runId}:${step.stepIndex}`,
      attempt: number,
      workflowRunId: this.#runId,
      workflowId: this.#definition.id,
      stepIndex: step.stepIndex,
      action: step.action,
      payload: roundTrip(payload),
      details,
    };
    const timeout = (step.raw.timeout ?? this.#definition.stepTimeout) as Duration | null | undefined;
    if (timeout !== undefined && timeout !== null) {
      raw.deadline = new Date(this.#now + readDuration(timeout)).toISOString();
    }
    return new Job(raw, 0);
  }

  #deadLetter(step: SimulatedStep, attempts: number, payload: unknown, failure: Failure): DeadLetter {
    const { stepIndex, action } = step;
    return readDeadLetter({
      id: `${this.#runId}:${stepIndex}:${attempts}`,
      runId: this.#runId,
      workflowId: this.#definition.id,
      stepIndex,
      action,
      attempts,
      payload,
      error: shownError(failure),
      createdAt: this.#iso(),
    });
  }

  #iso(): string {
    return new Date(this.#now).toISOString();
  }
}

/** Do what a worker does with one attempt. */
async function attempt(handler: Handler, job: Job, logger: Logger): Promise<string | Failure> {
  try {
    const result = await handler(job.raw.payload, new Context(job, logger));
    return writeResult(result, TERMS_DEFAULT.resultBytesMax);
  } catch (error) {
    return failureOf(error);
  }
}

function readSteps(worker: Worker, given: readonly RawJson[]): SimulatedStep[] {
  const missing = new Set<string>();
  const steps = given.flatMap((raw, place) => {
    const { action } = raw;
    const stepIndex = raw.stepIndex ?? place;
    if (typeof action !== "string") throw new TypeError(`a step has no action: ${JSON.stringify(raw)}`);
    if (typeof stepIndex !== "number" || !Number.isSafeInteger(stepIndex) || stepIndex < 0) {
      throw new RangeError(`a stepIndex is a whole number from 0 on, not ${String(stepIndex)}`);
    }
    const handler = worker.handlers.get(action);
    if (handler === undefined) missing.add(action);
    return handler === undefined ? [] : { stepIndex, action, raw, handler };
  });
  if (missing.size > 0) throw new WorkflowError(`the worker has no handler for ${[...missing].join(", ")}`);
  const indexes = steps.map((step) => step.stepIndex);
  if (new Set(indexes).size < indexes.length) {
    throw new RangeError(`two steps have the same stepIndex: ${indexes.join(", ")}`);
  }
  return steps.sort((one, other) => one.stepIndex - other.stepIndex);
}

function shownError({ type, message, stack }: Failure): RawJson {
  return { type, message, stack: stack ?? null };
}

function roundTrip(value: unknown): unknown {
  return parse(stringify(value));
}
