/** The REST API call by call: retries that are safe, errors that say what to do. */

import { ApiError, ConflictError, ConnectionFailedError, NotFoundError, UnsupportedTransportError } from "./errors.js";
import { AnswerTooLargeError, Backoff, Http, HttpError, type Response, readProblem } from "./http.js";
import { isObject, parseBytes, stringify } from "./json.js";
import type { RawJson } from "./models.js";
import { messageOf } from "./outcomes.js";
import { URL_VARIABLE } from "./transport/address.js";
import { sleep } from "./waiting.js";

const DEFAULT_URL = "http://127.0.0.1:8080";
export const TIMEOUT_MS = 30_000;
const TRIES_MAX = 5;
const RETRY_AFTER_MS_MAX = 10_000;
const PAGE_MAX = 500;
const RETRIED_STATUSES = new Set([502, 503, 504]);
const NEXT_PAGE = /<([^>]+)>\s*;\s*rel="?next"?/;

export type Query = Readonly<Record<string, string | number | readonly string[] | undefined>>;

export interface CallDetails {
  readonly query?: Query;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly isRepeatable?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** The address to use: the argument, else WORKFLOW_URL if it is HTTP, else http://127.0.0.1:8080. */
export function clientUrl(url?: string): string {
  if (url === undefined) {
    const variable = process.env[URL_VARIABLE]?.trim() ?? "";
    return /^https?:\/\//i.test(variable) ? variable : DEFAULT_URL;
  }
  if (/^https?:\/\//i.test(url)) return url;
  throw new UnsupportedTransportError(
    `a client speaks HTTP to the orchestrator: ${JSON.stringify(url)} should be an address such as ${DEFAULT_URL}`,
  );
}

/** Calls to one orchestrator. */
export class Rest {
  readonly #http: Http;

  constructor(url: string) {
    this.#http = new Http(url);
  }

  get address(): string {
    return this.#http.address;
  }

  close(): void {
    this.#http.close();
  }

  /** Make a call and return the JSON of its answer; undefined when it has none. */
  async call(method: string, path: string, details: CallDetails = {}): Promise<unknown> {
    return this.#read(await this.#send(method, path + writeQuery(details.query), details));
  }

  /** Make a call whose answer is an object. */
  async object(method: string, path: string, details: CallDetails = {}): Promise<RawJson> {
    const answer = await this.call(method, path, details);
    if (!isObject(answer)) throw new ConnectionFailedError(this.address, "the answer is not a JSON object");
    return answer;
  }

  /** The pages of a list, following its links, until `limit` entries have come. */
  async *pages(path: string, query: Query, limit?: number): AsyncGenerator<RawJson[]> {
    let left = limit ?? Number.POSITIVE_INFINITY;
    const first = limit === undefined ? query : { ...query, limit: Math.max(1, Math.min(limit, PAGE_MAX)) };
    let where = path + writeQuery(first);
    while (where !== "" && left > 0) {
      const response = await this.#send("GET", where, {});
      const answer = this.#read(response);
      const page = (Array.isArray(answer) ? answer.filter(isObject) : []).slice(0, left);
      left -= page.length;
      yield page;
      where = this.#nextPage(response);
    }
  }

  async #send(method: string, target: string, details: CallDetails): Promise<Response> {
    const { body, headers, timeoutMs = TIMEOUT_MS, isRepeatable = true, signal } = details;
    const content = body === undefined ? undefined : stringify(body);
    const backoff = new Backoff();
    for (let triesLeft = isRepeatable ? TRIES_MAX - 1 : 0; ; triesLeft -= 1) {
      let pause = backoff.next();
      try {
        const request = { body: content, headers, timeoutMs, isRepeatable, signal };
        const response = await this.#http.request(method, target, request);
        if (!RETRIED_STATUSES.has(response.status) || triesLeft === 0) return checked(response);
        pause = Math.max(pause, retryAfter(response));
      } catch (error) {
        if (!(error instanceof HttpError)) throw error;
        if (triesLeft === 0 || error instanceof AnswerTooLargeError) {
          throw new ConnectionFailedError(this.address, error.message);
        }
      }
      await sleep(pause, signal);
      signal?.throwIfAborted();
    }
  }

  #read(response: Response): unknown {
    if (response.body.length === 0) return undefined;
    try {
      return parseBytes(response.body);
    } catch (error) {
      throw new ConnectionFailedError(this.address, `what answers there does not speak JSON: ${messageOf(error)}`);
    }
  }

  #nextPage(response: Response): string {
    const { link } = response.headers;
    const found = NEXT_PAGE.exec(typeof link === "string" ? link : "")?.[1];
    if (found === undefined) return "";
    const { pathname, search } = new URL(found, this.address);
    const { prefix } = this.#http;
    return (pathname.startsWith(prefix) ? pathname.slice(prefix.length) : pathname) + search;
  }
}

function writeQuery(query: Query = {}): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? (value as readonly string[]) : [value]) written.append(name, String(one));
  }
  return written.size === 0 ? "" : `?${written}`;
}

function retryAfter(response: Response): number {
  const text = response.headers["retry-after"];
  return typeof text === "string" && /^\d+$/.test(text) ? Math.min(Number(text) * 1_000, RETRY_AFTER_MS_MAX) : 0;
}

function checked(response: Response): Response {
  const { status } = response;
  if (status >= 200 && status < 300) return response;
  const { code, title, detail, errors } = readProblem(response);
  const Kind = status === 404 ? NotFoundError : status === 409 ? ConflictError : ApiError;
  throw new Kind(status, code, title, detail, errors);
}
