"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from orchestrator.model.definition import RetryPolicy
from orchestrator.model.event import Failure
from orchestrator.model.times import MICROS, Duration

_DOUBLINGS_MAX = 62
"""Keeps the number small; the delay is at its maximum long before."""
DELAY_MAX = Duration(366 * 86_400 * MICROS)
"""The longest delay of a policy that names no maximum: a year."""


def retry_delay(
    policy: RetryPolicy, failure: Failure, failures: int, *, retryable: bool, retry_after: Duration | None, draw: float
) -> Duration | None:
    """Give the delay before the next attempt, or None when the step has failed for good.

    Args:
        policy: the step's policy.
        failure: how the attempt failed.
        failures: attempts that have failed by their own error, this one included.
        retryable: what the worker said about it.
        retry_after: a delay the worker asked for in place of the policy's.
        draw: a number in [0, 1), drawn at random by the caller, for the jitter.
    """
    if not retryable or failures > policy.max_retries or failure.type in policy.non_retryable:
        return None
    return retry_after if retry_after is not None else backoff(policy, failures, draw)


def loss_delay(policy: RetryPolicy, losses: int, lost_attempts_max: int, draw: float) -> Duration | None:
    """Give the delay after an attempt was lost with its worker, or None when the step has failed for good."""
    if losses > min(policy.max_retries, lost_attempts_max):
        return None
    return backoff(policy, losses, draw)


def backoff(policy: RetryPolicy, retry: int, draw: float) -> Duration:
    """Give the policy's delay before retry number ``retry`` (from 1), jitter taken off its end."""
    delay: int = policy.delay
    if policy.backoff == "exponential":
        delay <<= min(retry - 1, _DOUBLINGS_MAX)
    delay = min(delay, DELAY_MAX if policy.max_delay is None else policy.max_delay)
    return Duration(round(delay * (1 - policy.jitter * draw)))
