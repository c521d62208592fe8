/** The client: define workflows, start runs, wait for them, look after them. */

import { randomUUID } from "node:crypto";
import { type Duration, readDuration } from "./duration.js";
import { RunFailedError, WaitTimeoutError } from "./errors.js";
import type { Trace } from "./jobs.js";
import {
  type DeadLetter,
  type RawJson,
  type Run,
  type RunEvent,
  readDeadLetter,
  readEvent,
  readRun,
  readWorker,
  readWorkflow,
  type WorkerInfo,
  type Workflow,
} from "./models.js";
import { clientUrl, type Query, Rest, TIMEOUT_MS } from "./rest.js";
import { now } from "./waiting.js";

const WAIT_MS_MAX = 30_000;

/** A step of a definition, as docs/rest-api.md says; or only the name of its action. */
export type StepDefinition = string | { readonly action: string; readonly [field: string]: unknown };

/** A whole definition, as docs/rest-api.md says. */
export interface Definition {
  readonly id: string;
  readonly steps: readonly StepDefinition[];
  readonly [field: string]: unknown;
}

export interface TriggerOptions {
  /**
   * The same key again returns the run that it started before, for a day. One is made up when none is given, so that a
   * lost answer does not start a second run.
   */
  readonly idempotencyKey?: string;
  /**
   * `traceparent` and `tracestate`, which each job of the run will carry: what OpenTelemetry's `inject` writes into an
   * object, or a handler's `context.trace`. What else is in it is left alone.
   */
  readonly trace?: Trace;
}

export interface WaitOptions {
  /** How long to wait; without it, for as long as it takes. */
  readonly timeout?: Duration;
  /** Ends the waiting; the run goes on. */
  readonly signal?: AbortSignal;
}

export interface ListOptions {
  /** One status or several. */
  readonly status?: string | readonly string[];
  /** A workflow's id. */
  readonly workflow?: string;
  /** Stop after so many runs. */
  readonly limit?: number;
}

/**
 * Speaks to an orchestrator over its REST API.
 *
 * The address is `url`, else the environment variable WORKFLOW_URL if that is HTTP, else http://127.0.0.1:8080. Calls that
 * may be repeated are tried a few times when there is no answer or a 503; starting a run is one of them, because it always
 * carries an idempotency key.
 *
 * Every call rejects with `ConnectionFailedError` when there is no answer, and with an `ApiError` when the answer is an
 * error. Connections that are kept do not keep the process alive; `close` closes them at once.
 */
export class Client {
  readonly #rest: Rest;

  constructor(url?: string) {
    this.#rest = new Rest(clientUrl(url));
  }

  /** Where the orchestrator is: without a password. */
  get address(): string {
    return this.#rest.address;
  }

  /** Close the connections. The client can be used again after that. */
  close(): void {
    this.#rest.close();
  }

  // ------------------------------------------------------------ workflows

  /**
   * Define a workflow, or a new version of it: a whole definition, or an id and its steps.
   *
   * A step is an action's name or a step object: `define("order", ["reserve", { action: "charge" }])`. The same content
   * again makes no new version. Rejects with `ApiError` (422) when the definition is not valid.
   */
  async define(definition: Definition | string, steps?: readonly StepDefinition[]): Promise<Workflow> {
    const body = makeDefinition(definition, steps);
    return readWorkflow(await this.#rest.object("POST", "/workflow/", { body }));
  }

  /** The latest versions of all workflows, by id. */
  async workflows(): Promise<Workflow[]> {
    return (await this.#entries("/workflow/")).map(readWorkflow);
  }

  /** The latest version of a workflow. Rejects with `NotFoundError`. */
  async workflow(workflowId: string): Promise<Workflow> {
    return readWorkflow(await this.#rest.object("GET", `/workflow/${part(workflowId)}`));
  }

  // ------------------------------------------------------------ runs

  /** Start a run and return its id. Rejects with `NotFoundError` when there is no such workflow. */
  async trigger(workflowId: string, input: unknown = null, options: TriggerOptions = {}): Promise<string> {
    const { idempotencyKey = randomUUID(), trace: { traceparent, tracestate } = {} } = options;
    const answer = await this.#rest.object("POST", `/workflow/${part(workflowId)}/trigger`, {
      body: { input },
      headers: {
        "Idempotency-Key": idempotencyKey,
        ...(traceparent && { traceparent }),
        ...(tracestate && { tracestate }),
      },
    });
    return String(answer.runId);
  }

  /** A run with its steps and attempts. Rejects with `NotFoundError`. */
  async get(runId: string): Promise<Run> {
    return readRun(await this.#rest.object("GET", `/workflow/run/${part(runId)}`));
  }

  /** The run once it has ended, however it ended. Rejects with `WaitTimeoutError`; the run goes on. */
  async wait(runId: string, options: WaitOptions = {}): Promise<Run> {
    const { timeout, signal } = options;
    const timeoutMs = timeout === undefined ? Number.POSITIVE_INFINITY : readDuration(timeout, "timeout");
    const end = now() + timeoutMs;
    for (;;) {
      const waitMs = Math.max(0, Math.min(WAIT_MS_MAX, end - now()));
      const run = readRun(
        await this.#rest.object("GET", `/workflow/run/${part(runId)}`, {
          query: { wait: (waitMs / 1_000).toFixed(3) },
          timeoutMs: waitMs + TIMEOUT_MS,
          signal,
        }),
      );
      if (run.isEnded) return run;
      if (now() >= end) throw new WaitTimeoutError(run, timeoutMs);
    }
  }

  /**
   * Start a run, wait for its end and return its final output.
   *
   * Rejects with `RunFailedError` when it ended otherwise, `WaitTimeoutError` when the time was not enough.
   */
  async run(workflowId: string, input: unknown = null, options: TriggerOptions & WaitOptions = {}): Promise<unknown> {
    const run = await this.wait(await this.trigger(workflowId, input, options), options);
    if (run.status !== "COMPLETED") throw new RunFailedError(run);
    return run.finalOutput;
  }

  /** Cancel a run. Rejects with `ConflictError` when it has ended already. */
  async cancel(runId: string, reason?: string): Promise<Run> {
    return readRun(await this.#rest.object("POST", `/workflow/run/${part(runId)}/cancel`, { body: { reason } }));
  }

  /** The history of a run, oldest first; only what came after the event number `after` if given. */
  async events(runId: string, after?: number): Promise<RunEvent[]> {
    return (await this.#entries(`/workflow/run/${part(runId)}/events`, { after })).map(readEvent);
  }

  /** Runs, newest first: `for await (const run of client.list({ status: "FAILED" }))`. Pages come as they are needed. */
  async *list(options: ListOptions = {}): AsyncGenerator<Run> {
    const { status, workflow, limit } = options;
    for await (const page of this.#rest.pages("/workflow/runs", { status, workflow }, limit)) {
      for (const raw of page) yield readRun(raw);
    }
  }

  // ------------------------------------------------------------ workers and dead letters

  /** The workers that are known, with the jobs in their hands. */
  async workers(): Promise<WorkerInfo[]> {
    return (await this.#entries("/workers")).map(readWorker);
  }

  /** The dead letters, newest first. */
  async deadLetters(
    options: { readonly workflow?: string; readonly action?: string; readonly limit?: number } = {},
  ): Promise<DeadLetter[]> {
    const { workflow, action, limit } = options;
    return (await this.#entries("/dead-letters", { workflow, action }, limit)).map(readDeadLetter);
  }

  /** Run the step of a dead letter again, in the same run and with a fresh retry budget; return the run. */
  async redrive(deadLetterId: string): Promise<Run> {
    const path = `/dead-letters/${part(deadLetterId)}/redrive`;
    return readRun(await this.#rest.object("POST", path, { isRepeatable: false }));
  }

  /** Discard a dead letter; its run stays failed. */
  async discard(deadLetterId: string): Promise<void> {
    await this.#rest.call("DELETE", `/dead-letters/${part(deadLetterId)}`, { isRepeatable: false });
  }

  async #entries(path: string, query: Query = {}, limit?: number): Promise<RawJson[]> {
    const found: RawJson[] = [];
    for await (const page of this.#rest.pages(path, query, limit)) found.push(...page);
    return found;
  }
}

/** A definition whose steps are objects. Throws a `TypeError` when there are no steps. */
export function makeDefinition(
  definition: Definition | string,
  steps?: readonly StepDefinition[],
): RawJson & { readonly steps: readonly RawJson[] } {
  const given = typeof definition === "string" ? { id: definition, steps: steps ?? [] } : definition;
  if (typeof definition !== "string" && steps !== undefined) {
    throw new TypeError("give a whole definition, or an id and steps, not both");
  }
  if (!Array.isArray(given.steps) || given.steps.length === 0) {
    throw new TypeError(`the workflow ${given.id} needs steps: define("${given.id}", ["my-action"])`);
  }
  const whole = given.steps.map((step: StepDefinition) => (typeof step === "string" ? { action: step } : { ...step }));
  return { ...given, steps: whole };
}

function part(text: string): string {
  return encodeURIComponent(text);
}
