/** Every error that this package throws, and the two that a handler throws to say what shall happen next. */

import { type Duration, readDuration } from "./duration.js";
import type { ErrorInfo, Run } from "./models.js";

/** The root of everything that this package throws by itself. */
export class WorkflowError extends Error {
  override name = "WorkflowError";
}

// ---------------------------------------------------------------- thrown by handlers

/**
 * Throw it in a handler: the attempt has failed, and another attempt would fail too.
 *
 * The step fails at once and becomes a dead letter, however many retries its policy has left. `type` is what the run
 * shows and what a retry policy's `nonRetryable` is compared with; by default the class name, so that a subclass names
 * itself.
 */
export class NonRetryableError extends Error {
  override name = "NonRetryableError";
  readonly type: string;

  constructor(message = "", options: { type?: string; cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.type = options.type ?? this.constructor.name;
  }
}

/**
 * Throw it in a handler: the attempt has failed, and the next one shall start `delay` from now.
 *
 * It counts as an attempt like any other failure; only the delay of the step's policy is replaced.
 */
export class RetryLater extends Error {
  override name = "RetryLater";
  /** In seconds. */
  readonly delay: number;

  constructor(delay: Duration, message = "", options: ErrorOptions = {}) {
    const seconds = readDuration(delay, "RetryLater: the delay") / 1_000;
    super(message || `asked to be tried again in ${seconds} s`, options);
    this.delay = seconds;
  }
}

/** The reason of `context.signal` once an attempt is not wanted any more. Let it pass: nothing is reported. */
export class JobStoppedError extends WorkflowError {
  override name = "JobStoppedError";
}

// ---------------------------------------------------------------- thrown by a worker

/** The address to connect to cannot be read. The message names what is understood. */
export class InvalidUrlError extends WorkflowError {
  override name = "InvalidUrlError";
}

/** The address is one of a Kafka broker, where that is not spoken. */
export class UnsupportedTransportError extends WorkflowError {
  override name = "UnsupportedTransportError";
}

/** A setting of the program or of the environment cannot be used. The message names it, never a secret. */
export class SettingError extends WorkflowError {
  override name = "SettingError";
}

/** The orchestrator refused this worker. Trying again would not help: mend what `detail` says. */
export class RegistrationError extends WorkflowError {
  override name = "RegistrationError";
  readonly url: string;
  readonly status: number;
  readonly title: string;
  readonly detail: string;

  constructor(url: string, status: number, title: string, detail: string) {
    super(`${url} refused this worker (${status} ${title})${detail ? `: ${detail}` : ""}`);
    this.url = url;
    this.status = status;
    this.title = title;
    this.detail = detail;
  }
}

// ---------------------------------------------------------------- thrown by a client

/** No answer from the orchestrator, after the retries that are safe for the call. */
export class ConnectionFailedError extends WorkflowError {
  override name = "ConnectionFailedError";
  readonly url: string;
  readonly reason: string;

  constructor(url: string, reason: string) {
    super(
      `no answer from the orchestrator at ${url} (${reason}). ` +
        "Is it running there? Give its address with new Client(url) or the environment variable WORKFLOW_URL",
    );
    this.url = url;
    this.reason = reason;
  }
}

/** What an answer says of one field. */
export interface FieldError {
  readonly field?: string;
  readonly reason?: string;
  readonly mend?: string;
}

/** The orchestrator answered with an error (application/problem+json, RFC 9457). */
export class ApiError extends WorkflowError {
  override name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly errors: readonly FieldError[];

  constructor(status: number, code: string, title: string, detail = "", errors: readonly FieldError[] = []) {
    const lines = errors.map(
      ({ field = "", reason = "", mend }) => `\n  ${field}: ${reason}${mend ? ` (${mend})` : ""}`,
    );
    super(`${status} ${title}${code ? ` (${code})` : ""}${detail ? `: ${detail}` : ""}${lines.join("")}`);
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
  }
}

/** There is no such workflow, run, worker or dead letter (404). */
export class NotFoundError extends ApiError {
  override name = "NotFoundError";
}

/** The world has moved on: a run that has ended cannot be cancelled, for example (409). */
export class ConflictError extends ApiError {
  override name = "ConflictError";
}

/** The run had not ended when the time was over. It goes on; `run` is how it stood. */
export class WaitTimeoutError extends WorkflowError {
  override name = "WaitTimeoutError";
  readonly run: Run;

  constructor(run: Run, timeoutMs: number) {
    super(
      `run ${run.runId} is ${run.status} after ${timeoutMs / 1_000} s${run.waitingFor ? `: ${run.waitingFor}` : ""}`,
    );
    this.run = run;
  }
}

/** The run ended without a final output. `run` is the whole run, `error` what its last attempt said. */
export class RunFailedError extends WorkflowError {
  override name = "RunFailedError";
  readonly run: Run;
  readonly error: ErrorInfo | undefined;

  constructor(run: Run) {
    const cause = run.error ? `: ${run.error.type}: ${run.error.message}` : "";
    super(`run ${run.runId} of ${run.workflowId} is ${run.status}${cause}`);
    this.run = run;
    this.error = run.error;
  }
}
