/** The worker of `examples/node`, which is the documentation's first example, as it stands there. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Child, client, fresh } from "./site.js";

const PACKAGE = new URL("../../../", import.meta.url);
const SOURCE = new URL("../../examples/node/hello.ts", PACKAGE);
// Inside of the package its own name means itself, as it does for one that has installed it.
const FOLDER = new URL("dist/tests/example/", PACKAGE);

after(() => client.close());

test("the example compiles with strict types, and does its step over Kafka", async () => {
  mkdirSync(FOLDER, { recursive: true });
  const copy = fileURLToPath(new URL("worker.ts", FOLDER));
  copyFileSync(SOURCE, copy);
  const compiler = fileURLToPath(new URL("node_modules/typescript/bin/tsc", PACKAGE));
  const flags = ["--ignoreConfig", "--strict", "--module", "nodenext", "--target", "es2023", "--types", "node"];
  await promisify(execFile)(process.execPath, [compiler, ...flags, "--skipLibCheck", copy]);
  const worker = new Child(process.execPath, [copy.replace(/ts$/, "js")]);
  await worker.says("actions: step1, concurrency 10");
  const workflow = fresh("example");
  await client.define(workflow, ["step1"]);
  assert.equal(await client.run(workflow, "World", { timeout: 30 }), "Node processed: World");
  worker.kill("SIGTERM");
  assert.deepEqual(await worker.ended, [0, null]);
  assert.match(worker.output, /^Handling step 1$/m);
});
