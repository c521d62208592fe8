/**
 * JSON as it travels: exact, strict, and with a place in every complaint.
 *
 * Rule 1: what leaves is JSON that every reader understands; NaN, Infinity and lone surrogates are not. What
 *         `JSON.stringify` would silently turn into nothing, such as a Map, a function or a Promise, is refused.
 * Rule 2: integers keep all their digits: one that a number cannot hold is read as a bigint, and a bigint is written
 *         as an integer.
 */

const DEPTH_MAX = 200;
const MAY_HOLD_BIG = /\d{16}/;

/** A value cannot be written as JSON. The message says what is wrong, and where as a path from `$`. */
export class NotJsonError extends Error {
  override readonly name = "NotJsonError";
}

class Fault extends Error {
  readonly path: string[] = [];
}

/** Write a value as compact JSON. Throws `NotJsonError`. */
export function stringify(value: unknown): string {
  try {
    return write(value, "", 0) ?? "null";
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const path = `$${error.path.join("")}`;
    throw new NotJsonError(`${path.length > 100 ? `${path.slice(0, 100)}…` : path} ${error.message}`);
  }
}

/** Read JSON. Throws `SyntaxError`. */
export function parse(text: string): unknown {
  const value: unknown = JSON.parse(text);
  // Reading twice is for the few texts with a number that long; JSON.parse has shown that it is well formed.
  return MAY_HOLD_BIG.test(text) ? new BigReader(text).read() : value;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Read JSON from UTF-8. Throws a `SyntaxError` or a `TypeError`. */
export function parseBytes(bytes: Uint8Array): unknown {
  return parse(decoder.decode(bytes));
}

/** Tell a JSON object from everything else. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function write(given: unknown, key: string, depth: number): string | undefined {
  let value = given;
  if (depth > DEPTH_MAX) throw new Fault(`is nested more than ${DEPTH_MAX} deep, or holds itself`);
  if (typeof value === "object" && value !== null) {
    if (ArrayBuffer.isView(value)) throw new Fault(`is a ${value.constructor.name}, which JSON cannot carry`);
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === "function") value = toJSON.call(value, key) as unknown;
  }
  switch (typeof value) {
    case "string":
      if (!value.isWellFormed()) throw new Fault("holds a lone surrogate, which UTF-8 cannot carry");
      return JSON.stringify(value);
    case "number":
      if (!Number.isFinite(value)) throw new Fault(`is ${value}, which JSON cannot carry`);
      return String(value);
    case "boolean":
    case "bigint":
      return String(value);
    case "undefined":
      return undefined;
    case "object":
      if (value === null) return "null";
      return Array.isArray(value) ? writeArray(value, depth) : writeObject(value, depth);
    default:
      throw new Fault(`is a ${typeof value}, which JSON cannot carry`);
  }
}

function writeArray(values: readonly unknown[], depth: number): string {
  let text = "";
  let place = 0;
  try {
    for (; place < values.length; place += 1) {
      text += (place === 0 ? "" : ",") + (write(values[place], String(place), depth + 1) ?? "null");
    }
  } catch (error) {
    if (error instanceof Fault) error.path.unshift(`[${place}]`);
    throw error;
  }
  return `[${text}]`;
}

function writeObject(value: object, depth: number): string {
  if (isOpaque(value)) throw new Fault(`is a ${value.constructor.name}, which JSON cannot carry`);
  let text = "";
  let at = "";
  try {
    for (const [name, child] of Object.entries(value)) {
      at = name;
      if (!name.isWellFormed()) throw new Fault("has a key with a lone surrogate, which UTF-8 cannot carry");
      const written = write(child, name, depth + 1);
      if (written !== undefined) text += `${text === "" ? "" : ","}${JSON.stringify(name)}:${written}`;
    }
  } catch (error) {
    if (error instanceof Fault) error.path.unshift(`.${at}`);
    throw error;
  }
  return `{${text}}`;
}

/** What holds its content where JSON does not look. */
function isOpaque(value: object): boolean {
  return (
    value instanceof Map ||
    value instanceof Set ||
    value instanceof Promise ||
    value instanceof Error ||
    value instanceof RegExp ||
    value instanceof ArrayBuffer ||
    value instanceof WeakMap ||
    value instanceof WeakSet
  );
}

/** Reads a text that is known to be JSON, and keeps long integers whole. */
class BigReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): unknown {
    this.#skip();
    const first = this.#text[this.#at];
    if (first === "{") return this.#object();
    if (first === "[") return this.#array();
    if (first === '"') return this.#string();
    return this.#scalar();
  }

  #skip(): void {
    while (" \t\n\r".includes(this.#text.charAt(this.#at)) && this.#at < this.#text.length) this.#at += 1;
  }

  #object(): unknown {
    const found: Record<string, unknown> = {};
    this.#at += 1;
    this.#skip();
    while (this.#text[this.#at] !== "}") {
      const key = this.#string();
      this.#skip();
      this.#at += 1; // the colon
      // Like JSON.parse: also `__proto__` is a property and nothing else.
      Object.defineProperty(found, key, { value: this.read(), writable: true, enumerable: true, configurable: true });
      this.#next();
    }
    this.#at += 1;
    return found;
  }

  #array(): unknown {
    const found: unknown[] = [];
    this.#at += 1;
    this.#skip();
    while (this.#text[this.#at] !== "]") {
      found.push(this.read());
      this.#next();
    }
    this.#at += 1;
    return found;
  }

  #next(): void {
    this.#skip();
    if (this.#text[this.#at] === ",") this.#at += 1;
    this.#skip();
  }

  #string(): string {
    const start = this.#at;
    let end = start;
    let slashes: number;
    do {
      end = this.#text.indexOf('"', end + 1);
      slashes = 0;
      while (this.#text[end - 1 - slashes] === "\\") slashes += 1;
    } while (slashes % 2 === 1);
    this.#at = end + 1;
    return JSON.parse(this.#text.slice(start, end + 1)) as string;
  }

  #scalar(): unknown {
    const start = this.#at;
    while (this.#at < this.#text.length && !",]} \t\n\r".includes(this.#text.charAt(this.#at))) this.#at += 1;
    const text = this.#text.slice(start, this.#at);
    const value: unknown = JSON.parse(text);
    if (typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(text)) return BigInt(text);
    return value;
  }
}
