/**
 * The worker that the conformance kit plays on: `orchestrator conformance -- node sdks/node/dist/conformance/worker.js`.
 *
 * What its handlers have to do is said in protocol/conformance.md.
 */
import { appendFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { type Context, type Handler, NonRetryableError, RetryLater, Worker } from "../src/index.js";

const journal = process.env.CONFORMANCE_JOURNAL;
const worker = new Worker({
  lease: Number(process.env.CONFORMANCE_LEASE ?? 30),
  drainTimeout: Number(process.env.CONFORMANCE_DRAIN ?? 30),
});

interface Orders {
  until: number;
  message?: string;
  type?: string;
  retryable?: boolean;
  retryAfter?: number;
  seconds: number;
}

function note(what: "begin" | "stopped", context: Context): void {
  if (journal !== undefined) {
    appendFileSync(journal, `${what} ${context.action} ${context.jobId} ${context.attempt} ${process.pid}\n`);
  }
}

const handlers: Record<string, Handler> = {
  echo(payload, context) {
    note("begin", context);
    return payload;
  },
  fail(payload, context) {
    note("begin", context);
    const { until, message, type, retryable = true, retryAfter } = payload as Orders;
    if (context.attempt > until) return context.attempt;
    if (!retryable) throw new NonRetryableError(message, type === undefined ? {} : { type });
    if (retryAfter !== undefined) throw new RetryLater(retryAfter, message);
    throw new RangeError(message);
  },
  die(payload, context) {
    note("begin", context);
    if (context.attempt <= (payload as Orders).until) process.kill(process.pid, "SIGKILL");
    return context.attempt;
  },
  async wait(payload, context) {
    note("begin", context);
    const told = () => note("stopped", context);
    context.signal.addEventListener("abort", told);
    await setTimeout((payload as Orders).seconds * 1_000, undefined, { signal: context.signal });
    context.signal.removeEventListener("abort", told);
    return "waited";
  },
  progress(payload, context) {
    note("begin", context);
    const told = context.details;
    context.heartbeat({ attempt: context.attempt });
    if (context.attempt <= (payload as Orders).until) throw new RangeError("not yet");
    return told;
  },
};

const chosen = process.env.CONFORMANCE_ACTIONS?.split(",") ?? Object.keys(handlers);
for (const action of chosen) {
  const handler = handlers[action];
  if (handler === undefined) throw new RangeError(`no handler is called ${action}`);
  worker.register(action, handler);
}
// A group of its own, as the contract's examples have it: jobs are done once all the same.
await worker.start(undefined, `group-${process.pid}`);
