/** A worker beside a gateway, for the length of a test. */

import type { LogFields, Logger } from "../src/index.js";
import { Worker, type WorkerOptions } from "../src/index.js";
import { Gateway, type Raw } from "./gateway.js";

/** Keeps what was logged. */
export class Lines implements Logger {
  readonly lines: { readonly level: string; readonly message: string; readonly fields: LogFields | undefined }[] = [];

  debug(message: string, fields?: LogFields): void {
    this.lines.push({ level: "debug", message, fields });
  }

  info(message: string, fields?: LogFields): void {
    this.lines.push({ level: "info", message, fields });
  }

  warn(message: string, fields?: LogFields): void {
    this.lines.push({ level: "warn", message, fields });
  }

  error(message: string, fields?: LogFields): void {
    this.lines.push({ level: "error", message, fields });
  }

  /** The messages of a level that have this text. */
  having(text: string, level?: string): string[] {
    return this.lines
      .filter((line) => line.message.includes(text) && (level === undefined || line.level === level))
      .map((line) => line.message);
  }
}

export interface Scene {
  readonly gateway: Gateway;
  readonly worker: Worker;
  readonly lines: Lines;
  /** Settles when the worker has left. */
  readonly left: () => Promise<number>;
}

/** Play with a worker that runs; it must leave in good order afterwards, unless the play saw to that. */
export async function playing(
  register: (worker: Worker) => void,
  play: (scene: Scene) => Promise<void>,
  { terms = {}, ...options }: WorkerOptions & { terms?: Raw } = {},
): Promise<void> {
  const gateway = new Gateway(terms);
  await gateway.up();
  const lines = new Lines();
  const worker = new Worker({ logger: lines, drainTimeout: 5, ...options });
  register(worker);
  const running = worker.run(gateway.url);
  running.catch(() => undefined); // the play, or the end of this, hears of it
  try {
    await play({ gateway, worker, lines, left: () => running });
  } finally {
    worker.stop();
    try {
      await running;
    } finally {
      await gateway.down();
    }
  }
}
