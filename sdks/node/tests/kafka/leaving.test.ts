/** Workers that leave, and what they had not begun. */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Worker } from "../../src/index.js";
import { Membership } from "../../src/kafka/membership.js";
import { Gate, until } from "../conditions.js";
import { Lines } from "../running.js";
import { servers, working } from "./site.js";
import { Stage } from "./stage.js";

const stage = new Stage(servers);
before(() => stage.open());
after(() => stage.close());

test("a job that is claimed while its worker leaves is the next worker's, and so is what is behind it", async (t) => {
  const action = stage.action("leave");
  const [go, left] = [new Gate(), new Gate()];
  const commit = Membership.prototype.commit;
  let isLate = false;
  t.mock.method(Membership.prototype, "commit", async function (this: Membership, offsets: Map<number, number>) {
    const isHeard = isLate ? left.opened : undefined;
    await commit.call(this, offsets);
    await isHeard;
  });
  const lines = new Lines();
  const leaver = new Worker({ logger: lines, concurrency: 3, drainTimeout: 5 });
  const begun: unknown[] = [];
  leaver.register(action, (payload: unknown) => {
    begun.push(payload);
    return go.opened;
  });
  const jobs: string[] = [];
  await working([leaver], async () => {
    for (const n of [1, 2, 3]) await stage.give(action, n, { partition: 0 });
    await until(() => begun.length === 3, "all places are taken");
    // They are claimed together: one of a partition whose jobs start as they come, one whose commit is waited for.
    for (const partition of [0, 1]) {
      jobs.push(await stage.give(action, "claimed", { partition }));
      await stage.write("jobs", "no JSON", { partition });
    }
    await until(() => lines.having("is not a job").length === 2, "what is behind them is read");
    isLate = true;
    go.open();
    await until(async () => ((await stage.committed(action)).get(1) ?? 0) > 0, "the claim is committed");
    jobs.push(await stage.give(action, "behind", { partition: 0 }));
    await stage.write("jobs", "no JSON", { partition: 0 });
    await until(() => lines.having("is not a job").length === 3, "what is behind the last one is read");
    leaver.stop();
    await until(() => lines.having("has left").length > 0, "the goodbye");
    left.open();
  });
  assert.deepEqual(begun, [1, 2, 3]);
  const next = new Worker({ logger: new Lines(), drainTimeout: 5 });
  next.register(action, () => "next");
  await working([next], async () => {
    for (const job of jobs) assert.equal((await stage.resultOf(job)).result, "next");
  });
  const ids = stage.results.map(({ value }) => value.jobId);
  assert.equal(new Set(ids).size, ids.length);
});
