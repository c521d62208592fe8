import assert from "node:assert/strict";
import { test } from "node:test";
import { NonRetryableError, RetryLater, Worker, WorkflowError } from "../src/index.js";
import { runWorkflow } from "../src/testing.js";
import { Lines } from "./running.js";

const logger = new Lines();

test("steps run in their order, and each gets what the one before returned", async () => {
  const worker = new Worker().register("add", (n: number) => n + 1).register("double", async (n: number) => n * 2);
  const definition = {
    id: "sums",
    steps: [
      { action: "double", stepIndex: 1 },
      { action: "add", stepIndex: 0 },
    ],
  };
  const run = await runWorkflow(worker, definition, 3);
  assert.deepEqual([run.status, run.finalOutput, run.elapsed, run.workflowId], ["COMPLETED", 8, 0, "sums"]);
  assert.deepEqual(
    run.stepResults.map(({ result }) => result),
    [4, 8],
  );
});

test("the card is charged once the bank is back", async () => {
  const details: unknown[] = [];
  const worker = new Worker().register("charge", (_order, context) => {
    details.push(context.details);
    context.heartbeat({ tries: context.attempt });
    if (context.attempt === 1) throw new Error("the bank is closed");
    if (context.attempt === 2) throw new RetryLater("1h");
    return "charged";
  });
  const run = await runWorkflow(worker, ["charge"], { id: 7 });
  assert.equal(run.status, "COMPLETED");
  assert.deepEqual(
    run.steps[0]?.attempts.map(({ status }) => status),
    ["FAILED", "FAILED", "COMPLETED"],
  );
  assert.equal(run.elapsed, 3_601);
  assert.deepEqual(details, [undefined, { tries: 1 }, { tries: 2 }]);
});

test("a policy says how often, how long, and what is final", async () => {
  const worker = new Worker()
    .register("fail", () => {
      throw new TypeError("no");
    })
    .register("final", () => {
      throw new NonRetryableError("never");
    });
  const retry = { maxRetries: 4, delay: "2s", backoff: "exponential", maxDelay: 10 };
  const run = await runWorkflow(worker, { id: "w", retry, steps: ["fail"] });
  assert.deepEqual([run.status, run.elapsed, run.steps[0]?.attempts.length], ["FAILED", 2 + 4 + 8 + 10, 5]);
  assert.deepEqual([run.deadLetter?.action, run.deadLetter?.attempts, run.error?.type], ["fail", 5, "TypeError"]);
  const once = await runWorkflow(worker, {
    id: "w",
    steps: [{ action: "fail", retry: { nonRetryable: ["TypeError"] } }],
  });
  assert.equal(once.steps[0]?.attempts.length, 1);
  const final = await runWorkflow(worker, ["final", "fail"]);
  assert.deepEqual(
    final.steps.map(({ status, attempts }) => [status, attempts.length]),
    [
      ["FAILED", 1],
      ["PENDING", 0],
    ],
  );
});

test("payloads are JSON between the steps, as on the way through an orchestrator", async () => {
  const worker = new Worker()
    .register("date", () => ({ at: new Date(0), none: undefined }))
    .register("map", () => new Map());
  assert.deepEqual((await runWorkflow(worker, ["date"])).finalOutput, { at: "1970-01-01T00:00:00.000Z" });
  assert.equal((await runWorkflow(worker, ["map"], null, { logger })).error?.type, "ResultNotSerializable");
});

test("what cannot be run is told", async () => {
  const worker = new Worker().register("act", () => 1);
  await assert.rejects(runWorkflow(worker, ["act", "other"]), WorkflowError);
  await assert.rejects(runWorkflow(worker, []), TypeError);
  await assert.rejects(runWorkflow(worker, ["act"], Number.NaN), { name: "NotJsonError" });
  const twice = [
    { action: "act", stepIndex: 1 },
    { action: "act", stepIndex: 1 },
  ];
  await assert.rejects(runWorkflow(worker, twice), RangeError);
});
