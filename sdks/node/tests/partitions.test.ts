/** Which partition a result goes to: what its job names, where that can be. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { murmur2 } from "@platformatic/kafka";
import { partitionOf, readPartition } from "../src/kafka/partitions.js";

const KEY = Buffer.from("run-7");
const GARBAGE = ["", "-1", "+1", " 1", "1 ", "1.0", "1e1", "0x1", "one", "²", "1".repeat(10), "1".repeat(5_000)];

function named(told: string): { key: Buffer; job: { resultPartition: number | undefined } } {
  return { key: KEY, job: { resultPartition: readPartition(Buffer.from(told)) } };
}

test("digits are read, and nothing else is", () => {
  assert.deepEqual(
    ["0", "8", "11", "007", "999999999"].map((told) => readPartition(Buffer.from(told))),
    [0, 8, 11, 7, 999_999_999],
  );
  for (const told of GARBAGE) assert.equal(readPartition(Buffer.from(told)), undefined, told);
  assert.equal(readPartition(null), undefined);
});

test("a result goes where its job says, whosever turn it is", () => {
  for (const turn of [0, 1, 2, 3, 1_001]) {
    assert.equal(partitionOf(named("3"), { turn, isRefused: false }, 4), 3);
    assert.equal(partitionOf(named("0"), { turn, isRefused: false }, 4), 0);
  }
});

test("without a name that can be, results go by turns", () => {
  const turns = [0, 1, 2, 3, 4];
  for (const told of [...GARBAGE, "4", "999999999"]) {
    const found = turns.map((turn) => partitionOf(named(told), { turn, isRefused: false }, 4));
    assert.deepEqual(found, [0, 1, 2, 3, 0], told);
  }
});

test("a name that was refused is not tried again", () => {
  const turns = [0, 1, 2, 3];
  assert.deepEqual(
    turns.map((turn) => partitionOf(named("3"), { turn, isRefused: true }, 4)),
    turns,
  );
});

test("what is no result goes by its key", () => {
  const way = { turn: undefined, isRefused: false };
  assert.equal(partitionOf({ key: KEY }, way, 4), (murmur2(KEY) & 0x7fffffff) % 4);
});
