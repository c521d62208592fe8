/**
 * Durations, as everywhere in this system: a number of seconds, or a string with a unit.
 *
 * Inside, all times are milliseconds and say so in their names.
 */

/** A number of seconds (`20`, `0.5`), or a string with a unit (`"500ms"`, `"20s"`, `"5m"`, `"2h"`, `"1d"`). */
export type Duration = number | string;

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d{1,15}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?$/;

/** Read a duration, in milliseconds. Throws a `RangeError` that begins with `what`. */
export function readDuration(value: Duration, what = "a duration"): number {
  if (typeof value === "string") {
    const match = DURATION.exec(value.trim());
    if (match !== null) return Number(match[1]) * (UNITS[match[2] ?? "s"] ?? 0);
  } else if (typeof value === "number" && value >= 0 && value < Number.POSITIVE_INFINITY) {
    return value * 1_000;
  }
  const shown = typeof value === "string" ? JSON.stringify(value) : String(value);
  throw new RangeError(`${what} is a number of seconds or a string such as "500ms", "30s", "5m", not ${shown}`);
}
