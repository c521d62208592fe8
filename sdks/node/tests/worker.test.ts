/** What a worker does over HTTP, as long as nothing breaks. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { NonRetryableError, RegistrationError, RetryLater, Worker, WorkflowError } from "../src/index.js";
import { Gate, until } from "./conditions.js";
import { Gateway, problem } from "./gateway.js";
import { Lines, playing } from "./running.js";

test("a handler's result is the result of the step", async () => {
  await playing(
    (worker) => worker.register("step1", (payload: string) => `Node processed: ${payload}`),
    async ({ gateway, worker, lines }) => {
      const result = await gateway.resultOf(gateway.give("step1", "World"));
      assert.equal(result.result, "Node processed: World");
      const [said] = gateway.registrations;
      assert.equal(said?.workerId, worker.workerId);
      assert.deepEqual(said?.actions, ["step1"]);
      assert.equal(said?.sdk, "workersdk-node");
      assert.equal(said?.concurrency, 10);
      assert.equal(lines.having(`worker ${worker.workerId} connected to ${gateway.url}, actions: step1`).length, 1);
    },
  );
});

test("a result goes out with the call that asks for the next job", async () => {
  await playing(
    (worker) => worker.register("act", async (payload: number) => payload + 1),
    async ({ gateway }) => {
      for (let step = 0; step < 5; step += 1) await gateway.resultOf(gateway.give("act", step));
      const withResults = gateway.exchanges.filter((body) => body.results !== undefined);
      assert.equal(withResults.length, 5);
      assert.ok(withResults.every((body) => Number(body.capacity) > 0));
    },
    { concurrency: 1 },
  );
});

test("a result does not wait for the call that waits for jobs", async () => {
  const gate = new Gate();
  await playing(
    (worker) => worker.register("act", () => gate.opened),
    async ({ gateway }) => {
      const job = gateway.give("act");
      await until(() => gateway.waiting === 1 && gateway.queue.length === 0);
      gate.open();
      await gateway.resultOf(job);
      assert.equal(gateway.waitingMost, 1);
    },
  );
});

test("no more jobs are taken than there are places", async () => {
  const gate = new Gate();
  let running = 0;
  let most = 0;
  await playing(
    (worker) =>
      worker.register("act", async () => {
        running += 1;
        most = Math.max(most, running);
        await gate.opened;
        running -= 1;
      }),
    async ({ gateway }) => {
      const jobs = Array.from({ length: 7 }, () => gateway.give("act"));
      await until(() => running === 3);
      gate.open();
      for (const job of jobs) await gateway.resultOf(job);
      assert.equal(most, 3);
    },
    { concurrency: 3 },
  );
});

test("while a job runs alone, nothing else is asked for", async () => {
  const gate = new Gate();
  await playing(
    (worker) => worker.register("alone", () => gate.opened).register("act", () => 1),
    async ({ gateway }) => {
      const alone = gateway.give("alone", null, { alone: true, heartbeatTimeout: 0.3 });
      await until(() => gateway.queue.length === 0);
      const other = gateway.give("act");
      await until(() => gateway.heartbeats.length >= 2);
      assert.equal(gateway.queue.length, 1);
      gate.open();
      await gateway.resultOf(alone);
      await gateway.resultOf(other);
    },
    { concurrency: 2 },
  );
});

test("what a handler throws says what shall happen next", async () => {
  class OutOfStock extends Error {}
  await playing(
    (worker) =>
      worker
        .register("error", () => {
          throw new OutOfStock("none left", { cause: new TypeError("the shelf is empty") });
        })
        .register("final", async () => {
          throw new NonRetryableError("there is nothing to charge", { type: "InvalidOrder" });
        })
        .register("later", () => {
          throw new RetryLater("1h", "the bank opens in an hour");
        })
        .register("text", () => {
          throw "just a text";
        }),
    async ({ gateway, lines }) => {
      const error = await gateway.resultOf(gateway.give("error"));
      assert.equal(error.status, "failed");
      const { type, message, stack, retryable } = error.error as Record<string, string>;
      assert.deepEqual(
        { type, message, retryable },
        { type: "OutOfStock", message: "none left", retryable: undefined },
      );
      assert.match(stack ?? "", /worker\.test\.[\s\S]*caused by: TypeError: the shelf is empty/);
      const final = await gateway.resultOf(gateway.give("final"));
      assert.equal((final.error as Record<string, unknown>).type, "InvalidOrder");
      assert.equal((final.error as Record<string, unknown>).retryable, false);
      const later = await gateway.resultOf(gateway.give("later"));
      assert.equal((later.error as Record<string, unknown>).retryAfter, 3600);
      const text = await gateway.resultOf(gateway.give("text"));
      assert.equal((text.error as Record<string, unknown>).message, "just a text");
      assert.equal(lines.having("failed: OutOfStock: none left", "warn").length, 1);
    },
  );
});

test("a result that cannot be sent fails the step for good, and says where it is wrong", async () => {
  await playing(
    (worker) =>
      worker.register("map", () => ({ items: [{ price: Number.NaN }] })).register("long", () => "x".repeat(2_000)),
    async ({ gateway }) => {
      const map = (await gateway.resultOf(gateway.give("map"))).error as Record<string, unknown>;
      assert.equal(map.type, "ResultNotSerializable");
      assert.equal(map.retryable, false);
      assert.match(String(map.message), /\$\.items\[0\]\.price is NaN/);
      const long = (await gateway.resultOf(gateway.give("long"))).error as Record<string, unknown>;
      assert.equal(long.type, "ResultTooLarge");
      assert.match(String(long.message), /2002 bytes of JSON; at most 1000/);
    },
    { terms: { resultBytesMax: 1_000 } },
  );
});

test("numbers keep their digits, texts their characters, and a megabyte is a payload like any other", async () => {
  const payload = { big: 12345678901234567890n, text: "żółć 🎉 \u2028", long: "é".repeat(500_000), none: null };
  await playing(
    (worker) => worker.register("echo", (given: unknown) => given),
    async ({ gateway }) => {
      const result = await gateway.resultOf(gateway.give("echo", payload));
      assert.deepEqual(result.result, payload);
    },
  );
});

test("the context says what the job is", async () => {
  const seen: unknown[] = [];
  await playing(
    (worker) =>
      worker.register("act", (_payload, context) => {
        const { jobId, attempt, runId, workflowId, action, stepIndex, details } = context;
        seen.push({ jobId, attempt, runId, workflowId, action, stepIndex, details });
        seen.push(context.deadline?.toISOString(), context.cancelled, context.raw.future);
        context.logger.info("on my way", { more: 1 });
        seen.push([context.traceparent, context.tracestate, context.trace]);
        return undefined;
      }),
    async ({ gateway, lines }) => {
      const fields = {
        attempt: 2,
        stepIndex: 3,
        details: { done: 40 },
        deadline: "2026-11-23T10:01:00.000000Z",
        future: 1,
      };
      const result = await gateway.resultOf(gateway.give("act", null, fields));
      assert.equal(result.result, null);
      assert.deepEqual(seen.pop(), [undefined, undefined, {}]);
      assert.deepEqual(seen[0], {
        jobId: "run-0:0",
        attempt: 2,
        runId: "run-0",
        workflowId: "flow",
        action: "act",
        stepIndex: 3,
        details: { done: 40 },
      });
      assert.deepEqual(seen.slice(1), ["2026-11-23T10:01:00.000Z", false, 1]);
      const line = lines.lines.find(({ message }) => message === "on my way");
      assert.deepEqual(line?.fields, { workflow: "flow", run: "run-0", step: 3, action: "act", attempt: 2, more: 1 });
    },
  );
});

test("a job without a handler fails, and another worker may do it", async () => {
  await playing(
    (worker) => worker.register("act", () => 1),
    async ({ gateway }) => {
      const error = (await gateway.resultOf(gateway.give("other"))).error as Record<string, unknown>;
      assert.equal(error.type, "ActionUnknown");
      assert.equal(error.retryable, undefined);
    },
  );
});

test("a worker that is refused says why", async () => {
  const gateway = new Gateway();
  await gateway.up();
  gateway.refuseRegistration = problem(422, "worker-invalid", "Not a worker", "the name is taken");
  const worker = new Worker({ logger: new Lines() }).register("act", () => 1);
  await assert.rejects(worker.run(gateway.url), (error) => {
    assert.ok(error instanceof RegistrationError);
    assert.deepEqual([error.status, error.detail], [422, "the name is taken"]);
    return true;
  });
  await gateway.down();
});

test("mistakes are told before anything is connected", async () => {
  assert.throws(() => new Worker({ concurrency: 0 }), /concurrency is a whole number from 1 up, not 0/);
  assert.throws(() => new Worker({ lease: 0.5 }), /lease is a duration from 1 s to 3600 s/);
  assert.throws(() => new Worker({ workerId: "a b" }), /workerId is 1 to 128/);
  assert.throws(() => new Worker({ drainTimeout: "soon" }), /drainTimeout is a number of seconds or a string/);
  await assert.rejects(new Worker().start("http://127.0.0.1:1"), /this worker has no handlers/);
  const worker = new Worker({ logger: new Lines() }).register("act", () => 1);
  assert.throws(() => worker.register("act", () => 2), WorkflowError);
  await assert.rejects(worker.run("ftp://somewhere"), /Known are http:\/\/host:port/);
});
