/** Where a worker writes: lines with fields beside them, to any logger that takes both. */

import { debuglog } from "node:util";
import { stringify } from "./json.js";

/** What is known beside the words of a line, such as `{ run, step, attempt }`. */
export type LogFields = Readonly<Record<string, unknown>>;

export type Level = "debug" | "info" | "warn" | "error";

/** Takes lines. `console` is one. */
export type Logger = Readonly<Record<Level, (message: string, fields?: LogFields) => void>>;

const debugging = debuglog("workersdk");

/** Writes to stderr, `2026-11-23T10:00:00.000Z INFO workersdk: …`; debug lines with NODE_DEBUG=workersdk. */
export const standardLogger: Logger = {
  debug: (message, fields) => {
    if (debugging.enabled) writeLine("DEBUG", message, fields);
  },
  info: (message, fields) => writeLine("INFO", message, fields),
  warn: (message, fields) => writeLine("WARNING", message, fields),
  error: (message, fields) => writeLine("ERROR", message, fields),
};

/** A logger whose lines carry these fields. */
export function withFields(logger: Logger, fields: LogFields): Logger {
  const line =
    (level: Level) =>
    (message: string, more?: LogFields): void =>
      logger[level](message, more === undefined ? fields : { ...fields, ...more });
  return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
}

function writeLine(level: string, message: string, fields: LogFields = {}): void {
  const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${show(value)}`);
  process.stderr.write(`${new Date().toISOString()} ${level} workersdk: ${message}${pairs.join("")}\n`);
}

function show(value: unknown): string {
  if (typeof value === "string" && /^[^\s"=]+$/.test(value)) return value;
  try {
    return stringify(value);
  } catch {
    return JSON.stringify(String(value));
  }
}
