"""Open attempts that are on their way through a broker: what was sent, what was taken, what came back to life.

A row goes PENDING -> SENT -> LEASED; most steps are over before the second is written. Any number of processes may
call these methods at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Duration, Time
from orchestrator.ports.broker import Sent, Taken


class Beat(msgspec.Struct, frozen=True):
    """One attempt in a worker's heartbeat."""

    run_id: RunId
    step: int
    attempt: int
    worker: str
    lease: Duration
    """How long the sign of life is good for."""
    details: Json | None = None
    started_at: Time | None = None
    """When the worker began, by its own clock."""


class Outbox(Protocol):
    """All failures come out as `model.errors.Unavailable`."""

    async def note_sent(self, sent: Sequence[Sent]) -> set[RunId]:
        """PENDING -> SENT for the attempts that are still open; the others are passed over.

        Returns:
            The runs that were looked at. One that is being changed just now is not waited for: offer it again.
        """
        ...

    async def unsent(self, now: Time, again: Time, limit: int) -> list[JobRow]:
        """Take rows in PENDING that are due to be sent (again) at ``now``; nobody else gets them before ``again``."""
        ...

    async def actions(self) -> list[str]:
        """List the actions that have rows in SENT."""
        ...

    async def beyond(self, ends: Mapping[tuple[str, int], int], limit: int) -> list[Sent]:
        """Read rows in SENT whose offset is the end of their partition or lies beyond it, the furthest first."""
        ...

    async def send_again(self, lost: Sequence[Sent], now: Time) -> None:
        """SENT -> PENDING, due at ``now``, for the attempts that are still open and still where this says."""
        ...

    async def passed(self, taken: Sequence[Taken], limit: int) -> list[JobRow]:
        """Read rows in SENT whose offset lies before what the readers of their action have taken.

        Where the readers give no signs of life, only those with a timeout: nothing else could ever end the attempt.
        """
        ...

    async def misplaced(self, routes: Mapping[str, str], now: Time, limit: int) -> int:
        """SENT -> PENDING, due at ``now``, for rows on a topic that is not their action's (any more); count them.

        Args:
            routes: the topic of each action that has one to itself, as in `ports.broker.Sent`.
            now: the time of day.
            limit: rows at most.
        """
        ...

    async def renew(self, beats: Sequence[Beat], now: Time) -> list[bool]:
        """Prolong leases, never beyond the attempt's timeout; say for each whether that worker has that attempt."""
        ...

    async def expired(self, now: Time, limit: int) -> list[JobRow]:
        """Read rows in LEASED whose lease or timeout is over at ``now``."""
        ...

    async def unpublished(self, now: Time, again: Time, limit: int) -> list[tuple[DeadLetter, Sent | None]]:
        """Take dead letters whose record is not known to be durable; nobody else gets them before ``again``."""
        ...

    async def place_of(self, letter_id: str) -> Sent | None:
        """Say where the job of a dead letter was; None when that was never noted."""
        ...

    async def note_published(self, letters: Sequence[str]) -> None:
        """The records of these dead letters are durable."""
        ...
