"""What processes leave for each other to be faster: any of it may be lost, late, old or forged.

Nothing is ever decided from a hint alone. Without hints everything works, only slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import msgspec

from orchestrator.model.run import RunId
from orchestrator.model.times import Time

VALUE_BYTES_MAX = 256
"""Bytes of a value; a longer one is not given back."""

Condition = Literal["up", "slow", "full", "down"]
"""``full``: what is there can be read, and nothing new is taken."""


class HintsReport(msgspec.Struct):
    """How the place of the hints is, and what has been done with it since the process began."""

    condition: Condition = "down"
    reason: str = "it was not reached yet"
    """Why it is not ``up``, without secrets; empty when it is."""
    is_listening: bool = False
    """Whether what other processes tell arrives here."""
    hits: int = 0
    """Values asked for that were there."""
    misses: int = 0
    """Values asked for that were not there, or could not be asked for."""
    forged: int = 0
    """Values that were there, and that no process of this installation has written so."""
    errors: int = 0
    """Exchanges that failed."""
    kept: int = 0
    """Values written."""
    told: int = 0
    """Ends of runs told to other processes."""
    heard: int = 0
    """Ends of runs heard of from other processes."""
    dropped: int = 0
    """Values and ends of runs that were not handed over."""


class Hints(Protocol):
    """A place that all processes of an installation share. No method raises for the place's sake, or waits long."""

    @property
    def report(self) -> HintsReport:
        """The counters; the same object all the time."""
        ...

    async def recall(self, name: bytes) -> bytes | None:
        """Give what was kept under a name; None where it is not there, or does not come soon (`redis_seconds_max`).

        It may be anything up to `VALUE_BYTES_MAX` bytes: whoever else reaches the place may have written it.
        """
        ...

    def keep(self, name: bytes, value: bytes, until: Time) -> None:
        """Leave a value until a time of day, over what is there, soon; `recall` may not see it at once, or ever."""
        ...

    def tell(self, run_ids: Iterable[RunId]) -> None:
        """Say to the other processes, soon, that runs have ended; each may hear it once, twice, or never."""
        ...

    def listen(self, hear: Callable[[list[RunId]], None]) -> None:
        """Call ``hear`` in the event loop with what other processes tell. One listener; to be set before `run`."""
        ...

    async def run(self) -> None:
        """Keep in touch with the place until cancelled. Before that, nothing is there and nothing is taken."""
        ...
