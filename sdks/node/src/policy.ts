/** When a failed attempt is followed by another: what docs/rest-api.md says, without jitter. */

import { type Duration, readDuration } from "./duration.js";
import { isObject } from "./json.js";
import type { Failure } from "./outcomes.js";

const DOUBLINGS_MAX = 62;

export interface RetryPolicy {
  /** After the first attempt. */
  readonly maxRetries: number;
  readonly delayMs: number;
  readonly backoff: "fixed" | "exponential";
  readonly maxDelayMs: number;
  readonly nonRetryable: readonly string[];
}

export const POLICY_DEFAULT: RetryPolicy = {
  maxRetries: 3,
  delayMs: 1_000,
  backoff: "fixed",
  maxDelayMs: Number.POSITIVE_INFINITY,
  nonRetryable: [],
};

/** A policy with the fields that a definition's `retry` names replaced. Throws a `RangeError`. */
export function refinePolicy(policy: RetryPolicy, body: unknown): RetryPolicy {
  if (!isObject(body)) return policy;
  const { maxRetries, delay, backoff, maxDelay, nonRetryable } = body;
  const chosen = backoff ?? policy.backoff;
  if (chosen !== "fixed" && chosen !== "exponential") {
    throw new RangeError(`backoff is "fixed" or "exponential", not ${JSON.stringify(chosen)}`);
  }
  const duration = (value: unknown, known: number): number =>
    value === undefined || value === null ? known : readDuration(value as Duration);
  return {
    maxRetries: typeof maxRetries === "number" ? maxRetries : policy.maxRetries,
    delayMs: duration(delay, policy.delayMs),
    backoff: chosen,
    maxDelayMs: duration(maxDelay, policy.maxDelayMs),
    nonRetryable: Array.isArray(nonRetryable) ? nonRetryable.map(String) : policy.nonRetryable,
  };
}

/** The milliseconds before the next attempt after so many failures; undefined when there is no next attempt. */
export function nextDelay(policy: RetryPolicy, failure: Failure, failures: number): number | undefined {
  const isLast = failure.isRetryable === false || policy.nonRetryable.includes(failure.type);
  if (isLast || failures > policy.maxRetries) return undefined;
  if (failure.retryAfter !== undefined) return failure.retryAfter * 1_000;
  const factor = policy.backoff === "exponential" ? 2 ** Math.min(failures - 1, DOUBLINGS_MAX) : 1;
  return Math.min(policy.delayMs * factor, policy.maxDelayMs);
}
