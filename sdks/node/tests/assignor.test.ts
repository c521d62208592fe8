import assert from "node:assert/strict";
import { test } from "node:test";
import { assign, readAssignment, readSubscription, writeAssignment, writeSubscription } from "../src/kafka/assignor.js";

test("partitions are dealt in turn, to members in the order of their ids", () => {
  const members = [
    { memberId: "b", topics: ["jobs"] },
    { memberId: "a", topics: ["jobs"] },
  ];
  const shares = assign(members, new Map([["jobs", 5]]));
  assert.deepEqual(shares.get("a")?.get("jobs"), [0, 2, 4]);
  assert.deepEqual(shares.get("b")?.get("jobs"), [1, 3]);
});

test("a member gets nothing of topics that it does not read, and every partition has an owner", () => {
  const members = [
    { memberId: "a", topics: ["jobs"] },
    { memberId: "b", topics: ["own"] },
    { memberId: "c", topics: ["jobs", "own"] },
  ];
  const counts = new Map([
    ["jobs", 6],
    ["own", 3],
    ["nobodys", 2],
  ]);
  const shares = assign(members, counts);
  for (const topic of ["jobs", "own"]) {
    const owned = [...shares].flatMap(([, share]) => share.get(topic) ?? []);
    assert.deepEqual(
      owned.sort((one, other) => one - other),
      Array.from({ length: counts.get(topic) ?? 0 }, (_, partition) => partition),
    );
  }
  assert.equal(shares.get("a")?.has("own"), false);
  assert.equal(shares.get("b")?.has("jobs"), false);
});

test("more members than partitions: some have none", () => {
  const members = ["a", "b", "c"].map((memberId) => ({ memberId, topics: ["jobs"] }));
  const shares = assign(members, new Map([["jobs", 2]]));
  assert.deepEqual(
    [...shares].map(([, share]) => share.get("jobs") ?? []),
    [[0], [1], []],
  );
});

test("what is written is read again, and so is what a newer client adds", () => {
  assert.deepEqual(readSubscription(writeSubscription(["jobs", "żółć"])), ["jobs", "żółć"]);
  const newer = Buffer.concat([writeSubscription(["jobs"]), Buffer.from([0, 0, 0, 0, 0, 0, 0, 7])]);
  newer.writeInt16BE(3, 0);
  assert.deepEqual(readSubscription(newer), ["jobs"]);
  const shares = new Map([["jobs", [0, 2]]]);
  assert.deepEqual(readAssignment(writeAssignment(shares)), shares);
  assert.deepEqual(readAssignment(Buffer.alloc(0)), new Map());
});
