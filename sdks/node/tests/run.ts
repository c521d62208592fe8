/**
 * Runs the tests: all of them, or those whose file names have one of the words that are given.
 *
 * The servers that they need are those of this repository: an orchestrator of its own for `real/`, one on Kafka and
 * PostgreSQL for `kafka/`. They are started once, for all files.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));
const PYTHON = fileURLToPath(new URL("../../../../orchestrator/.venv/bin/python", import.meta.url));
const TEST_MS_MAX = 60_000;
const AGAIN_MAX = 2;

const words = process.argv.slice(2);
const files = (readdirSync(HERE, { recursive: true }) as string[])
  .filter((name) => name.endsWith(".test.js") && (words.length === 0 || words.some((word) => name.includes(word))))
  .sort();
const wanted = [
  ...(files.some((name) => name.startsWith("real/")) ? ["embedded"] : []),
  ...(files.some((name) => name.startsWith("kafka/")) ? ["distributed"] : []),
];

const services = wanted.length === 0 ? undefined : startServices();
const environment = services === undefined ? {} : await toldBy(services);
let failed = await runFiles(files);
for (let again = 1; again <= AGAIN_MAX && failed.length > 0 && failed.every(mayStall); again += 1) {
  process.stdout.write(`RERUN ${failed.join(" ")}\n`);
  failed = await runFiles(failed);
}
if (services !== undefined) {
  services.stdin?.end();
  if (services.exitCode === null) await once(services, "exit");
}
process.exitCode = failed.length === 0 ? 0 : 1;

/** Whether a file starts processes or brokers: a machine that stalls for a minute can fail it. */
function mayStall(name: string): boolean {
  return /^(real|kafka)\/|^leaving/.test(name);
}

/** Run files, and return those of which a test has failed. */
async function runFiles(names: readonly string[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "workersdk-"));
  const told = join(folder, "failed");
  const flags = ["--test-reporter=spec", "--test-reporter-destination=stdout"];
  flags.push(`--test-reporter=${HERE}failures.js`, `--test-reporter-destination=${told}`);
  flags.push("--test-concurrency=2", `--test-timeout=${TEST_MS_MAX}`);
  const tests = spawn(process.execPath, ["--test", ...flags, ...names.map((name) => HERE + name)], {
    stdio: "inherit",
    env: { ...process.env, ...environment },
  });
  const [code] = (await once(tests, "exit")) as [number | null];
  const said = readFileSync(told, "utf8").split("\n");
  rmSync(folder, { recursive: true });
  return code === 0 ? [] : names.filter((name) => said.includes(HERE + name) || said.join("") === "");
}

function startServices(): ChildProcess {
  if (!existsSync(PYTHON)) {
    process.stderr.write(`${PYTHON} is not there: \`make setup\` at the top of the repository makes it\n`);
    process.exit(1);
  }
  return spawn(PYTHON, [`${PACKAGE}tests/services.py`, ...wanted], { stdio: ["pipe", "pipe", "inherit"] });
}

async function toldBy(child: ChildProcess): Promise<Record<string, string>> {
  if (child.stdout !== null) {
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.startsWith("{")) return JSON.parse(line) as Record<string, string>;
    }
  }
  process.stderr.write("the servers for the tests did not start\n");
  process.exit(1);
}
