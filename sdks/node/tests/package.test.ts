/** The package as its users meet it: by its name, from ES modules and from CommonJS. */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));

async function evaluated(...argv: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, argv, { cwd: PACKAGE });
  return stdout.trim();
}

test("an ES module imports it", async () => {
  const program = `
    import { Worker } from "workersdk";
    import { runWorkflow } from "workersdk/testing";
    const worker = new Worker().register("step1", (payload) => "Node processed: " + payload);
    console.log((await runWorkflow(worker, ["step1"], "World")).finalOutput);
  `;
  assert.equal(await evaluated("--input-type=module", "-e", program), "Node processed: World");
});

test("a CommonJS program requires it", async () => {
  const program = `
    const { Worker, Client } = require("workersdk");
    const { runWorkflow } = require("workersdk/testing");
    const worker = new Worker().register("step1", () => new Client("http://h:1").address);
    runWorkflow(worker, ["step1"]).then((run) => console.log(run.finalOutput));
  `;
  assert.equal(await evaluated("--input-type=commonjs", "-e", program), "http://h:1");
});
