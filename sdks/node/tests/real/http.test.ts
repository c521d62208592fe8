/** The worker and the client on a real orchestrator. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, test } from "node:test";
import {
  ApiError,
  Client,
  ConflictError,
  NonRetryableError,
  NotFoundError,
  RunFailedError,
  WaitTimeoutError,
  Worker,
} from "../../src/index.js";
import { Gate, until } from "../conditions.js";
import { Lines } from "../running.js";

const url = process.env.TEST_EMBEDDED_URL ?? "";
const client = new Client(url);
after(() => client.close());

/** A worker that runs for the length of a play. */
async function working(worker: Worker, play: () => Promise<void>): Promise<void> {
  const running = worker.run(url);
  try {
    await play();
  } finally {
    worker.stop();
    await running;
  }
}

function fresh(name: string): string {
  return `${name}-${randomUUID().slice(0, 8)}`;
}

test("a run goes through its steps", async () => {
  const [first, second, workflow] = [fresh("first"), fresh("second"), fresh("workflow")];
  const traces: unknown[] = [];
  const worker = new Worker({ logger: new Lines() })
    .register(first, (payload: string) => `Node processed: ${payload}`)
    .register(second, async (payload: string, context) => {
      traces.push(context.trace);
      return payload.toUpperCase();
    });
  await working(worker, async () => {
    const made = await client.define(workflow, [first, { action: second, retry: { maxRetries: 1 } }]);
    assert.deepEqual([made.id, made.version, made.steps.length], [workflow, 1, 2]);
    assert.equal(await client.run(workflow, "World 🎉", { timeout: 30 }), "NODE PROCESSED: WORLD 🎉");
    const runId = await client.trigger(workflow, 12345678901234567890n, { idempotencyKey: workflow });
    assert.equal(await client.trigger(workflow, 12345678901234567890n, { idempotencyKey: workflow }), runId);
    const run = await client.wait(runId, { timeout: "30s" });
    assert.deepEqual(traces, [{}, {}]);
    const trace = {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      tracestate: "vendor=value",
    };
    await client.run(workflow, "traced", { trace: { ...trace, baggage: "a=1" } as typeof trace, timeout: 30 });
    assert.deepEqual(traces[2], trace);
    assert.equal(run.input, 12345678901234567890n);
    assert.equal(run.finalOutput, "NODE PROCESSED: 12345678901234567890");
    assert.equal(run.steps[0]?.attempts[0]?.worker, worker.workerId);
    const known = (await client.workers()).find(({ workerId }) => workerId === worker.workerId);
    assert.deepEqual([known?.status, known?.transport], ["CONNECTED", "http"]);
    const types = (await client.events(runId)).map(({ type }) => type);
    assert.ok(types.length >= 4, String(types));
    const listed: string[] = [];
    for await (const one of client.list({ workflow, limit: 10 })) listed.push(one.runId);
    assert.equal(listed.length, 3);
    assert.ok((await client.workflows()).some(({ id }) => id === workflow));
    assert.equal((await client.workflow(workflow)).version, 1);
  });
  assert.equal((await client.workers()).find(({ workerId }) => workerId === worker.workerId)?.status, "GONE");
});

test("attempts are repeated by the policy, and what fails for good is a dead letter that can be redriven", async () => {
  const [flaky, final, workflow] = [fresh("flaky"), fresh("final"), fresh("workflow")];
  let mended = false;
  const worker = new Worker({ logger: new Lines() })
    .register(flaky, (_payload, context) => {
      if (context.attempt === 1) throw new Error("not yet");
      return context.attempt;
    })
    .register(final, (payload) => {
      if (!mended) throw new NonRetryableError("never", { type: "InvalidOrder" });
      return payload;
    });
  await working(worker, async () => {
    await client.define({ id: workflow, retry: { delay: "10ms" }, steps: [flaky, final] });
    const failure = await client.run(workflow, 1, { timeout: 30 }).catch((error: unknown) => error);
    assert.ok(failure instanceof RunFailedError);
    assert.equal(failure.error?.type, "InvalidOrder");
    assert.deepEqual(
      failure.run.steps.map(({ attempts }) => attempts.length),
      [2, 1],
    );
    const [letter] = await client.deadLetters({ workflow });
    assert.equal(letter?.error?.message, "never");
    mended = true;
    await client.redrive(letter?.id ?? "");
    assert.equal((await client.wait(failure.run.runId, { timeout: 30 })).finalOutput, 2);
  });
});

test("a run is cancelled, its handler told, and its waiting ends", async () => {
  const [action, workflow] = [fresh("long"), fresh("workflow")];
  const told = new Gate();
  const begun = new Gate();
  const worker = new Worker({ logger: new Lines() }).register(action, async (_payload, { signal }) => {
    begun.open();
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    told.open();
    signal.throwIfAborted();
  });
  await working(worker, async () => {
    await client.define(workflow, [action]);
    const runId = await client.trigger(workflow);
    await begun.opened;
    await assert.rejects(client.wait(runId, { timeout: 0 }), WaitTimeoutError);
    assert.equal((await client.cancel(runId, "not needed")).status, "CANCELLED");
    await told.opened;
    assert.equal((await client.wait(runId)).status, "CANCELLED");
  });
});

test("what a leaving worker gives back is done by another, and no attempt is counted", async () => {
  const [action, workflow] = [fresh("shared"), fresh("workflow")];
  const begun = new Gate();
  const leaving = new Worker({ logger: new Lines(), drainTimeout: 0 }).register(action, async (_payload, context) => {
    context.heartbeat({ done: 1 });
    begun.open();
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
  });
  await client.define(workflow, [action]);
  const runId = await client.trigger(workflow);
  await working(leaving, () => begun.opened);
  const other = new Worker({ logger: new Lines() }).register(action, (_payload, context) => context.details);
  await working(other, async () => {
    const run = await client.wait(runId, { timeout: 30 });
    assert.deepEqual([run.status, run.finalOutput], ["COMPLETED", { done: 1 }]);
    assert.deepEqual(
      run.steps[0]?.attempts.map(({ status }) => status),
      ["RELEASED", "COMPLETED"],
    );
  });
});

test("errors of the orchestrator are typed, and say what to mend", async () => {
  await assert.rejects(client.get("no-such-run"), NotFoundError);
  await assert.rejects(client.trigger(fresh("nothing")), NotFoundError);
  await assert.rejects(client.discard("nothing"), ApiError);
  const wrong = await client.define({ id: "wrong", steps: [{ action: "" }] }).catch((error: unknown) => error);
  assert.ok(wrong instanceof ApiError);
  assert.equal(wrong.status, 422);
  assert.ok(wrong.errors.length > 0 && wrong.message.includes("steps[0].action"), wrong.message);
  const [action, workflow] = [fresh("act"), fresh("workflow")];
  await working(
    new Worker({ logger: new Lines() }).register(action, () => 1),
    async () => {
      await client.define(workflow, [action]);
      const runId = await client.trigger(workflow);
      await client.wait(runId, { timeout: 30 });
      await assert.rejects(client.cancel(runId), ConflictError);
    },
  );
});

test("a client without an orchestrator says so", async () => {
  assert.throws(() => new Client("kafka:9092"), /a client speaks HTTP to the orchestrator/);
  const nobody = new Client("http://127.0.0.1:9");
  await assert.rejects(nobody.redrive("x"), /no answer from the orchestrator at http:\/\/127\.0\.0\.1:9/);
});

test("a thousand jobs are done once each by two workers", async () => {
  const [action, workflow] = [fresh("many"), fresh("workflow")];
  const done = new Map<string, number>();
  const make = (): Worker =>
    new Worker({ logger: new Lines(), concurrency: 50 }).register(action, (payload, { jobId }) => {
      done.set(jobId, (done.get(jobId) ?? 0) + 1);
      return payload;
    });
  await client.define(workflow, [action]);
  const [one, other] = [make(), make()];
  await working(one, () =>
    working(other, async () => {
      await Promise.all(Array.from({ length: 1_000 }, (_, n) => client.trigger(workflow, n)));
      await until(() => done.size === 1_000);
      await until(async () => (await client.list({ workflow, status: "RUNNING", limit: 1 }).next()).done);
    }),
  );
  assert.deepEqual(new Set(done.values()), new Set([1]));
});
