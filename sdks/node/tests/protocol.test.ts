/** The records and bodies of this SDK are those of `protocol/examples`: as they are written there, and read whole. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { KafkaRecord } from "@platformatic/kafka";
import { parse, parseBytes, stringify } from "../src/json.js";
import {
  actionOf,
  BeatWriter,
  type KafkaJob,
  readControl,
  readJob,
  writeInFlight,
  writeResult,
} from "../src/kafka/records.js";
import { completed, type Failure, failed, type Outcome, released } from "../src/outcomes.js";

const EXAMPLES = new URL("../../../../protocol/examples/", import.meta.url);
const WORKER = "w-box-8287-bf6787";
const PLACE = { topic: "workflow-jobs", partition: 0 };

interface Example {
  readonly key: string;
  readonly value: string;
  readonly body: string;
  readonly headers: readonly (readonly [string, string])[];
}

function example(name: string, folder = "records"): Example {
  return JSON.parse(readFileSync(new URL(`${folder}/${name}.json`, EXAMPLES), "utf8")) as Example;
}

function recordOf(told: Example): KafkaRecord {
  return {
    key: Buffer.from(told.key),
    value: Buffer.from(told.value),
    headers: told.headers.map(([name, value]) => [Buffer.from(name), Buffer.from(value)]),
    length: 0,
    attributes: 0,
    offsetDelta: 0,
    timestampDelta: 0n,
  };
}

function job(name: string): KafkaJob {
  const record = recordOf(example(name));
  const found = readJob(actionOf(record), record, PLACE, 7, 30_000);
  found.startedAt = "2026-11-30T15:40:08.524139Z";
  return found;
}

function check(outcome: Outcome<KafkaJob>, name: string): void {
  const told = example(name);
  assert.equal(writeResult(outcome, WORKER), told.value);
  assert.equal(outcome.job.key.toString(), told.key);
  assert.deepEqual(outcome.job.resultHeaders(), told.headers);
}

test("a job is read", () => {
  const { id, attempt, isAlone, raw } = job("job");
  assert.deepEqual([id, attempt, isAlone], ["01a22d1d-0dab-7cea-808a-29457981d4fc:0", 1, false]);
  assert.equal(raw.payload, "Hello World");
});

test("the partition for the result is read from the headers alone", () => {
  assert.deepEqual([job("job").resultPartition, job("job-traced").resultPartition], [8, 8]);
  assert.equal("wf-result-partition" in job("job").raw, false);
  const told = example("job");
  const withHeader = (value?: string): number | undefined => {
    const others = told.headers.filter(([name]) => name !== "wf-result-partition");
    const more = value === undefined ? [] : [["wf-result-partition", value] as const];
    return readJob("step1", recordOf({ ...told, headers: [...more, ...others] }), PLACE, 7, 30_000).resultPartition;
  };
  assert.deepEqual(
    [withHeader("5"), withHeader(), withHeader("-5"), withHeader("five")],
    [5, undefined, undefined, undefined],
  );
});

test("a job that comes again is read with all that it says", () => {
  const { attempt, isAlone, leaseMs, raw } = job("job-again");
  assert.deepEqual([attempt, isAlone, leaseMs, raw.details], [2, true, 2_500, { done: 40 }]);
  const payload = raw.payload as Record<string, unknown>;
  assert.equal(payload.amount, 123456789012345678901234567890n);
  assert.equal(
    stringify({ name: payload.name, amount: payload.amount }),
    '{"name":"Zoë 🎉","amount":123456789012345678901234567890}',
  );
});

test("results are written byte for byte", () => {
  check(completed(job("job"), "Processed: Hello World", 1_000), "result-completed");
  const again: Failure = {
    type: "ConnectionError",
    message: "the ledger is closed",
    stack: "ConnectionError: the ledger is closed\n",
    retryAfter: 2.5,
  };
  check(failed(job("job"), again), "result-failed");
  check(
    failed(job("job"), { type: "CardDeclined", message: "no such card", isRetryable: false }),
    "result-failed-for-good",
  );
  const leaving = job("job-again");
  leaving.details = '{"done":60}';
  check(released(leaving), "result-released");
  check(completed(job("job-traced"), "Processed: Hello World", 1_000), "result-traced");
});

for (const name of ["heartbeat", "heartbeat-leaving"]) {
  test(`a ${name} is written byte for byte`, () => {
    const hello = {
      workerId: WORKER,
      actions: ["step1", "write-letter"],
      sdk: "workersdk-python",
      version: "0.1.0",
      host: "box",
      pid: 8287,
      concurrency: 10,
      leaseMs: 22_500,
    };
    const isLeaving = name === "heartbeat-leaving";
    const inHand = isLeaving ? [] : [writeInFlight(job("job-again"), '{"done":60}')];
    const written = new BeatWriter(hello, undefined, 22_500, 7_500).write(inHand, isLeaving ? 0 : 9, isLeaving);
    assert.equal(written, example(name).value);
  });
}

test("a stop is read", () => {
  const word = readControl(Buffer.from(example("stop").value));
  assert.deepEqual(word, { jobId: "01a22d1d-0dab-7cea-808a-29457981d4fc:3", attempt: 2 });
  assert.equal(readControl(Buffer.from('{"type":"other"}')), undefined);
  assert.equal(readControl(null), undefined);
});

test("the results of an exchange are those of the example", () => {
  const told = parse(example("exchange-results", "http").body) as { results: unknown[] };
  const http = (name: string): KafkaJob => job(name);
  const asHttp = (outcome: Outcome<KafkaJob>): unknown => {
    const { workflowRunId: _, action: __, ...body } = parseBytes(Buffer.from(outcome.body)) as Record<string, unknown>;
    return body;
  };
  assert.deepEqual(asHttp(completed(http("job"), "Processed: Hello World", 1_000)), told.results[0]);
  const leaving = http("job-again");
  leaving.details = '{"done":60}';
  assert.deepEqual(asHttp(released(leaving)), told.results[2]);
});
