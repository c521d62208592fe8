/** HTTP to one orchestrator, over Node's own client: what a worker's transport and the client share. */

import http, { type IncomingMessage, type RequestOptions } from "node:http";
import https from "node:https";
import { InvalidUrlError, SettingError } from "./errors.js";
import { isObject, parseBytes } from "./json.js";
import { USER_AGENT } from "./version.js";

export const ANSWER_VARIABLE = "WORKFLOW_ANSWER_BYTES_MAX";
/** The largest body of an answer, unless `WORKFLOW_ANSWER_BYTES_MAX` says otherwise. */
export const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** How long a connection without a request is kept: less than orchestrators and balancers keep theirs. */
const KEPT_MS = 15_000;
const PAUSE_MS_FIRST = 100;
const PAUSE_MS_MAX = 10_000;

/** There is no answer, or none that can be used. */
export class HttpError extends Error {}

/** The answer has more bytes than are taken. */
export class AnswerTooLargeError extends HttpError {}

export interface Response {
  readonly status: number;
  readonly reason: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface RequestDetails {
  /** JSON, for a request that has a body. */
  readonly body?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** For the whole of it. */
  readonly timeoutMs: number;
  /** Whether it does no harm to send it twice; one that does goes out on a connection of its own. */
  readonly isRepeatable?: boolean;
  /** By how much the answer may be larger than any other. */
  readonly moreBytes?: number;
  /** Ends the request, and its connection, so that the orchestrator sees that nobody waits any more. */
  readonly signal?: AbortSignal | undefined;
}

/** Requests to one orchestrator, over kept connections. Follows no redirects and looks for no proxy. */
export class Http {
  /** Where the orchestrator is, for log lines: without a password. */
  readonly address: string;
  /** What the paths of all requests begin with. */
  readonly prefix: string;
  readonly #options: RequestOptions;
  readonly #isTls: boolean;
  readonly #answerBytesMax: number;
  #agent: http.Agent;

  /** Read `http://host:port/prefix` or `https://user:password@host`. Throws `InvalidUrlError`, `SettingError`. */
  constructor(url: string) {
    let given: URL;
    try {
      given = new URL(url);
    } catch {
      throw new InvalidUrlError(`${JSON.stringify(url)} is not an address of an orchestrator`);
    }
    if (!["http:", "https:"].includes(given.protocol)) {
      throw new InvalidUrlError(
        `${JSON.stringify(url)} is not an address of an orchestrator, such as http://127.0.0.1:8080`,
      );
    }
    this.#isTls = given.protocol === "https:";
    this.prefix = given.pathname.replace(/\/+$/, "");
    this.address = `${given.protocol}//${given.host}${this.prefix}`;
    this.#options = {
      protocol: given.protocol,
      hostname: given.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: given.port || (this.#isTls ? 443 : 80),
      headers: { "User-Agent": USER_AGENT, Accept: "application/json", "Content-Type": "application/json" },
      ...(given.username === "" ? {} : { auth: decodeURIComponent(`${given.username}:${given.password}`) }),
    };
    this.#answerBytesMax = readAnswerBytesMax();
    this.#agent = this.#newAgent();
  }

  /** Send one request and read its answer. Throws `HttpError`, or the reason of its signal. */
  request(method: string, target: string, details: RequestDetails): Promise<Response> {
    const { body, headers, timeoutMs, isRepeatable = true, moreBytes = 0, signal } = details;
    return new Promise((resolve, reject) => {
      const isBare = body === undefined && ["GET", "DELETE"].includes(method);
      const length: Record<string, number> = isBare ? {} : { "Content-Length": Buffer.byteLength(body ?? "") };
      const request = (this.#isTls ? https : http).request({
        ...this.#options,
        method,
        path: `${this.prefix}${target}`,
        headers: { ...(this.#options.headers as Record<string, string>), ...length, ...headers },
        agent: isRepeatable ? this.#agent : false,
      });
      const abort = (): void => end(signal?.reason);
      const timer = setTimeout(() => end(new HttpError(`no answer within ${timeoutMs / 1_000} s`)), timeoutMs);
      const end = (error: unknown): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        if (error === undefined) return;
        request.destroy();
        reject(error);
      };
      request.on("error", (error) => end(new HttpError(reasonOf(error))));
      request.on("response", (message) => {
        readBody(message, this.#answerBytesMax + moreBytes).then(
          (whole) => {
            end(undefined);
            const { statusCode = 0, statusMessage = "" } = message;
            resolve({ status: statusCode, reason: statusMessage, headers: message.headers, body: whole });
          },
          (error: unknown) => end(error instanceof HttpError ? error : new HttpError(reasonOf(error))),
        );
      });
      if (signal?.aborted) {
        abort();
        return;
      }
      signal?.addEventListener("abort", abort);
      request.end(body);
    });
  }

  /** Close the connections. The next request opens new ones. */
  close(): void {
    this.#agent.destroy();
    this.#agent = this.#newAgent();
  }

  #newAgent(): http.Agent {
    // A connection is used as long as it is young: the other side closes it sooner or later, and a request is lost.
    const options = { keepAlive: true, timeout: KEPT_MS, scheduling: "lifo" } as const;
    return this.#isTls ? new https.Agent(options) : new http.Agent(options);
  }
}

async function readBody(message: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      throw new AnswerTooLargeError(`the answer has more than ${bytesMax} bytes (${ANSWER_VARIABLE} sets the limit)`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, bytes);
}

/** An error of the orchestrator (RFC 9457); of anything else, as from a proxy, nothing is read. */
export interface Problem {
  readonly title: string;
  readonly detail: string;
  readonly code: string;
  readonly errors: readonly { readonly field?: string; readonly reason?: string; readonly mend?: string }[];
}

export function readProblem(response: Response): Problem {
  let raw: unknown;
  try {
    raw = parseBytes(response.body);
  } catch {
    raw = undefined;
  }
  const problem = isObject(raw) ? raw : {};
  const text = (name: string): string => (typeof problem[name] === "string" ? problem[name] : "");
  const errors = Array.isArray(problem.errors) ? problem.errors.filter(isObject) : [];
  return { title: text("title") || response.reason, detail: text("detail"), code: text("code"), errors };
}

/** Why a connection failed, in a few words. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: string };
  const first = error instanceof AggregateError ? (error.errors[0] as unknown) : undefined;
  if (error.message === "" && first !== undefined) return reasonOf(first);
  return error.message || code || error.name;
}

/**
 * Pauses between tries: the n-th is anywhere between 0 and min(10 s, 0.1 s * 2^n).
 *
 * Full jitter keeps a thousand workers that lost the same orchestrator from coming back in step.
 */
export class Backoff {
  #count = 0;

  /** The next pause in milliseconds. */
  next(): number {
    const longest = Math.min(PAUSE_MS_MAX, PAUSE_MS_FIRST * 2 ** Math.min(this.#count, 32));
    this.#count += 1;
    return Math.random() * longest;
  }

  /** Begin again with the shortest pause. */
  reset(): void {
    this.#count = 0;
  }
}

function readAnswerBytesMax(): number {
  const text = process.env[ANSWER_VARIABLE]?.trim() ?? "";
  if (text === "") return ANSWER_BYTES_MAX;
  if (!/^\d{1,15}$/.test(text) || Number(text) === 0) {
    throw new SettingError(`${ANSWER_VARIABLE}=${text} is not a number of bytes, such as ${ANSWER_BYTES_MAX}`);
  }
  return Number(text);
}
