/** A worker that is started in place of one that was killed lets the others of its groups go on meanwhile. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "../../src/index.js";
import { hasDied, noteGone, noteHere } from "../../src/kafka/predecessors.js";
import { until } from "../conditions.js";
import { Lines } from "../running.js";
import { Child, servers, working } from "./site.js";
import { Stage } from "./stage.js";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));
const SESSION_MS = 10_000;
/** Less than the session of the dead one, for which a group waits that it stops; more than a loaded machine stalls. */
const SOON_MS = 7_000;
const KAFKA = { "session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 300 };

const stage = new Stage(servers);
before(() => stage.open());
after(() => stage.close());

function name(host: string, pid: number, own = "0123ab"): string {
  return `w-${host}-${pid}-${own}`;
}

test("who has died here is known by the process", () => {
  const { pid: dead } = spawnSync(process.execPath, ["-e", ""]);
  const ours = name("box-1", process.pid);
  assert.ok(hasDied(name("box-1", dead), ours));
  assert.ok(!hasDied(name("box-1", process.ppid), ours));
  // Of another machine nothing is known, whatever its name begins with.
  for (const host of ["box-2", "box", "box-1-1"]) assert.ok(!hasDied(name(host, dead), ours));
  // The same number on the same machine is an earlier life, unless it is another worker of this process.
  const earlier = name("box-1", process.pid, "fedcba");
  assert.ok(hasDied(earlier, ours));
  noteHere(earlier);
  assert.ok(!hasDied(earlier, ours));
  noteGone(earlier);
  // A chosen name says nothing of its process.
  assert.ok(hasDied("billing-1", "billing-1"));
  assert.ok(!hasDied("billing-1", "billing-2"));
  assert.ok(!hasDied(name("box", dead), "billing-1"));
});

test("the others go on while a killed worker is started again", async () => {
  const action = stage.action("act");
  const register = (worker: Worker): Worker => worker.register(action, (payload: unknown) => payload);
  const survivor = register(new Worker({ workerId: "survivor", kafka: KAFKA, logger: new Lines() }));
  const environment = { ...(stage.environment as Record<string, string>), SESSION_MS: String(SESSION_MS) };
  const child = new Child(process.execPath, [CHILD, action], environment);
  await child.says("connected to");
  const childId = /worker (w-child-\d+) connected/.exec(child.output)?.[1] ?? "";
  const owners = async (): Promise<unknown[]> => {
    const ids = await Promise.all([0, 1, 2, 3].map((partition) => stage.give(action, null, { partition })));
    return (await Promise.all(ids.map((id) => stage.resultOf(id)))).map((result) => result.workerId);
  };
  await working([survivor], async () => {
    let who: unknown[] = [];
    while (new Set(who).size < 2) who = await owners();
    const kept = [0, 1, 2, 3].filter((partition) => who[partition] === "survivor");
    child.kill("SIGKILL");
    await child.ended;
    const lines = new Lines();
    const successor = register(new Worker({ workerId: childId, kafka: KAFKA, logger: lines }));
    await working([successor], async () => {
      await until(() => lines.having(`noticed that ${childId} is dead`).length === 1);
      while (lines.having(`worker ${childId} connected`).length === 0) {
        for (const partition of kept) {
          const begun = Date.now();
          await stage.resultOf(await stage.give(action, null, { partition }));
          assert.ok(Date.now() - begun < SOON_MS);
        }
      }
      do who = await owners();
      while (new Set(who).size < 2);
    });
  });
  const counts = new Map<unknown, number>();
  for (const { value } of stage.results) counts.set(value.jobId, (counts.get(value.jobId) ?? 0) + 1);
  assert.deepEqual(new Set(counts.values()), new Set([1]));
});
