/**
 * Which partition a record goes to.
 *
 * Rule 1: a result goes to the one that its job names: there reads the process that knows the run.
 * Rule 2: the other results that are sent together go to one partition, those after them to the next: a partition more in a
 *         request costs the broker as much as many records do. Nothing but time depends on a result's partition.
 * Rule 3: a name that the brokers refused, or of which the topic has not so many, is no name.
 */

import { murmur2 } from "@platformatic/kafka";

const DIGITS_MAX = 9;
const [ZERO, NINE] = [0x30, 0x39];

/** What the choice rests on. */
export interface Addressed {
  readonly key: Buffer;
  readonly job?: { readonly resultPartition: number | undefined };
}

/** How records are sent that are sent together. */
export interface Way {
  /** Undefined where the key decides. */
  readonly turn: number | undefined;
  /** Whether the brokers refused what the jobs name. */
  readonly isRefused: boolean;
}

/** Read decimal digits; undefined for everything else that may stand in a header. */
export function readPartition(digits: Buffer | null): number | undefined {
  if (digits === null || digits.length === 0 || digits.length > DIGITS_MAX) return undefined;
  let number = 0;
  for (const digit of digits) {
    if (digit < ZERO || digit > NINE) return undefined;
    number = number * 10 + digit - ZERO;
  }
  return number;
}

/** The partition of a record on a topic that has `count` of them. */
export function partitionOf({ key, job }: Addressed, { turn, isRefused }: Way, count: number): number {
  const named = isRefused ? undefined : job?.resultPartition;
  if (named !== undefined && named < count) return named;
  return (turn ?? murmur2(key) & 0x7fffffff) % count;
}
