"""The retry policy of a step: when a failed attempt is followed by another.

Rule 1: this file says what docs/rest-api.md says; the orchestrator decides, this is for tests without one.
Rule 2: it knows no clock and no random number: jitter is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from workersdk.outcomes import Failure

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.ASCII)
_DOUBLINGS_MAX: Final = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """`max_retries` after the first attempt; delays in seconds."""

    max_retries: int = 3
    delay: float = 1.0
    backoff: str = "fixed"
    max_delay: float | None = None
    non_retryable: tuple[str, ...] = ()

    def refined(self, body: Mapping[str, Any] | None) -> RetryPolicy:
        """Return this policy with the fields that a definition's `retry` names replaced. Raises `ValueError`."""
        given = body or {}
        backoff = given.get("backoff") or self.backoff
        if backoff not in ("fixed", "exponential"):
            raise ValueError(f'backoff is "fixed" or "exponential", not {backoff!r}')
        non_retryable = given.get("nonRetryable")
        return RetryPolicy(
            max_retries=int(_given(given, "maxRetries", self.max_retries)),
            delay=parse_duration(_given(given, "delay", self.delay)),
            backoff=backoff,
            max_delay=None
            if (longest := _given(given, "maxDelay", self.max_delay)) is None
            else parse_duration(longest),
            non_retryable=self.non_retryable if non_retryable is None else tuple(non_retryable),
        )

    def next_delay(self, failure: Failure, failures: int) -> float | None:
        """Return the seconds before the next attempt after so many failures; None when there is no next attempt."""
        if not failure.is_retryable or failures > self.max_retries or failure.type in self.non_retryable:
            return None
        if failure.retry_after is not None:
            return failure.retry_after
        delay = self.delay
        if self.backoff == "exponential":
            delay *= 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
        return delay if self.max_delay is None else min(delay, self.max_delay)


def parse_duration(value: float | str) -> float:
    """Read a duration: a number of seconds, or a string such as "500ms", "30s", "5m", "2h". Raises `ValueError`."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                f'a duration is a number of seconds or a string such as "500ms", "30s", "5m", not {value!r}'
            )
        return float(match[1]) * _UNITS[match[2] or "s"]
    if not 0 <= value < float("inf"):
        raise ValueError(f"a duration is a number of seconds from 0 up, not {value!r}")
    return float(value)


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value
