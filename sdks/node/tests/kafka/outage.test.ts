/** A broker that dies, is away, and comes back; and workers that are frozen beside it. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "../../src/index.js";
import { Gate, until } from "../conditions.js";
import { Lines } from "../running.js";
import { Child } from "./site.js";
import { Stage } from "./stage.js";

const CHILD = fileURLToPath(new URL("./child.js", import.meta.url));

const script = fileURLToPath(new URL("../../../tests/broker.py", import.meta.url));
const broker = spawn(process.env.TEST_PYTHON ?? "python3", [script], { stdio: ["pipe", "pipe", "inherit"] });
const answers = createInterface({ input: broker.stdout });
let stage: Stage;
let secured = "";
let properties: Readonly<Record<string, string>> = {};

async function told(word: string): Promise<void> {
  broker.stdin.write(`${word}\n`);
  await once(answers, "line");
}

before(async () => {
  const [line] = (await once(answers, "line")) as [string];
  const told = JSON.parse(line) as { url: string; secured: string; properties: Record<string, string> };
  ({ secured, properties } = told);
  stage = new Stage(told.url);
  await stage.open();
});

after(async () => {
  await stage.close();
  broker.stdin.end();
  await once(broker, "exit");
});

test("a worker comes over TLS with a password, and one with a wrong password says so without it", async () => {
  const action = stage.action("secured");
  const worker = new Worker({ logger: new Lines(), kafka: properties });
  worker.register(action, (payload: unknown) => payload);
  const running = worker.run(secured);
  assert.equal((await stage.resultOf(await stage.give(action, "secret"))).result, "secret");
  worker.stop();
  await running;
  const lines = new Lines();
  const stranger = new Worker({ logger: lines, kafka: { ...properties, "sasl.password": "hunter2" } });
  stranger.register(action, () => 1);
  const trying = stranger.run(secured);
  await until(() => lines.having(`cannot reach kafka://${secured}`, "warn").length === 1);
  stranger.stop();
  await trying;
  assert.match(lines.having("cannot reach")[0] ?? "", /authentication/i);
  assert.deepEqual(lines.having("hunter2"), []);
});

test("results outlive a broker that is killed, and jobs go on when it is back", async () => {
  const action = stage.action("outage");
  const lines = new Lines();
  const gate = new Gate();
  const worker = new Worker({ logger: lines, drainTimeout: 5 });
  worker.register(action, (payload: string) => (payload === "wait" ? gate.opened.then(() => "waited") : payload));
  const running = worker.run(stage.servers);
  await stage.resultOf(await stage.give(action, "before"));
  const waiting = await stage.give(action, "wait");
  await until(() => stage.named(waiting).length > 0);
  await told("kill");
  gate.open();
  await until(() => lines.having("lost kafka://", "warn").length > 0, "the loss in the log");
  await told("start");
  assert.equal((await stage.resultOf(waiting)).result, "waited");
  await until(() => lines.having("connected again to kafka://", "info").length === 1);
  assert.equal((await stage.resultOf(await stage.give(action, "after"))).result, "after");
  assert.equal(lines.having("lost kafka://").length, 1);
  worker.stop();
  await running;
  assert.equal(lines.having("has left").length, 1);
});

test("a worker that was frozen for longer than a session does not do what others have done", async () => {
  const action = stage.action("frozen");
  const frozen = new Child(process.execPath, [CHILD, action], {
    ...stage.environment,
    KAFKA_BOOTSTRAP_SERVERS: stage.servers,
  });
  await frozen.says("connected to");
  await stage.resultOf(await stage.give(action, "first"));
  frozen.kill("SIGSTOP");
  const ids = await Promise.all(Array.from({ length: 40 }, (_, n) => stage.give(action, `later ${n}`)));
  const lines = new Lines();
  const other = new Worker({ logger: lines });
  other.register(action, (payload: unknown) => payload);
  const running = other.run(stage.servers);
  for (const id of ids) await stage.resultOf(id);
  frozen.kill("SIGCONT");
  const more = await Promise.all(Array.from({ length: 40 }, (_, n) => stage.give(action, `more ${n}`)));
  for (const id of more) await stage.resultOf(id);
  const counts = new Map<unknown, number>();
  for (const { value } of stage.results) counts.set(value.jobId, (counts.get(value.jobId) ?? 0) + 1);
  assert.deepEqual(
    [...ids, ...more].filter((id) => counts.get(id) !== 1),
    [],
  );
  other.stop();
  await running;
  frozen.kill("SIGTERM");
  assert.deepEqual(await frozen.ended, [0, null]);
});
