import assert from "node:assert/strict";
import { test } from "node:test";
import { Offsets } from "../src/kafka/offsets.js";
import { type Reader, Share } from "../src/kafka/reader.js";
import type { KafkaJob } from "../src/kafka/records.js";

/** Partition 0 is read up to offset 6, of which the last record is a job. */
function begun(): { offsets: Offsets; share: Share; job: KafkaJob } {
  const share = new Share("act", "jobs", () => undefined);
  const reader = { passed: () => new Map([[0, 6]]), begin: () => undefined, end: () => undefined };
  const offsets = new Offsets(reader as unknown as Reader, share);
  offsets.takeUp(new Map([[0, 5]]));
  return { offsets, share, job: { place: { topic: "jobs", partition: 0 }, offset: 5 } as unknown as KafkaJob };
}

test("a commit that was confirmed need not be made again", () => {
  const { offsets } = begun();
  offsets.confirm(offsets.changes());
  assert.deepEqual(offsets.unconfirmed(), new Map());
  assert.equal(offsets.unsafe.size, 0);
});

test("a commit that nobody heard of is taken back for a job that was not started", () => {
  const { offsets, share, job } = begun();
  offsets.forget(offsets.changes()); // the job was at the head of those that start
  share.pending.push(job);
  assert.deepEqual(offsets.unconfirmed(), new Map([[0, 5]]));
  assert.deepEqual([...offsets.unsafe], [0]);
});
