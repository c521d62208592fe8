"""Times and durations: microseconds inside, ISO 8601 and units outside.

A *time* is whole microseconds since 1970-01-01 UTC. A *duration* is whole microseconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NewType

Time = NewType("Time", int)
"""Microseconds since 1970-01-01T00:00:00 UTC."""
Duration = NewType("Duration", int)
"""Microseconds."""

MICROS: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_UNITS: Final = {"ms": 1_000, "s": MICROS, "m": 60 * MICROS, "h": 3_600 * MICROS, "d": 86_400 * MICROS}
_IN_UTC: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{1,6})Z", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.ASCII)


def iso(time: int) -> str:
    """Write a time as ISO 8601 with microseconds and ``Z``."""
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def parse_time(text: str) -> Time:
    """Read an ISO 8601 time; one without an offset is UTC.

    Raises:
        ValueError: not a time, or not between the years 1970 and 9999.
    """
    # What our own workers write, thousands of times a second: they share the second, and differ in its parts.
    if (parts := _IN_UTC.fullmatch(text)) is not None:
        return Time(_micros(parts[1]) + int(parts[2].ljust(6, "0")))
    return Time(_micros(text))


@lru_cache(maxsize=16)
def _micros(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= micros <= _LAST:
        raise ValueError("not between the years 1970 and 9999")
    return micros


def parse_duration(value: float | str) -> Duration:
    """Read a duration: a number of seconds, or a string with one of the units ms, s, m, h, d.

    Raises:
        ValueError: not a duration, negative, or not finite.
    """
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError('a duration is a number of seconds or a string such as "500ms", "30s", "5m", "2h", "1d"')
        return Duration(round(float(match[1]) * _UNITS[match[2] or "s"]))
    if not value >= 0:
        raise ValueError("a duration is not negative")
    if value >= 1e12:
        raise ValueError("a duration is not as long as that")
    return Duration(round(value * MICROS))


def seconds(duration: int) -> float:
    """Give a duration in seconds, as a whole number where it is one."""
    return duration // MICROS if duration % MICROS == 0 else duration / MICROS
