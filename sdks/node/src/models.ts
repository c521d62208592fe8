/**
 * What the orchestrator shows of workflows, runs, workers and dead letters.
 *
 * Every object keeps the JSON that it was read from in `raw`; a field that this version does not know is there.
 */

import { isObject } from "./json.js";

export type RawJson = Readonly<Record<string, unknown>>;

export type RunStatus = "RUNNING" | "WAITING" | "COMPLETED" | "FAILED" | "CANCELLED" | "TIMED_OUT" | (string & {});

const ENDED: ReadonlySet<string> = new Set(["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);

/** Why an attempt, and with it a step or a run, failed. */
export interface ErrorInfo {
  readonly type: string;
  readonly message: string;
  readonly stack?: string;
  readonly raw: RawJson;
}

/** One execution of a step. `status`: QUEUED RUNNING COMPLETED FAILED TIMED_OUT LOST RELEASED CANCELLED. */
export interface Attempt {
  readonly attempt: number;
  readonly status: string;
  readonly scheduledAt: Date | undefined;
  readonly startedAt: Date | undefined;
  readonly finishedAt: Date | undefined;
  readonly worker: string | undefined;
  readonly error: ErrorInfo | undefined;
  readonly raw: RawJson;
}

/**
 * A step of a run and its attempts, oldest first.
 *
 * `status`: PENDING QUEUED RUNNING BACKING_OFF COMPLETED FAILED CANCELLED TIMED_OUT.
 */
export interface Step {
  readonly stepIndex: number;
  readonly action: string;
  readonly status: string;
  readonly attempts: readonly Attempt[];
  readonly nextAttemptAt: Date | undefined;
  readonly raw: RawJson;
}

/** What a step returned. */
export interface StepResult {
  readonly action: string;
  readonly stepIndex: number;
  readonly result: unknown;
  readonly timestamp: Date | undefined;
  readonly raw: RawJson;
}

/** A run of a workflow. `steps` and `waitingFor` (what it waits for, in words) are empty in a list of runs. */
export interface Run {
  readonly runId: string;
  readonly workflowId: string;
  readonly workflowVersion: number;
  readonly status: RunStatus;
  /** Nothing changes this run any more, but for the redrive of a dead letter. */
  readonly isEnded: boolean;
  readonly currentStep: number;
  readonly startTime: Date | undefined;
  readonly endTime: Date | undefined;
  readonly input: unknown;
  readonly finalOutput: unknown;
  readonly error: ErrorInfo | undefined;
  readonly stepResults: readonly StepResult[];
  readonly steps: readonly Step[];
  readonly waitingFor: string | undefined;
  readonly raw: RawJson;
}

/** One event of a run's history. `seq` counts from 1 without a gap. */
export interface RunEvent {
  readonly seq: number;
  readonly type: string;
  readonly at: Date | undefined;
  readonly stepIndex: number | undefined;
  readonly attempt: number | undefined;
  readonly worker: string | undefined;
  readonly error: ErrorInfo | undefined;
  readonly raw: RawJson;
}

/** A version of a definition. `steps` are the step objects as the orchestrator shows them, defaults filled in. */
export interface Workflow {
  readonly id: string;
  readonly version: number;
  readonly description: string;
  readonly createdAt: Date | undefined;
  readonly steps: readonly RawJson[];
  readonly raw: RawJson;
}

/** A worker as the orchestrator sees it. `status`: CONNECTED DRAINING GONE; `transport`: http kafka. */
export interface WorkerInfo {
  readonly workerId: string;
  readonly status: string;
  readonly transport: string;
  readonly actions: readonly string[];
  readonly host: string | undefined;
  readonly concurrency: number | undefined;
  readonly lastSeenAt: Date | undefined;
  readonly inHand: readonly RawJson[];
  readonly raw: RawJson;
}

/** A job that has no attempt left, kept for a person. `state`: OPEN REDRIVEN DISCARDED. */
export interface DeadLetter {
  readonly id: string;
  readonly runId: string;
  readonly workflowId: string;
  readonly stepIndex: number;
  readonly action: string;
  readonly state: string;
  readonly attempts: number;
  readonly payload: unknown;
  readonly error: ErrorInfo | undefined;
  readonly createdAt: Date | undefined;
  readonly raw: RawJson;
}

export function readRun(raw: RawJson): Run {
  const status = text(raw, "status");
  return {
    runId: text(raw, "runId"),
    workflowId: text(raw, "workflowId"),
    workflowVersion: number(raw, "workflowVersion") ?? 0,
    status,
    isEnded: ENDED.has(status),
    currentStep: number(raw, "currentStep") ?? 0,
    startTime: time(raw, "startTime"),
    endTime: time(raw, "endTime"),
    input: raw.input ?? null,
    finalOutput: raw.finalOutput ?? null,
    error: readError(raw),
    stepResults: list(raw, "stepResults").map(readStepResult),
    steps: list(raw, "steps").map(readStep),
    waitingFor: maybeText(raw, "waitingFor"),
    raw,
  };
}

function readStepResult(raw: RawJson): StepResult {
  return {
    action: text(raw, "action"),
    stepIndex: number(raw, "stepIndex") ?? 0,
    result: raw.result ?? null,
    timestamp: time(raw, "timestamp"),
    raw,
  };
}

function readStep(raw: RawJson): Step {
  return {
    stepIndex: number(raw, "stepIndex") ?? 0,
    action: text(raw, "action"),
    status: text(raw, "status"),
    attempts: list(raw, "attempts").map(readAttempt),
    nextAttemptAt: time(raw, "nextAttemptAt"),
    raw,
  };
}

function readAttempt(raw: RawJson): Attempt {
  return {
    attempt: number(raw, "attempt") ?? 0,
    status: text(raw, "status"),
    scheduledAt: time(raw, "scheduledAt"),
    startedAt: time(raw, "startedAt"),
    finishedAt: time(raw, "finishedAt"),
    worker: maybeText(raw, "worker"),
    error: readError(raw),
    raw,
  };
}

export function readEvent(raw: RawJson): RunEvent {
  return {
    seq: number(raw, "seq") ?? 0,
    type: text(raw, "type"),
    at: time(raw, "at"),
    stepIndex: number(raw, "stepIndex"),
    attempt: number(raw, "attempt"),
    worker: maybeText(raw, "worker"),
    error: readError(raw),
    raw,
  };
}

export function readWorkflow(raw: RawJson): Workflow {
  return {
    id: text(raw, "id"),
    version: number(raw, "version") ?? 0,
    description: text(raw, "description"),
    createdAt: time(raw, "createdAt"),
    steps: list(raw, "steps"),
    raw,
  };
}

export function readWorker(raw: RawJson): WorkerInfo {
  const actions = raw.actions;
  return {
    workerId: text(raw, "workerId"),
    status: text(raw, "status"),
    transport: text(raw, "transport") || "http",
    actions: Array.isArray(actions) ? actions.map(String) : [],
    host: maybeText(raw, "host"),
    concurrency: number(raw, "concurrency"),
    lastSeenAt: time(raw, "lastSeenAt"),
    inHand: list(raw, "inHand"),
    raw,
  };
}

export function readDeadLetter(raw: RawJson): DeadLetter {
  return {
    id: text(raw, "id"),
    runId: text(raw, "runId"),
    workflowId: text(raw, "workflowId"),
    stepIndex: number(raw, "stepIndex") ?? 0,
    action: text(raw, "action"),
    state: text(raw, "state") || "OPEN",
    attempts: number(raw, "attempts") ?? 0,
    payload: raw.payload ?? null,
    error: readError(raw),
    createdAt: time(raw, "createdAt"),
    raw,
  };
}

function readError(raw: RawJson): ErrorInfo | undefined {
  const error = raw.error;
  if (!isObject(error)) return undefined;
  const stack = maybeText(error, "stack");
  const known = { type: text(error, "type"), message: text(error, "message"), raw: error };
  return stack === undefined ? known : { ...known, stack };
}

function list(raw: RawJson, name: string): RawJson[] {
  const values = raw[name];
  return Array.isArray(values) ? values.filter(isObject) : [];
}

function text(raw: RawJson, name: string): string {
  return maybeText(raw, name) ?? "";
}

function maybeText(raw: RawJson, name: string): string | undefined {
  const value = raw[name];
  return typeof value === "string" ? value : undefined;
}

function number(raw: RawJson, name: string): number | undefined {
  const value = raw[name];
  return typeof value === "number" ? value : undefined;
}

function time(raw: RawJson, name: string): Date | undefined {
  const value = maybeText(raw, name);
  return value === undefined ? undefined : new Date(value);
}
