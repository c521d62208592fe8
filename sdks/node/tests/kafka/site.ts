/** The real orchestrator on Kafka, and workers beside it. */

import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Client, type Worker } from "../../src/index.js";
import { until } from "../conditions.js";

export const servers = process.env.TEST_KAFKA ?? "";
export const client = new Client(process.env.TEST_DISTRIBUTED_URL);

export function fresh(name: string): string {
  return `${name}-${randomUUID().slice(0, 8)}`;
}

/** Workers that run for the length of a play; they must leave in good order. Each says that it is of another group. */
export async function working(workers: readonly Worker[], play: () => Promise<void>): Promise<void> {
  const running = workers.map((worker) => worker.run(servers, fresh("workflow-workers")));
  for (const one of running) one.catch(() => undefined);
  try {
    await play();
  } finally {
    for (const worker of workers) worker.stop();
    await Promise.all(running);
  }
}

/** A process, and what it wrote. */
export class Child {
  output = "";
  readonly ended: Promise<unknown[]>;
  readonly #process;

  constructor(command: string, argv: readonly string[], environment: Record<string, string> = {}) {
    this.#process = spawn(command, argv, {
      env: { ...process.env, KAFKA_BOOTSTRAP_SERVERS: servers, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (text) => {
        this.output += String(text);
      });
    }
    this.ended = once(this.#process, "exit");
  }

  /** Resolve when it has written this. */
  async says(text: string): Promise<void> {
    await until(
      () => {
        if (this.#process.exitCode !== null) throw new Error(`it ended without ${text}: ${this.output}`);
        return this.output.includes(text);
      },
      text,
      30_000,
    );
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}

/** A worker of the Python SDK. */
export function pythonWorker(action: string): Child {
  const script = fileURLToPath(new URL("../../../tests/kafka/python_worker.py", import.meta.url));
  return new Child(process.env.TEST_PYTHON ?? "python3", [script, action]);
}
