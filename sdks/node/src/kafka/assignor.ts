/**
 * Who gets which partitions: Kafka's assignor `roundrobin`, which clients of all languages have.
 *
 * Whichever member leads a group shares out for all, so what is written here is read by other clients: version 0 of the
 * consumer protocol, the one that nobody has anything to add to.
 */

/** The name by which the members of a group agree. */
export const ASSIGNOR = "roundrobin";
const VERSION = 0;

export interface Subscription {
  readonly memberId: string;
  readonly topics: readonly string[];
}

/** What a member says of itself. */
export function writeSubscription(topics: readonly string[]): Buffer {
  return Buffer.concat([int16(VERSION), int32(topics.length), ...topics.map(writeText), int32(0)]);
}

/** The topics that a member of any client and version says. */
export function readSubscription(bytes: Buffer): string[] {
  const reader = new Reader(bytes);
  reader.int16();
  return reader.list(() => reader.text());
}

/** What a member is told. */
export function writeAssignment(partitions: ReadonlyMap<string, readonly number[]>): Buffer {
  const topics = [...partitions].flatMap(([topic, numbers]) => [
    writeText(topic),
    int32(numbers.length),
    ...numbers.map(int32),
  ]);
  return Buffer.concat([int16(VERSION), int32(partitions.size), ...topics, int32(0)]);
}

/** What a leader of any client and version has told. A group with nothing for a member may send nothing. */
export function readAssignment(bytes: Buffer): Map<string, number[]> {
  if (bytes.length < 6) return new Map();
  const reader = new Reader(bytes);
  reader.int16();
  return new Map(reader.list(() => [reader.text(), reader.list(() => reader.int32())]));
}

/** Deal the partitions of all topics to the members that read them, one each in turn. `counts`: partitions by topic. */
export function assign(
  members: readonly Subscription[],
  counts: ReadonlyMap<string, number>,
): Map<string, Map<string, number[]>> {
  const sorted = [...members].sort((one, other) => (one.memberId < other.memberId ? -1 : 1));
  const shares = new Map<string, Map<string, number[]>>(sorted.map(({ memberId }) => [memberId, new Map()]));
  let next = 0;
  for (const topic of [...counts.keys()].sort()) {
    const readers = new Set(sorted.filter(({ topics }) => topics.includes(topic)).map(({ memberId }) => memberId));
    if (readers.size === 0) continue;
    for (let partition = 0; partition < (counts.get(topic) ?? 0); partition += 1) {
      let member = "";
      do {
        member = sorted[next % sorted.length]?.memberId ?? "";
        next += 1;
      } while (!readers.has(member));
      const share = shares.get(member);
      share?.set(topic, [...(share.get(topic) ?? []), partition]);
    }
  }
  return shares;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function writeText(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([int16(bytes.length), bytes]);
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  int16(): number {
    this.#at += 2;
    return this.#bytes.readInt16BE(this.#at - 2);
  }

  int32(): number {
    this.#at += 4;
    return this.#bytes.readInt32BE(this.#at - 4);
  }

  text(): string {
    const length = this.int16();
    this.#at += length;
    return this.#bytes.toString("utf8", this.#at - length, this.#at);
  }

  list<T>(read: () => T): T[] {
    return Array.from({ length: this.int32() }, read);
  }
}
