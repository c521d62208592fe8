/** How jobs are taken from a topic, and results given back to one. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "../../src/index.js";
import { Gate, until } from "../conditions.js";
import { Lines } from "../running.js";
import { Child, servers, working } from "./site.js";
import { Stage } from "./stage.js";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));
const stage = new Stage(servers);
before(() => stage.open({ resultBytesMax: 200_000 }));
after(() => stage.close());

function make(options: ConstructorParameters<typeof Worker>[0] = {}): { worker: Worker; lines: Lines } {
  const lines = new Lines();
  return { worker: new Worker({ logger: lines, drainTimeout: 5, ...options }), lines };
}

test("a job that was there before the group is done, and its result says whose it is", async () => {
  const action = stage.action("before");
  const jobId = await stage.give(action, { a: 1 });
  const { worker } = make();
  worker.register(action, (payload: unknown) => ({ got: payload }));
  await working([worker], async () => {
    const result = await stage.resultOf(jobId);
    assert.deepEqual(result.result, { got: { a: 1 } });
    assert.deepEqual([result.status, result.workerId, result.action], ["completed", worker.workerId, action]);
    const { key, headers } = stage.results.find(({ value }) => value.jobId === jobId) ?? {};
    assert.equal(key, result.workflowRunId);
    assert.deepEqual(headers, { "wf-job-id": jobId, "wf-attempt": "1", "content-type": "application/json" });
  });
});

test("a result goes to the partition that its job names, and to any where it names none that there is", async () => {
  const action = stage.action("home");
  const { worker } = make();
  worker.register(action, (payload: unknown) => {
    if (payload === "fail") throw new Error("broken");
    return payload;
  });
  const homes = ["0", "1", "2", "3"];
  const foundOf = (jobId: string): typeof stage.results => stage.results.filter(({ value }) => value.jobId === jobId);
  await working([worker], async () => {
    const named = await Promise.all(
      homes.flatMap((home) =>
        ["done", "fail", "done"].map(async (payload) => ({
          home: Number(home),
          jobId: await stage.give(action, payload, { home }),
        })),
      ),
    );
    const others = await Promise.all(
      ["4", "-1", "one", "", "999999999"].map((home) => stage.give(action, "done", { home })),
    );
    for (const jobId of [...named.map((one) => one.jobId), ...others]) await stage.resultOf(jobId);
    for (const { home, jobId } of named) {
      assert.deepEqual(
        foundOf(jobId).map(({ partition }) => partition),
        [home],
      );
    }
    for (const jobId of others) assert.equal(foundOf(jobId).length, 1);
  });
});

test("records of others are passed over, and those that are no jobs are told once", async () => {
  const action = stage.action("foreign");
  const { worker, lines } = make();
  worker.register(action, (payload: string) => payload.toUpperCase());
  for (const value of ["no JSON", "[1]", null, '{"payload":1}', JSON.stringify({ action, payload: 1 })]) {
    await stage.write("jobs", value, { partition: 1 });
  }
  await stage.write("jobs", JSON.stringify({ workflowRunId: "r", action: "somebody-elses", payload: 1 }), {
    partition: 1,
  });
  await stage.write("jobs", "not looked at", { partition: 1, headers: { "wf-action": "somebody-elses" } });
  await stage.write("jobs", JSON.stringify({ workflowRunId: "run-7", action, payload: "plain" }), { partition: 1 });
  await working([worker], async () => {
    const found = (): (typeof stage.results)[number] | undefined =>
      stage.results.find(({ value }) => value.workflowRunId === "run-7");
    await until(() => found() !== undefined);
    assert.equal(found()?.key, "run-7");
    assert.deepEqual(found()?.headers, { "content-type": "application/json" });
    assert.equal(found()?.value.result, "PLAIN");
    assert.equal("jobId" in (found()?.value ?? {}), false);
    assert.equal(lines.having("is not a job and is passed over", "warn").length, 1);
  });
  assert.equal(lines.having("5 records on", "warn").length, 1);
});

test("the context has the trace of the headers, and the result gives it back", async () => {
  const action = stage.action("traced");
  const { worker } = make();
  worker.register(action, (_payload, { traceparent, tracestate, trace }) => [traceparent, tracestate, trace]);
  const trace = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", tracestate: "vendor=value" };
  const jobId = `${action}:0`;
  const headers = { "wf-action": action, "wf-job-id": jobId, ...trace };
  await stage.write("jobs", JSON.stringify({ workflowRunId: action, payload: 1 }), { partition: 1, headers });
  await working([worker], async () => {
    const result = await stage.resultOf(jobId);
    assert.deepEqual(result.result, [trace.traceparent, trace.tracestate, trace]);
    const found = stage.results.find(({ value }) => value.jobId === jobId);
    const told = { "wf-job-id": jobId, "wf-attempt": "1", "content-type": "application/json" };
    assert.deepEqual(found?.headers, { ...told, ...trace });
  });
});

test("an offset is committed before its job is done", async () => {
  const action = stage.action("ahead");
  const gate = new Gate();
  const { worker } = make();
  worker.register(action, () => gate.opened);
  await working([worker], async () => {
    const jobId = await stage.give(action, null, { partition: 2 });
    const isAhead = async (): Promise<boolean> => ((await stage.committed(action)).get(2) ?? 0) > 0;
    await until(isAhead, "the commit");
    assert.ok(!stage.results.some(({ value }) => value.jobId === jobId));
    gate.open();
    await stage.resultOf(jobId);
  });
});

test("a job alone has no neighbours", async () => {
  const [alone, other] = [stage.action("alone"), stage.action("neighbour")];
  const gate = new Gate();
  let running = 0;
  const seen: number[] = [];
  const { worker } = make({ concurrency: 4 });
  const count = async (work: () => Promise<unknown>): Promise<void> => {
    running += 1;
    await work();
    running -= 1;
  };
  worker
    .register(alone, () =>
      count(async () => {
        seen.push(running);
        await gate.opened;
        seen.push(running);
      }),
    )
    .register(other, () => count(async () => undefined));
  await working([worker], async () => {
    await stage.resultOf(await stage.give(other));
    const suspect = await stage.give(alone, null, { alone: true });
    await until(() => seen.length === 1);
    const others = await Promise.all([1, 2, 3].map(() => stage.give(other)));
    await until(() => stage.named(suspect).length > 0, "a heartbeat that names it");
    assert.equal(running, 1);
    gate.open();
    for (const jobId of [suspect, ...others]) await stage.resultOf(jobId);
    assert.deepEqual(seen, [1, 1]);
  });
});

test("what has finished is not lost with a job that runs alone", async () => {
  const action = stage.action("deadly");
  const child = new Child(process.execPath, [CHILD, action], stage.environment);
  const jobs = [await stage.give(action)];
  await stage.resultOf(jobs[0] as string);
  jobs.push(...(await stage.burst(action, 200, "die", { attempt: 2, alone: true })));
  await child.ended;
  for (const jobId of jobs) await stage.resultOf(jobId);
  assert.equal(stage.results.filter(({ value }) => jobs.includes(value.jobId as string)).length, jobs.length);
});

test("a long job is named in heartbeats with what it says, and the last one says goodbye", async () => {
  const action = stage.action("long");
  const gate = new Gate();
  const { worker } = make({ concurrency: 1 });
  worker.register(action, async (_payload, context) => {
    context.heartbeat({ done: 40 });
    await gate.opened;
  });
  await working([worker], async () => {
    const jobId = await stage.give(action);
    await until(() => stage.named(jobId).length > 0);
    assert.deepEqual(stage.named(jobId)[0]?.details, { done: 40 });
    const mine = stage.heartbeats.filter((beat) => beat.workerId === worker.workerId);
    assert.deepEqual([mine[0]?.capacity, mine[0]?.sdk, mine[0]?.lease], [1, "workersdk-node", 30]);
    assert.equal(mine.at(-1)?.capacity, 0);
    gate.open();
    await stage.resultOf(jobId);
  });
  const said = (): unknown => stage.heartbeats.findLast((beat) => beat.workerId === worker.workerId)?.leaving;
  await until(() => said() === true, "the goodbye");
});

test("a cancelled job is stopped, or never begun", async () => {
  const action = stage.action("cancel");
  const stopped = new Gate();
  const begun: string[] = [];
  const { worker } = make();
  worker.register(action, async (payload: string, { signal, jobId }) => {
    begun.push(jobId);
    if (payload === "quick") return payload;
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    stopped.open();
    return undefined;
  });
  const early = await stage.give(action, "early", { partition: 3 });
  await stage.cancel(early);
  await working([worker], async () => {
    const jobId = await stage.give(action, "long", { partition: 3 });
    await until(() => begun.includes(jobId));
    await stage.cancel(jobId);
    await stopped.opened;
    await stage.resultOf(await stage.give(action, "quick", { partition: 3 }));
    assert.ok(!begun.includes(early));
    assert.ok(!stage.results.some(({ value }) => value.jobId === jobId));
  });
});

test("a result that the topic does not take becomes a failed step, and its neighbours arrive", async () => {
  const action = stage.action("large");
  const { worker } = make();
  // What cannot be compressed: the broker measures what arrives.
  const noise = (bytes: number): string => Array.from({ length: bytes }, () => Math.random().toString(36)[2]).join("");
  worker.register(action, (payload: number) => (payload === 0 ? noise(400_000) : payload));
  await working([worker], async () => {
    const ids = await Promise.all([0, 1, 2].map((n) => stage.give(action, n, { partition: 0, home: "2" })));
    const [large, ...small] = await Promise.all(ids.map((id) => stage.resultOf(id)));
    const error = large?.error as Record<string, unknown>;
    assert.deepEqual([large?.status, error.type, error.retryable], ["failed", "ResultTooLarge", false]);
    assert.deepEqual(
      small.map((result) => result.result),
      [1, 2],
    );
    const written = stage.results.filter(({ value }) => ids.includes(value.jobId as string));
    assert.ok(written.every(({ partition }) => partition === 2));
  });
});

test("what does not finish in time is given back", async () => {
  const action = stage.action("drain");
  const begun = new Gate();
  const { worker } = make({ drainTimeout: "50ms" });
  worker.register(action, async (_payload, context) => {
    context.heartbeat(7);
    begun.open();
    await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
  });
  let jobId = "";
  await working([worker], async () => {
    jobId = await stage.give(action, null, { home: "1" });
    await begun.opened;
  });
  const result = await stage.resultOf(jobId);
  assert.deepEqual([result.status, result.details, result.result], ["released", 7, null]);
  assert.equal(stage.results.find(({ value }) => value.jobId === jobId)?.partition, 1);
});

test("an action may have a topic to itself", async () => {
  const action = stage.action("own");
  const { worker } = make({ routes: { [action]: stage.topics.own } });
  worker.register(action, (payload: unknown) => payload);
  await working([worker], async () => {
    assert.equal((await stage.resultOf(await stage.give(action, 7, { topic: "own" }))).result, 7);
  });
});

test("with strict offsets each job waits for its commit", async () => {
  const action = stage.action("strict");
  const ahead: boolean[] = [];
  const { worker } = make({ strictOffsets: true });
  worker.register(action, async (n: number) => {
    ahead.push(((await stage.committed(action)).get(0) ?? 0) > n);
  });
  await working([worker], async () => {
    for (let n = 0; n < 3; n += 1) {
      const before = (await stage.committed(action)).get(0) ?? -1;
      await stage.resultOf(await stage.give(action, before, { partition: 0 }));
    }
    assert.deepEqual(ahead, [true, true, true]);
  });
});

test("a worker that is full for long leaves its jobs to others", async () => {
  const action = stage.action("shed");
  const gate = new Gate();
  const begun = new Gate();
  const full = make({ concurrency: 1 });
  full.worker.register(action, () => {
    begun.open();
    return gate.opened;
  });
  const other = make();
  other.worker.register(action, () => "other");
  await working([full.worker], async () => {
    const first = await stage.give(action, null, { partition: 0 });
    await begun.opened;
    const waiting = await Promise.all([0, 1, 2, 3].map((partition) => stage.give(action, null, { partition })));
    await working([other.worker], async () => {
      for (const jobId of waiting) assert.equal((await stage.resultOf(jobId)).result, "other");
      gate.open();
      await stage.resultOf(first);
    });
  });
  const counts = stage.results.filter(({ value }) => value.action === action).length;
  assert.equal(counts, 5);
});
