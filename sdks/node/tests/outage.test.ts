/** What a worker does over HTTP when the other side is gone, slow, forgetful or of another mind. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Gate, until } from "./conditions.js";
import { attemptOf, problem } from "./gateway.js";
import { playing } from "./running.js";

test("a result whose answer was lost is sent again, and nobody is alarmed", async () => {
  await playing(
    (worker) => worker.register("act", () => 1),
    async ({ gateway, lines }) => {
      gateway.loseAnswers = 1;
      await gateway.resultOf(gateway.give("act"));
      await until(() => gateway.rejected.length === 1);
      assert.deepEqual(lines.having("was not used", "warn"), []);
    },
  );
});

test("results outlive an outage, which is told once", async () => {
  const gate = new Gate();
  await playing(
    (worker) => worker.register("act", () => gate.opened.then(() => "done")),
    async ({ gateway, lines }) => {
      const job = gateway.give("act");
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      await gateway.down();
      gate.open();
      await until(() => lines.having("lost the orchestrator at", "warn").length === 1);
      await gateway.up();
      assert.equal((await gateway.resultOf(job)).result, "done");
      await until(() => lines.having("connected again to", "info").length === 1);
      assert.equal(lines.having("lost the orchestrator").length, 1);
    },
  );
});

test("a worker that is not known registers again and keeps its jobs", async () => {
  const gate = new Gate();
  await playing(
    (worker) => worker.register("act", () => gate.opened),
    async ({ gateway }) => {
      const job = gateway.give("act");
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      gateway.workers.clear();
      gate.open();
      await gateway.resultOf(job);
      assert.equal(gateway.registrations.length, 2);
    },
  );
});

test("a call that is too large is halved until the one to blame is found", async () => {
  await playing(
    (worker) => worker.register("act", (payload: string) => payload),
    async ({ gateway }) => {
      gateway.answerExchange = (body) =>
        JSON.stringify(body.results ?? []).includes("blame") &&
        JSON.stringify(body.results).includes('"result":"to blame"')
          ? problem(413, "request-too-large", "Too large")
          : undefined;
      const good = Array.from({ length: 5 }, (_, place) => gateway.give("act", `good ${place}`));
      const bad = gateway.give("act", "to blame");
      for (const job of good) await gateway.resultOf(job);
      const error = (await gateway.resultOf(bad)).error as Record<string, unknown>;
      assert.equal(error.type, "ResultTooLarge");
      assert.equal(error.retryable, false);
    },
  );
});

test("a cancelled job is told by its signal, and nothing is reported of it", async () => {
  const aborted = new Gate<unknown>();
  await playing(
    (worker) =>
      worker
        .register("long", (_payload, { signal }) => {
          return new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => {
              aborted.open(signal.reason);
              reject(signal.reason);
            });
          });
        })
        .register("act", () => 1),
    async ({ gateway }) => {
      const job = gateway.give("long");
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      gateway.cancel.push(attemptOf(job));
      gateway.wake();
      assert.match(String(await aborted.opened), /JobStoppedError: stop: its run was cancelled/);
      await gateway.resultOf(gateway.give("act"));
      assert.equal(gateway.results.length, 1);
    },
    { concurrency: 2 },
  );
});

test("a long job is named in heartbeats, with what its handler says", async () => {
  const gate = new Gate();
  await playing(
    (worker) =>
      worker.register("long", async (_payload, context) => {
        context.heartbeat({ done: 40 });
        await gate.opened;
      }),
    async ({ gateway }) => {
      const job = gateway.give("long", null, { heartbeatTimeout: 0.3, lease: 0.3 });
      await until(() => gateway.heartbeats.length >= 3);
      assert.deepEqual(gateway.heartbeats[0], [{ ...attemptOf(job), details: { done: 40 } }]);
      assert.deepEqual(gateway.heartbeats[1], [attemptOf(job)]);
      gate.open();
      assert.equal((await gateway.resultOf(job)).status, undefined);
    },
  );
});

test("details beyond 16 KiB are refused where they are given", async () => {
  await playing(
    (worker) => worker.register("act", (_payload, context) => context.heartbeat("x".repeat(20_000))),
    async ({ gateway }) => {
      const error = (await gateway.resultOf(gateway.give("act"))).error as Record<string, unknown>;
      assert.match(String(error.message), /heartbeat details are at most 16384 bytes of JSON, these are 20002/);
    },
  );
});

test("a job whose lease belongs to another stops", async () => {
  const stopped = new Gate();
  await playing(
    (worker) =>
      worker.register("long", async (_payload, context) => {
        await until(() => context.cancelled);
        stopped.open();
      }),
    async ({ gateway, lines }) => {
      const job = gateway.give("long", null, { heartbeatTimeout: 0.3, lease: 5 });
      gateway.unknown.push(attemptOf(job));
      await stopped.opened;
      assert.equal(lines.having("its lease is lost", "info").length, 1);
      await until(() => gateway.waiting === 1);
      assert.deepEqual(gateway.results, []);
    },
  );
});

test("a worker that is not heard for a lease stops its jobs, and gives them back when it is heard again", async () => {
  const stopped = new Gate();
  await playing(
    (worker) =>
      worker.register("long", async (_payload, { signal }) => {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        stopped.open();
        return "half";
      }),
    async ({ gateway, lines }) => {
      const job = gateway.give("long", null, { lease: 0.4, heartbeatTimeout: 0.4 });
      await until(() => gateway.queue.length === 0 && gateway.waiting === 1);
      await gateway.down();
      await stopped.opened;
      assert.equal(lines.having("could not be reached for longer than the lease").length, 1);
      await gateway.up();
      assert.equal((await gateway.resultOf(job)).status, "released");
    },
  );
});
