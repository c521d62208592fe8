/** What the README names is there. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import * as workersdk from "../src/index.js";
import * as testing from "../src/testing.js";
import { CONCURRENCY_DEFAULT, DRAIN_TIMEOUT_S_DEFAULT } from "../src/worker.js";

const PACKAGE = new URL("../../", import.meta.url);
const README = readFileSync(new URL("README.md", PACKAGE), "utf8");

test("what a block imports is exported", () => {
  for (const [, names = "", entry] of README.matchAll(/import \{ ([^}]+) \} from "(workersdk(?:\/testing)?)"/g)) {
    const known = Object.keys(entry === "workersdk" ? workersdk : testing);
    for (const name of names.split(", ")) assert.ok(known.includes(name), name);
  }
});

test("every file is in the table", () => {
  const files = readdirSync(new URL("src", PACKAGE), { recursive: true }) as string[];
  const names = files
    .filter((name) => name.endsWith(".ts") && !name.startsWith("transport/"))
    .map((name) => name.replace(/^.*\//, ""));
  const left = names.filter((name) => !["index.ts", "version.ts"].includes(name) && !README.includes(`\`${name}\``));
  assert.deepEqual(left, []);
});

test("every option of a worker is in the table, with its default", () => {
  const source = readFileSync(new URL("src/worker.ts", PACKAGE), "utf8");
  const [, options = ""] = /interface WorkerOptions \{([\s\S]*?)\n\}/.exec(source) ?? [];
  const names = [...options.matchAll(/readonly (\w+)\?:/g)].map(([, name]) => name);
  assert.ok(names.length >= 5);
  assert.deepEqual(
    names.filter((name) => !README.includes(`| \`${name}\` |`)),
    [],
  );
  assert.ok(README.includes(`| \`concurrency\` | ${CONCURRENCY_DEFAULT} |`));
  assert.ok(README.includes(`| \`drainTimeout\` | ${DRAIN_TIMEOUT_S_DEFAULT} s |`));
});

test("every call of the client and every part of the context is named", () => {
  const calls = Object.getOwnPropertyNames(workersdk.Client.prototype);
  const left = calls.filter(
    (name) =>
      !["constructor", "address"].includes(name) &&
      !README.includes(`\`${name}\``) &&
      !README.includes(`client.${name}(`),
  );
  assert.deepEqual(left, []);
  const source = readFileSync(new URL("src/handlers.ts", PACKAGE), "utf8");
  const parts = [...source.matchAll(/^ {2}(?:get )?(\w+)\([^)]*\): /gm)].map(([, name]) => name);
  assert.deepEqual(
    parts.filter((name) => !README.includes(`\`${name}`)),
    [],
  );
});

test("the version is that of the package", () => {
  const { version } = JSON.parse(readFileSync(new URL("package.json", PACKAGE), "utf8")) as { version: string };
  assert.equal(workersdk.VERSION, version);
});
