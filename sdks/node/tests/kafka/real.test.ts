/** Workers over Kafka and a real orchestrator. */

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { NonRetryableError, RunFailedError, Worker } from "../../src/index.js";
import { until } from "../conditions.js";
import { Lines } from "../running.js";
import { Child, client, fresh, pythonWorker, servers, working } from "./site.js";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));

after(() => client.close());

test("a run goes through its steps, and the worker is known", async () => {
  const [first, second, workflow] = [fresh("first"), fresh("second"), fresh("workflow")];
  const lines = new Lines();
  const worker = new Worker({ logger: lines })
    .register(first, (payload: string) => `Node processed: ${payload}`)
    .register(second, async (payload: string) => payload.toUpperCase());
  await client.define(workflow, [first, second]);
  await working([worker], async () => {
    assert.equal(await client.run(workflow, "World 🎉", { timeout: 30 }), "NODE PROCESSED: WORLD 🎉");
    const isKnown = async (): Promise<boolean> =>
      (await client.workers()).some(
        ({ workerId, status, transport, raw }) =>
          workerId === worker.workerId &&
          status === "CONNECTED" &&
          transport === "kafka" &&
          raw.sdk === "workersdk-node",
      );
    await until(isKnown, "the worker in the list");
  });
  assert.equal(lines.having(`worker ${worker.workerId} connected to kafka://${servers}`, "info").length, 1);
  assert.equal(lines.having(`worker ${worker.workerId} has left kafka://${servers}`, "info").length, 1);
  assert.deepEqual(lines.having("", "warn"), []);
});

test("Python and Node share an action: a thousand jobs, each done once, while workers come and go", async () => {
  const [action, workflow] = [fresh("shared"), fresh("workflow")];
  const done: string[] = [];
  const make = (): Worker =>
    new Worker({ logger: new Lines(), concurrency: 20 }).register(action, async (payload, { jobId }) => {
      done.push(jobId);
      return payload;
    });
  await client.define(workflow, [action]);
  let given = 0;
  const trigger = async (count: number): Promise<void> => {
    given += count;
    await Promise.all(Array.from({ length: count }, (_, n) => client.trigger(workflow, n)));
  };
  const python = pythonWorker(action);
  try {
    await python.says("connected to");
    await trigger(100);
    await python.says("did ");
    await working([make()], async () => {
      while (done.length === 0) await trigger(10);
      await working([make()], async () => trigger(200));
      await trigger(Math.max(0, 1_000 - given));
      const isDone = async (): Promise<boolean> =>
        (await client.list({ workflow, status: "RUNNING", limit: 1 }).next()).done === true;
      await until(isDone, "the end of all runs", 40_000);
    });
  } finally {
    python.kill("SIGTERM");
    await python.ended;
  }
  const byPython = [...python.output.matchAll(/did (\S+)/g)].map(([, id]) => id);
  const all = [...done, ...byPython];
  assert.deepEqual([all.length, new Set(all).size], [given, given]);
  assert.ok(byPython.length > 20 && done.length > 20, `${byPython.length} by Python, ${done.length} by Node`);
});

test("attempts are repeated by the policy, and what is final fails at once", async () => {
  const [flaky, final, workflow] = [fresh("flaky"), fresh("final"), fresh("workflow")];
  const worker = new Worker({ logger: new Lines() })
    .register(flaky, (_payload, context) => {
      if (context.attempt < 3) throw new Error("not yet");
      return context.attempt;
    })
    .register(final, () => {
      throw new NonRetryableError("never", { type: "InvalidOrder" });
    });
  await client.define({ id: workflow, retry: { delay: "10ms" }, steps: [flaky, final] });
  await working([worker], async () => {
    const failure = await client.run(workflow, 1, { timeout: 30 }).catch((error: unknown) => error);
    assert.ok(failure instanceof RunFailedError);
    assert.deepEqual([failure.error?.type, failure.error?.message], ["InvalidOrder", "never"]);
    assert.deepEqual(
      failure.run.steps.map(({ attempts }) => attempts.length),
      [3, 1],
    );
  });
});

test("a job whose worker is killed comes to another one, alone, with what was said last", async () => {
  const [action, workflow] = [fresh("killed"), fresh("workflow")];
  await client.define({ id: workflow, steps: [action] });
  const child = new Child(process.execPath, [CHILD, action], { LEASE: "2s" });
  await child.says("connected to");
  const runId = await client.trigger(workflow, "stuck");
  await child.says("begun ");
  // A heartbeat that names the job shows that the orchestrator has it for begun.
  await until(async () => (await client.get(runId)).steps[0]?.attempts[0]?.status === "RUNNING", "the attempt");
  child.kill("SIGKILL");
  await child.ended;
  const seen: unknown[] = [];
  const worker = new Worker({ logger: new Lines() }).register(action, (payload, { attempt, raw }) => {
    seen.push(attempt, raw.alone);
    return payload;
  });
  await working([worker], async () => {
    const run = await client.wait(runId, { timeout: 40 });
    assert.equal(run.status, "COMPLETED");
    assert.deepEqual(
      run.steps[0]?.attempts.map(({ status }) => status),
      ["LOST", "COMPLETED"],
    );
    assert.deepEqual(seen, [2, true]);
  });
});

test("a long job keeps its worker by heartbeats for longer than its lease, and hears that it is cancelled", async () => {
  const [action, workflow] = [fresh("long"), fresh("workflow")];
  await client.define({ id: workflow, steps: [{ action, heartbeatTimeout: "1s" }] });
  let aborted = false;
  const worker = new Worker({ logger: new Lines() }).register(action, async (_payload, context) => {
    context.heartbeat({ done: 1 });
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
    aborted = true;
  });
  await working([worker], async () => {
    const runId = await client.trigger(workflow);
    const begun = Date.now();
    const attempt = async (): Promise<string | undefined> =>
      (await client.get(runId)).steps[0]?.attempts.map(({ status }) => status).join();
    await until(async () => (await attempt()) === "RUNNING", "the attempt");
    await until(async () => {
      assert.equal(await attempt(), "RUNNING");
      return Date.now() > begun + 3_000;
    });
    await client.cancel(runId);
    await until(() => aborted, "the cancel");
  });
});
