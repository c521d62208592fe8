/**
 * The records that a worker and the orchestrator exchange. docs/worker-protocol.md says what the fields mean, and
 * protocol/examples has them byte for byte.
 *
 * | topic | key | value |
 * |---|---|---|
 * | `workflow-jobs` | run id | `{"workflowRunId","action","payload","jobId","attempt", …}` |
 * | `workflow-results` | the job record's key | `{"workflowRunId","action","jobId","attempt","result","status", …}` |
 * | `workflow-heartbeats` | worker id | `{"workerId", …,"inFlight":[{"jobId","attempt","startedAt","details"?}]}` |
 * | `workflow-control` | run id | `{"type":"cancel","jobId","attempt","reason"}` |
 *
 * Rule 1: the headers of a job repeat what its value says, so that a reader can pass over it without reading the value.
 * Rule 2: three fields (`workflowRunId`, `action`, `payload`) and no headers are a job too; its result says what is known.
 */

import type { KafkaRecord } from "@platformatic/kafka";
import { type AttemptName, Job } from "../jobs.js";
import { isObject, parseBytes, stringify } from "../json.js";
import { messageOf, type Outcome } from "../outcomes.js";
import type { Hello } from "../transport/transport.js";
import type { Place } from "./fetching.js";
import { readPartition } from "./partitions.js";

const ACTION = Buffer.from("wf-action");
const RESULT_PARTITION = Buffer.from("wf-result-partition");
const JOB_ID = "wf-job-id";
const ATTEMPT = "wf-attempt";
const ALONE = "wf-alone";
const CONTENT_TYPE = ["content-type", "application/json"] as const;
const TRACE = ["traceparent", "tracestate"];

export type Headers = readonly (readonly [string, string])[];

/** A record on the topic of jobs that is no job. */
export class UndecodableError extends Error {}

/** A job that came as a record. */
export class KafkaJob extends Job {
  readonly place: Place;
  readonly offset: number;
  /** The bytes of the record's value. */
  readonly size: number;
  readonly key: Buffer;
  /** Whether the record says which job it is of. */
  readonly hasId: boolean;
  readonly isAlone: boolean;
  /** The partition that its result is to go to, where it names one. */
  readonly resultPartition: number | undefined;
  isNamed = false;
  startedAt = "";
  readonly #head: string;
  readonly #trace: Headers;

  constructor(raw: Record<string, unknown>, record: KafkaRecord, place: Place, offset: number, leaseMs: number) {
    const runId = raw.workflowRunId;
    if (typeof runId !== "string") throw new TypeError("a job names its run");
    const hasId = complete(raw, record);
    if (!hasId) {
      // The same for every delivery of this record, which is what an idempotency key has to be.
      Object.assign(raw, { jobId: `${place.topic}:${place.partition}:${offset}`, attempt: 1 });
    }
    const trace = TRACE.flatMap((name) => {
      const value = headerOf(record, name);
      return value === undefined ? [] : [[name, value] as const];
    });
    Object.assign(raw, Object.fromEntries(trace));
    const { heartbeatTimeout } = raw;
    const timeoutMs = typeof heartbeatTimeout === "number" ? heartbeatTimeout * 1_000 : Number.POSITIVE_INFINITY;
    super(raw, 0, { leaseMs: Math.min(timeoutMs, leaseMs) });
    this.place = place;
    this.offset = offset;
    this.size = record.value?.length ?? 0;
    this.key = record.key ?? Buffer.from(runId);
    this.hasId = hasId;
    this.#trace = trace;
    this.resultPartition = resultPartitionOf(record);
    this.isAlone = raw.alone === true || headerOf(record, ALONE) !== undefined;
    const head = `{"workflowRunId":${JSON.stringify(runId)},"action":${JSON.stringify(this.action)}`;
    this.#head = hasId ? `${head},${super.wireHead().slice(1)}` : head;
  }

  override wireHead(): string {
    return this.#head;
  }

  /** How this attempt is named in heartbeats. */
  heartbeatHead(): string {
    return super.wireHead();
  }

  /** The headers of the result: what is known of the job. */
  resultHeaders(): Headers {
    const named: Headers = this.hasId
      ? [
          [JOB_ID, this.id],
          [ATTEMPT, String(this.attempt)],
        ]
      : [];
    return [...named, CONTENT_TYPE, ...this.#trace];
  }
}

/**
 * The action that a record is a job of, from its headers where they say so.
 *
 * Throws `UndecodableError` for a record without our headers whose value is no job.
 */
export function actionOf(record: KafkaRecord): string {
  for (const [name, value] of record.headers) {
    if (name !== null && value !== null && ACTION.equals(name)) return value.toString();
  }
  const { action } = readValue(record);
  if (typeof action !== "string") throw new UndecodableError("it names no action");
  return action;
}

/** Read a job of an action. Throws `UndecodableError`. */
export function readJob(action: string, record: KafkaRecord, place: Place, offset: number, leaseMs: number): KafkaJob {
  const raw = { ...readValue(record), action };
  try {
    return new KafkaJob(raw, record, place, offset, leaseMs);
  } catch (error) {
    throw new UndecodableError(messageOf(error));
  }
}

/** Complete what was written where the handler ran. */
export function writeResult(outcome: Outcome<KafkaJob>, workerId: string): string {
  const status = outcome.status === "completed" ? ',"status":"completed"' : ',"result":null';
  const tail = `,"workerId":${JSON.stringify(workerId)},"startedAt":"${outcome.job.startedAt}"}`;
  return outcome.body.slice(0, -1) + status + tail;
}

/** Writes the heartbeats of one worker. `presenceMs`: the most of them between two heartbeats. */
export class BeatWriter {
  readonly #head: string;

  constructor(hello: Hello, group: string | undefined, leaseMs: number, presenceMs: number) {
    const { workerId, sdk, version, host, pid, actions, concurrency } = hello;
    const about = { workerId, sdk, version, host, pid, actions, group: group || undefined, concurrency };
    this.#head = stringify({ ...about, lease: leaseMs / 1_000, heartbeat: presenceMs / 1_000 }).slice(0, -1);
  }

  /** Write one heartbeat. `capacity`: how many more jobs could start now. */
  write(inFlight: readonly string[], capacity: number, isLeaving = false): string {
    return `${this.#head},"capacity":${capacity},"leaving":${isLeaving},"inFlight":[${inFlight.join(",")}]}`;
  }
}

/** Write the entry of a job in a heartbeat. `details` as JSON. */
export function writeInFlight(job: KafkaJob, details: string | undefined): string {
  const more = details === undefined ? "" : `,"details":${details}`;
  return `${job.heartbeatHead()},"startedAt":"${job.startedAt}"${more}}`;
}

/** Read a word of the orchestrator that a worker understands; undefined for every other one. */
export function readControl(value: Buffer | null): AttemptName | undefined {
  let word: unknown;
  try {
    word = parseBytes(value ?? Buffer.alloc(0));
  } catch {
    return undefined;
  }
  if (!isObject(word) || word.type !== "cancel") return undefined;
  const { jobId, attempt } = word;
  return typeof jobId === "string" && typeof attempt === "number" ? { jobId, attempt } : undefined;
}

function readValue(record: KafkaRecord): Record<string, unknown> {
  let raw: unknown;
  try {
    raw = parseBytes(record.value ?? Buffer.alloc(0));
  } catch (error) {
    throw new UndecodableError(messageOf(error));
  }
  if (!isObject(raw)) throw new UndecodableError("it is not a JSON object");
  return raw;
}

/** Fill in from the headers what the value leaves out; tell whether the job says which one it is. */
function complete(raw: Record<string, unknown>, record: KafkaRecord): boolean {
  raw.jobId ??= headerOf(record, JOB_ID);
  if (raw.jobId === undefined) return false;
  const attempt = headerOf(record, ATTEMPT);
  raw.attempt ??= attempt === undefined ? 1 : Number(attempt);
  return true;
}

/** Costs a look at the length of each name: no other header's is as long. */
function resultPartitionOf(record: KafkaRecord): number | undefined {
  for (const [name, value] of record.headers) {
    if (name !== null && RESULT_PARTITION.equals(name)) return readPartition(value);
  }
  return undefined;
}

function headerOf(record: KafkaRecord, wanted: string): string | undefined {
  const found = record.headers.find(([name]) => name !== null && name.toString() === wanted);
  return found?.[1]?.toString();
}
