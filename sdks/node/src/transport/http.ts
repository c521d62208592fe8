/** The worker protocol over HTTP: docs/worker-protocol.md, call by call. */

import { Http, type RequestDetails, type Response, readProblem } from "../http.js";
import type { AttemptName, RawJob } from "../jobs.js";
import { isObject, parseBytes, stringify } from "../json.js";
import { messageOf } from "../outcomes.js";
import {
  type Answer,
  type Hello,
  type Pulse,
  Refused,
  type Rejection,
  TERMS_DEFAULT,
  type Terms,
  TooLarge,
  type Transport,
  Unavailable,
  WorkerUnknown,
} from "./transport.js";

const CALL_TIMEOUT_MS = 10_000;
const EXCHANGE_TIMEOUT_MS = 30_000;
const PASSING_STATUSES = new Set([408, 425, 429]);
const WORKERS = "/workers";

/**
 * Speaks to the orchestrator's own port. One instance serves one worker.
 *
 * Nothing is tried again here: all five calls may be repeated, and the worker does that.
 */
export class HttpTransport implements Transport {
  readonly #http: Http;
  #worker = WORKERS;
  #payloadBytesMax = TERMS_DEFAULT.resultBytesMax;

  constructor(url: string) {
    this.#http = new Http(url);
  }

  get address(): string {
    return this.#http.address;
  }

  async register(hello: Hello, signal: AbortSignal): Promise<Terms> {
    this.#worker = `${WORKERS}/${encodeURIComponent(hello.workerId)}`;
    const { leaseMs, ...about } = hello;
    const body = stringify({ ...about, lease: leaseMs === undefined ? undefined : leaseMs / 1_000 });
    const answer = await this.#call("POST", WORKERS, { body, timeoutMs: CALL_TIMEOUT_MS, signal });
    const number = (name: string, scale: number, known: number): number => {
      const value = answer[name];
      return typeof value === "number" ? value * scale : known;
    };
    this.#payloadBytesMax = number("resultBytesMax", 1, TERMS_DEFAULT.resultBytesMax);
    return {
      leaseMs: number("lease", 1_000, TERMS_DEFAULT.leaseMs),
      heartbeatMs: number("heartbeat", 1_000, TERMS_DEFAULT.heartbeatMs),
      waitMsMax: number("waitMax", 1_000, TERMS_DEFAULT.waitMsMax),
      capacityMax: number("capacityMax", 1, TERMS_DEFAULT.capacityMax),
      resultBytesMax: this.#payloadBytesMax,
      requestBytesMax: number("requestBytesMax", 1, TERMS_DEFAULT.requestBytesMax),
    };
  }

  async exchange(results: readonly string[], capacity: number, waitMs: number, signal: AbortSignal): Promise<Answer> {
    const reported = results.length === 0 ? "" : `"results":[${results.join(",")}],`;
    const answer = await this.#call("POST", `${this.#worker}/exchange`, {
      body: `{${reported}"capacity":${capacity},"wait":${waitMs / 1_000}}`,
      timeoutMs: waitMs + EXCHANGE_TIMEOUT_MS,
      // A payload was an input or a result: as many of the largest as are asked for have to be taken.
      moreBytes: capacity * this.#payloadBytesMax,
      signal,
    });
    return {
      jobs: objects(answer.jobs) as RawJob[],
      cancelled: objects(answer.cancelled) as AttemptName[],
      rejected: objects(answer.rejected) as Rejection[],
      isDraining: answer.draining === true,
    };
  }

  async heartbeat(inFlight: readonly string[], signal: AbortSignal): Promise<Pulse> {
    const body = `{"inFlight":[${inFlight.join(",")}]}`;
    const details = { body, timeoutMs: CALL_TIMEOUT_MS, signal };
    const answer = await this.#call("POST", `${this.#worker}/heartbeat`, details);
    return {
      cancelled: objects(answer.cancelled) as AttemptName[],
      unknown: objects(answer.unknown) as AttemptName[],
      isDraining: answer.draining === true,
    };
  }

  async leave(timeoutMs: number): Promise<void> {
    await this.#call("DELETE", this.#worker, { timeoutMs });
  }

  close(): void {
    this.#http.close();
  }

  async #call(method: string, target: string, details: RequestDetails): Promise<Record<string, unknown>> {
    let response: Response;
    try {
      response = await this.#http.request(method, target, details);
    } catch (error) {
      if (details.signal?.aborted) throw error;
      throw new Unavailable(messageOf(error));
    }
    if (response.status < 200 || response.status >= 300) throw errorFor(response);
    if (response.body.length === 0) return {};
    let answer: unknown;
    try {
      answer = parseBytes(response.body);
    } catch (error) {
      throw new Unavailable(`the answer is not JSON: ${messageOf(error)}`);
    }
    if (!isObject(answer)) throw new Unavailable("the answer is not a JSON object");
    return answer;
  }
}

function objects(value: unknown): unknown[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function errorFor(response: Response): Error {
  const { status } = response;
  const { title, code, errors, ...problem } = readProblem(response);
  const fields = errors.map(({ field = "", reason = "" }) => `${field}: ${reason}`);
  const detail = [problem.detail, ...fields].filter((part) => part !== "").join("; ");
  if (status === 404 && code === "worker-not-found") return new WorkerUnknown(detail || title);
  if (status === 413) return new TooLarge(detail || title);
  if (status >= 500 || PASSING_STATUSES.has(status) || status < 400) {
    return new Unavailable(`${status} ${title}${detail ? `: ${detail}` : ""}`);
  }
  return new Refused(status, title, detail);
}
