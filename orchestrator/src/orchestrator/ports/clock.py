"""Time and chance."""

from __future__ import annotations

from typing import Protocol

from orchestrator.model.run import RunId
from orchestrator.model.times import Time


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Time:
        """Give the time of day. Never less than an earlier answer of the same process."""
        ...

    def monotonic(self) -> int:
        """Give microseconds since some fixed moment; unmoved by changes of the time of day. For leases."""
        ...


class Chance(Protocol):
    """The only source of ids and random numbers."""

    def run_id(self, now: Time) -> RunId:
        """Make a new run id: a UUID of version 7 for this time, never given before."""
        ...

    def draw(self) -> float:
        """Draw a number in [0, 1)."""
        ...
