import assert from "node:assert/strict";
import { test } from "node:test";
import { NotJsonError, parse, stringify } from "../src/json.js";

const faults: readonly (readonly [unknown, RegExp])[] = [
  [{ items: [1, { price: Number.NaN }] }, /^\$\.items\[1\]\.price is NaN, which JSON cannot carry$/],
  [[Number.POSITIVE_INFINITY], /^\$\[0\] is Infinity/],
  ["\ud800", /^\$ holds a lone surrogate/],
  [{ "\udc00": 1 }, /has a key with a lone surrogate/],
  [new Map([[1, 2]]), /^\$ is a Map/],
  [{ set: new Set() }, /^\$\.set is a Set/],
  [Promise.resolve(1), /^\$ is a Promise/],
  [new Error("no"), /^\$ is a Error/],
  [Buffer.from("x"), /^\$ is a Buffer/],
  [{ call: () => 1 }, /^\$\.call is a function/],
  [Symbol("s"), /^\$ is a symbol/],
];

for (const [value, message] of faults) {
  test(`refused: ${String(message)}`, () => {
    assert.throws(() => stringify(value), { name: "NotJsonError", message });
  });
}

test("what holds itself is refused", () => {
  const value: Record<string, unknown> = {};
  value.self = value;
  assert.throws(() => stringify(value), NotJsonError);
});

test("everything else is written as JSON.stringify does", () => {
  const value = {
    text: 'é"\\\n\u2028🎉',
    numbers: [0, -0, 1.5, 1e21, 2 ** 53, -1e-7],
    nothing: [null, undefined],
    left: undefined,
    date: new Date(0),
    nested: [[], {}, { a: [true, false] }],
  };
  assert.equal(stringify(value), JSON.stringify(value));
  assert.equal(stringify(undefined), "null");
});

test("an integer that a number cannot hold is a bigint, and nothing else is", () => {
  const text =
    '{"a":12345678901234567890,"b":[-9007199254740993],"c":1.10,"d":9007199254740991,"e":"12345678901234567"}';
  const value = parse(text) as Record<string, unknown>;
  assert.deepEqual(value, {
    a: 12345678901234567890n,
    b: [-9007199254740993n],
    c: 1.1,
    d: 9007199254740991,
    e: "12345678901234567",
  });
  assert.equal(stringify(value), text.replace("1.10", "1.1"));
});

test("the slow way reads what the quick one reads", () => {
  const long = "1234567890123456.5";
  const texts = [
    `{"a" : [ ${long} , "x\\"y\\\\" , "\\u00e9]}" , {} , [ ] , true , null , -1.5e3 ]\n, "__proto__" : {"b":1} }`,
    `[${long}]`,
    ` "${long}" `,
    long,
  ];
  for (const text of texts) assert.deepEqual(parse(text), JSON.parse(text));
});

test("what is no JSON is refused", () => {
  for (const text of ["", "{", '{"a":12345678901234567,}', "[1,]", "12345678901234567 1", "NaN"]) {
    assert.throws(() => parse(text), SyntaxError);
  }
});
