/** A small orchestrator for tests: the worker protocol of docs/worker-protocol.md, and ways to misbehave. */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { parseBytes, stringify } from "../src/json.js";
import { until } from "./conditions.js";

export type Raw = Record<string, unknown>;
export interface Job extends Raw {
  jobId: string;
  attempt: number;
}
export type Reply = { status: number; body: Raw } | "hang up";

export function problem(status: number, code: string, title: string, detail = ""): Reply {
  return { status, body: { type: `/errors/${code}`, title, status, code, detail } };
}

/** Speaks the protocol on a free port of 127.0.0.1. Attributes with a verb's name are switches of a test. */
export class Gateway {
  readonly terms: Raw;
  readonly queue: Job[] = [];
  readonly workers = new Map<string, Raw>();
  readonly registrations: Raw[] = [];
  readonly exchanges: Raw[] = [];
  readonly heartbeats: Raw[][] = [];
  readonly results: Raw[] = [];
  readonly rejected: Raw[] = [];
  readonly left: string[] = [];
  waiting = 0;
  waitingMost = 0;
  // switches
  refuseRegistration: Reply | undefined;
  answerExchange: ((body: Raw) => Reply | undefined) | undefined;
  answerHeartbeat: (() => Reply | undefined) | undefined;
  loseAnswers = 0;
  cancel: Raw[] = [];
  unknown: Raw[] = [];
  drain = false;
  readonly #recorded = new Set<string>();
  readonly #looking = new Set<() => void>();
  #server: Server | undefined;
  #port = 0;
  #made = 0;

  constructor(terms: Raw = {}) {
    this.terms = {
      lease: 30,
      heartbeat: 10,
      waitMax: 60,
      capacityMax: 1000,
      resultBytesMax: 2 * 1024 * 1024,
      requestBytesMax: 16 * 1024 * 1024,
      ...terms,
    };
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listen; after `down`, on the same port as before. */
  async up(): Promise<void> {
    const server = createServer((request, response) => void this.#serve(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  async down(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  /** Queue a job; return it. */
  give(action: string, payload: unknown = null, fields: Raw = {}): Job {
    const number = this.#made++;
    const job = {
      jobId: `run-${number}:0`,
      attempt: 1,
      workflowRunId: `run-${number}`,
      workflowId: "flow",
      stepIndex: 0,
      action,
      payload,
      lease: this.terms.lease,
      ...fields,
    };
    this.queue.push(job);
    this.wake();
    return job;
  }

  /** Let waiting calls look again. */
  wake(): void {
    for (const look of [...this.#looking]) look();
  }

  /** The recorded result of a job, once it is there. */
  async resultOf(job: Job): Promise<Raw> {
    const found = (): Raw | undefined => this.results.find((one) => nameOf(one) === nameOf(job));
    await until(() => found() !== undefined, `the result of ${job.jobId}`);
    return found() as Raw;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks);
    const body = (raw.length === 0 ? {} : parseBytes(raw)) as Raw;
    const [, , id = "", call = ""] = (request.url ?? "").split("/").map(decodeURIComponent);
    const reply = await this.#answer(request, id, call, body);
    if (reply === "hang up") {
      response.destroy();
      return;
    }
    const type = reply.status >= 400 ? "application/problem+json" : "application/json";
    response.writeHead(reply.status, { "content-type": type });
    response.end(reply.status === 204 ? "" : stringify(reply.body));
  }

  async #answer(request: IncomingMessage, id: string, call: string, body: Raw): Promise<Reply> {
    if (id === "") return this.#register(body);
    if (!this.workers.has(id)) return problem(404, "worker-not-found", "No such worker");
    if (request.method === "DELETE") {
      this.workers.delete(id);
      this.left.push(id);
      return { status: 204, body: {} };
    }
    return call === "heartbeat" ? this.#heartbeat(body) : this.#exchange(request, body);
  }

  #register(body: Raw): Reply {
    if (this.refuseRegistration !== undefined) return this.refuseRegistration;
    this.workers.set(String(body.workerId), body);
    this.registrations.push(body);
    return { status: 200, body: { workerId: body.workerId, ...this.terms } };
  }

  #heartbeat(body: Raw): Reply {
    const given = this.answerHeartbeat?.();
    if (given !== undefined) return given;
    this.heartbeats.push(body.inFlight as Raw[]);
    const cancelled = this.cancel.splice(0);
    return { status: 200, body: { cancelled, unknown: this.unknown.splice(0), draining: this.drain } };
  }

  async #exchange(request: IncomingMessage, body: Raw): Promise<Reply> {
    this.exchanges.push(body);
    const given = this.answerExchange?.(body);
    if (given !== undefined) return given;
    const results = (body.results ?? []) as Raw[];
    const rejected = this.#record(results);
    if (this.loseAnswers > 0 && results.length > 0) {
      this.loseAnswers -= 1;
      return "hang up";
    }
    const capacity = Number(body.capacity ?? 0);
    if (capacity > 0) await this.#waitForWork(request, Number(body.wait) * 1_000);
    const answer: Raw = { rejected, cancelled: this.cancel.splice(0), draining: this.drain };
    if (!request.socket.destroyed) answer.jobs = this.queue.splice(0, capacity);
    return { status: 200, body: answer };
  }

  #record(results: Raw[]): Raw[] {
    const rejected: Raw[] = [];
    for (const result of results) {
      const { jobId, attempt } = result;
      if (this.#recorded.has(nameOf(result))) {
        rejected.push({ jobId, attempt, code: "already-recorded", reason: "before" });
      } else {
        this.#recorded.add(nameOf(result));
        this.results.push(result);
      }
    }
    this.rejected.push(...rejected);
    return rejected;
  }

  async #waitForWork(request: IncomingMessage, ms: number): Promise<void> {
    const hasWork = (): boolean => this.queue.length > 0 || this.cancel.length > 0 || this.drain;
    if (hasWork() || ms === 0) return;
    this.waiting += 1;
    this.waitingMost = Math.max(this.waitingMost, this.waiting);
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!hasWork() && !request.socket.destroyed) return;
        end();
      };
      const end = (): void => {
        clearTimeout(timer);
        this.#looking.delete(look);
        resolve();
      };
      const timer = setTimeout(end, ms);
      request.socket.once("close", end);
      this.#looking.add(look);
    });
    this.waiting -= 1;
  }
}

export function nameOf(raw: Raw): string {
  return `${String(raw.jobId)} ${String(raw.attempt)}`;
}

export function attemptOf({ jobId, attempt }: Job): Raw {
  return { jobId, attempt };
}
