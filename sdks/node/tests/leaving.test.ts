/** How a worker leaves: with what it has in hand done, or given back. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Gate, until } from "./conditions.js";
import { Gateway } from "./gateway.js";
import { playing } from "./running.js";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));

test("jobs in hand are finished and reported before the goodbye", async () => {
  const gate = new Gate();
  await playing(
    (worker) => worker.register("act", () => gate.opened.then(() => "done")),
    async ({ gateway, worker, left }) => {
      const job = gateway.give("act");
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      worker.stop();
      gate.open();
      assert.equal(await left(), 0);
      assert.equal((await gateway.resultOf(job)).result, "done");
      assert.deepEqual(gateway.left, [worker.workerId]);
    },
  );
});

test("what does not finish in time is given back with what it said last", async () => {
  const told = new Gate();
  await playing(
    (worker) =>
      worker.register("long", async (_payload, context) => {
        context.heartbeat({ done: 1 });
        await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
        told.open();
      }),
    async ({ gateway, worker, left, lines }) => {
      const job = gateway.give("long");
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      worker.stop();
      await left();
      await told.opened;
      const result = await gateway.resultOf(job);
      assert.deepEqual([result.status, result.details], ["released", { done: 1 }]);
      assert.equal(lines.having("giving back 1 jobs that have not finished", "warn").length, 1);
      assert.deepEqual(gateway.left, [worker.workerId]);
    },
    { drainTimeout: "50ms" },
  );
});

test("an orchestrator that asks a worker to go is obeyed", async () => {
  await playing(
    (worker) => worker.register("act", () => 1),
    async ({ gateway, left, lines }) => {
      await until(() => gateway.waiting === 1);
      gateway.drain = true;
      gateway.wake();
      await left();
      assert.equal(gateway.left.length, 1);
      assert.equal(lines.having("asks this worker to finish and go").length, 1);
    },
  );
});

test("a worker that is stopped before it is connected leaves at once", async () => {
  await playing(
    (worker) => worker.register("act", () => 1),
    async ({ gateway, worker, left }) => {
      await gateway.down();
      worker.stop();
      await left();
    },
  );
});

async function child(
  gateway: Gateway,
  environment: Record<string, string> = {},
): Promise<{ kill(signal: NodeJS.Signals): void; ended: Promise<unknown[]>; output(): string }> {
  const process_ = spawn(process.execPath, [CHILD], {
    env: { ...process.env, WORKFLOW_URL: gateway.url, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  process_.stdout.on("data", (text) => {
    output += String(text);
  });
  process_.stderr.on("data", (text) => {
    output += String(text);
  });
  await until(() => gateway.waiting > 0 || process_.exitCode !== null);
  return {
    kill: (signal) => void process_.kill(signal),
    ended: once(process_, "exit"),
    output: () => output,
  };
}

test("SIGTERM lets the jobs in hand finish, and the process end", async () => {
  const gateway = new Gateway();
  await gateway.up();
  const { kill, ended, output } = await child(gateway);
  const job = gateway.give("slow", 200);
  await until(() => gateway.queue.length === 0);
  await until(() => output().includes("slow begins"));
  kill("SIGTERM");
  assert.deepEqual(await ended, [0, null]);
  assert.equal((await gateway.resultOf(job)).result, "slow");
  assert.match(output(), /INFO workersdk: worker w-child has left/);
  await gateway.down();
});

test("a second signal gives everything back, and ends a handler that does not listen", async () => {
  const gateway = new Gateway();
  await gateway.up();
  const { kill, ended, output } = await child(gateway);
  const job = gateway.give("slow", 3_600_000);
  await until(() => output().includes("slow begins"));
  kill("SIGTERM");
  await until(() => output().includes("a second signal ends them"));
  kill("SIGTERM");
  assert.deepEqual(await ended, [null, "SIGTERM"]);
  assert.equal((await gateway.resultOf(job)).status, "released");
  assert.deepEqual(gateway.left, ["w-child"]);
  await gateway.down();
});
