/** Do the steps of workflows in Node.js, and start workflows from Node.js. */

export {
  Client,
  type Definition,
  type ListOptions,
  type StepDefinition,
  type TriggerOptions,
  type WaitOptions,
} from "./client.js";
export type { Duration } from "./duration.js";
export {
  ApiError,
  ConflictError,
  ConnectionFailedError,
  type FieldError,
  InvalidUrlError,
  JobStoppedError,
  NonRetryableError,
  NotFoundError,
  RegistrationError,
  RetryLater,
  RunFailedError,
  SettingError,
  UnsupportedTransportError,
  WaitTimeoutError,
  WorkflowError,
} from "./errors.js";
export type { Context, Handler } from "./handlers.js";
export type { Trace } from "./jobs.js";
export { NotJsonError } from "./json.js";
export type { LogFields, Logger } from "./logging.js";
export type {
  Attempt,
  DeadLetter,
  ErrorInfo,
  RawJson,
  Run,
  RunEvent,
  RunStatus,
  Step,
  StepResult,
  WorkerInfo,
  Workflow,
} from "./models.js";
export { VERSION } from "./version.js";
export { Worker, type WorkerOptions } from "./worker.js";
