/** How results are sent when the topic is not what it was. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import { Admin } from "@platformatic/kafka";
import { Cluster } from "../../src/kafka/cluster.js";
import { LATEST, listOffsets } from "../../src/kafka/fetching.js";
import { KafkaJob } from "../../src/kafka/records.js";
import { Sender, type Sending } from "../../src/kafka/sender.js";
import { readSettings } from "../../src/kafka/settings.js";
import { until } from "../conditions.js";
import { Lines } from "../running.js";
import { servers } from "./site.js";

const PARTITIONS = 4;
const lines = new Lines();
const settings = readSettings([servers], { isStrict: false, properties: {}, routes: {} }, {}, lines);
const admin = new Admin({ clientId: "sender-test", bootstrapBrokers: [servers], retries: 5 });
const sending = new Cluster(settings, "sender-test");
const looking = new Cluster(settings, "sender-test-looks");
const sender = new Sender(sending, settings, lines);
const topic = `test-sender-${randomUUID().slice(0, 8)}`;

async function makeTopic(): Promise<void> {
  await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 });
  await until(isThere, "the topic");
}

function isThere(): Promise<boolean> {
  return looking.topic(topic, { isFresh: true }).then(
    ({ partitions }) => partitions.length === PARTITIONS && partitions.every(({ leader }) => leader >= 0),
    () => false,
  );
}

/** The result of a job that names a partition. */
function result(named: number, onEnd: Sending["onEnd"]): Sending {
  const key = Buffer.from(randomUUID());
  const headers = [[Buffer.from("wf-result-partition"), Buffer.from(String(named))]] as [Buffer, Buffer][];
  const record = { key, value: null, headers, length: 0, attributes: 0, offsetDelta: 0, timestampDelta: 0n };
  const raw = { workflowRunId: String(key), action: "act", jobId: `${key}:0`, attempt: 1 };
  const job = new KafkaJob(raw, record, { topic: "jobs", partition: 0 }, 0, 30_000);
  return { topic, key, value: "{}", bytes: 2, headers: [], job, onEnd };
}

/** How many records each partition has. */
async function counts(): Promise<number[]> {
  const partitions = Array.from({ length: PARTITIONS }, (_, partition) => partition);
  const ends = await listOffsets(looking, topic, partitions, LATEST);
  return partitions.map((partition) => ends.get(partition) ?? -1);
}

before(makeTopic);
after(async () => {
  sender.close();
  await admin.deleteTopics({ topics: [topic] });
  await admin.close();
  await sending.close();
  await looking.close();
});

test("results that are sent together go each to its own partition", async () => {
  const ends: unknown[] = [];
  sender.sendTogether([3, 1, 3, 0, 3].map((named) => result(named, (error) => ends.push(error))));
  await sender.waitSent();
  assert.deepEqual(ends, Array(5).fill(undefined));
  assert.deepEqual(await counts(), [1, 1, 0, 3]);
});

test("a result whose partition the broker did not have is sent again to any", async () => {
  await admin.deleteTopics({ topics: [topic] });
  await until(async () => !(await isThere()), "the end of the topic");
  // What the sender knows of the topic is from before: each turn is refused once, and has a partition of its own after that.
  const ends: unknown[] = [];
  for (let turn = 0; turn < PARTITIONS; turn += 1) sender.sendTogether([result(3, (error) => ends.push(error))]);
  await until(() => lines.having("again: ", "debug").length >= PARTITIONS, "the refusals");
  assert.deepEqual(ends, []);
  await makeTopic();
  await sender.waitSent();
  assert.deepEqual(ends, Array(PARTITIONS).fill(undefined));
  assert.deepEqual(await counts(), [1, 1, 1, 1]);
});
