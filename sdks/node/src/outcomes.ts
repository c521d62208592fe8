/**
 * What comes out of an attempt, written as the `results` entries of the worker protocol, and where it waits to be sent.
 *
 * Rule 1: every attempt ends in exactly one entry.
 * Rule 2: an entry is written once, where the handler ran, and sent again unchanged when an answer was lost.
 */

import { inspect } from "node:util";
import { NonRetryableError, RetryLater } from "./errors.js";
import type { Job } from "./jobs.js";
import { NotJsonError, stringify } from "./json.js";

export const MESSAGE_BYTES_MAX = 8 * 1024;
export const STACK_BYTES_MAX = 16 * 1024;
export const TYPE_BYTES_MAX = 256;

export const RESULTS_MAX = 1_000;
const ENVELOPE_BYTES = 1_024;
const CAUSES_MAX = 5;

export const NOT_SERIALIZABLE = "ResultNotSerializable";
export const TOO_LARGE = "ResultTooLarge";
export const REFUSED = "ResultRefused";
export const UNKNOWN_ACTION = "ActionUnknown";

/** Why an attempt failed, as it is reported. `retryAfter` in seconds. */
export interface Failure {
  readonly type: string;
  readonly message: string;
  readonly stack?: string;
  readonly isRetryable?: boolean;
  readonly retryAfter?: number;
}

export type Status = "completed" | "failed" | "released";

/** One entry for `results`, and the job that it is of. */
export class Outcome<J extends Job = Job> {
  readonly job: J;
  readonly body: string;
  readonly bytes: number;
  readonly status: Status;
  tries = 0;

  constructor(job: J, body: string, status: Status = "completed") {
    this.job = job;
    this.body = body;
    this.bytes = Buffer.byteLength(body);
    this.status = status;
  }
}

/** A queue from which a call takes as many results as it may carry, and to which they return when it is lost. */
export class Outbox {
  requestBytesMax = 16 * 1024 * 1024;
  #waiting: Outcome[] = [];
  #resultsMax = RESULTS_MAX;

  get size(): number {
    return this.#waiting.length;
  }

  get jobs(): Job[] {
    return this.#waiting.map((outcome) => outcome.job);
  }

  add(outcomes: readonly Outcome[]): void {
    for (const outcome of outcomes) this.#waiting.push(outcome);
  }

  /** Take what the next call carries: at least one result if there is any, however large it is. */
  take(): Outcome[] {
    let count = 0;
    let room = this.requestBytesMax - ENVELOPE_BYTES;
    for (const outcome of this.#waiting) {
      room -= outcome.bytes + 1;
      if (count >= this.#resultsMax || (room < 0 && count > 0)) break;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  /** Take back what a lost call carried: it goes first again. */
  putBack(batch: readonly Outcome[]): void {
    this.#waiting = [...batch, ...this.#waiting];
  }

  /** A call with so many results was too much: carry at most half of them from now on. */
  carryFewer(than: number): void {
    this.#resultsMax = Math.max(1, Math.floor(than / 2));
  }

  /** A call came through: come back to full calls, by doubling. */
  carryMore(): void {
    this.#resultsMax = Math.min(RESULTS_MAX, this.#resultsMax * 2);
  }
}

/** Write a handler's result; one that cannot be sent becomes a failure that no retry would mend. */
export function completed<J extends Job>(job: J, result: unknown, resultBytesMax: number): Outcome<J> {
  const text = writeResult(result, resultBytesMax);
  return typeof text === "string" ? new Outcome(job, `${job.wireHead()},"result":${text}}`) : failed(job, text);
}

/** Write a result as JSON, or say why it cannot be sent. */
export function writeResult(result: unknown, resultBytesMax: number): string | Failure {
  let text: string;
  try {
    text = stringify(result);
  } catch (error) {
    // Whatever a toJSON of the user's throws is as final as a value that is not JSON.
    const why = error instanceof NotJsonError ? error.message : messageOf(error);
    return { type: NOT_SERIALIZABLE, message: `the result cannot be sent: ${why}`, isRetryable: false };
  }
  const bytes = Buffer.byteLength(text);
  if (bytes <= resultBytesMax) return text;
  const message = `the result is ${bytes} bytes of JSON; at most ${resultBytesMax} are taken`;
  return { type: TOO_LARGE, message, isRetryable: false };
}

/** Write a failure. */
export function failed<J extends Job>(job: J, failure: Failure): Outcome<J> {
  const error: Record<string, unknown> = { type: failure.type, message: failure.message };
  if (failure.stack) error.stack = failure.stack;
  if (failure.isRetryable === false) error.retryable = false;
  if (failure.retryAfter !== undefined) error.retryAfter = failure.retryAfter;
  return new Outcome(job, unfinished(job, `,"status":"failed","error":${stringify(error)}`), "failed");
}

/** Give the job back unharmed: no attempt is counted and another worker gets it at once. */
export function released<J extends Job>(job: J): Outcome<J> {
  return new Outcome(job, unfinished(job, ',"status":"released"'), "released");
}

/** Write an entry with what the attempt said last: it is for the next one. */
function unfinished(job: Job, fields: string): string {
  return `${job.wireHead()}${fields}${job.details === undefined ? "" : `,"details":${job.details}`}}`;
}

/** Say in the protocol's words what something that a handler threw means. */
export function failureOf(error: unknown): Failure {
  const failure = {
    type: cut(typeOf(error), TYPE_BYTES_MAX),
    message: cut(messageOf(error), MESSAGE_BYTES_MAX),
    stack: cut(stackOf(error), STACK_BYTES_MAX),
    isRetryable: !(error instanceof NonRetryableError),
  };
  return error instanceof RetryLater ? { ...failure, retryAfter: error.delay } : failure;
}

function typeOf(error: unknown): string {
  if (error instanceof NonRetryableError) return String(error.type);
  if (!(error instanceof Error)) return "Error";
  try {
    // A class that gives itself no name is called what it is in the source.
    const isNamed = Object.hasOwn(error, "name") || Object.hasOwn(Object.getPrototypeOf(error) as object, "name");
    return String(isNamed ? error.name : error.constructor.name) || "Error";
  } catch {
    return "Error";
  }
}

/** The message of anything that was thrown. Never throws. */
export function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return String(error.message);
    return typeof error === "string" ? error : inspect(error, { depth: 2 });
  } catch (second) {
    return `(its message cannot be had: ${second instanceof Error ? second.name : typeof second})`;
  }
}

function stackOf(error: unknown): string {
  const stacks: string[] = [];
  try {
    for (let one = error; one instanceof Error && stacks.length < CAUSES_MAX; one = one.cause) {
      stacks.push(String(one.stack ?? one));
    }
  } catch (second) {
    stacks.push(`(its stack cannot be had: ${messageOf(second)})`);
  }
  return stacks.join("\ncaused by: ");
}

function cut(text: string, bytesMax: number): string {
  const whole = Buffer.from(text.toWellFormed());
  if (whole.length <= bytesMax) return whole.toString();
  // A character that is cut in half would be shown as a question mark.
  return `${whole
    .subarray(0, bytesMax - 3)
    .toString()
    .replace(/\ufffd$/, "")}…`;
}
