"""Who is there to do jobs, and has which: what each process knows of its workers, told to all others.

Nothing is decided by it: people look at it. So it may lose what it was told, as in a crash; whoever told it does so
again soon. Times are ages, measured by the adapter's own clock: those of two processes need not agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from orchestrator.model.job import JobRow
from orchestrator.model.times import Duration
from orchestrator.model.worker import About


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """A worker, as the process knows it that heard of it last."""

    worker_id: str
    about: About
    registered_ago: Duration
    """How long it has been known without a gap."""
    seen_ago: Duration
    """How long ago its last sign of life came in."""
    good_for: Duration
    """How much longer it counts as there when nothing more is heard; 0 or less: it does not any more."""
    is_draining: bool = False
    """Whether it was asked to finish and go."""
    has_left: bool = False
    """Whether it has said that it goes."""
    is_full: bool = False
    """Whether it could not start another job when it was last seen; False also where it does not say."""
    is_ours: bool = True
    """Whether this process was the last to tell of it."""


class Roster(Protocol):
    """One process's access to the list. All failures come out as `model.errors.Unavailable`."""

    async def tell(self, workers: Sequence[Presence]) -> list[str]:
        """Put workers on the list, or a newer word about them; each at most once.

        What another process has seen later stays. A worker over Kafka, which any process may hear, keeps the
        time since when it is known for as long as it is there.

        Returns:
            Those of them that somebody has asked to drain (`drain`), and that are not draining yet.
        """
        ...

    async def known(self, within: Duration, limit: int) -> list[Presence]:
        """List workers that were seen within a time, in the order of their ids."""
        ...

    async def find(self, worker_id: str, within: Duration) -> Presence | None:
        """Find one of them."""
        ...

    async def in_hand(self, limit: int, worker_id: str | None = None) -> list[JobRow]:
        """List attempts that the store knows in the hands of workers, or of one of them; the next to run out first.

        Those that this process has handed out itself may be missing, and those that began a moment ago.
        """
        ...

    async def drain(self, worker_id: str) -> bool:
        """Ask for a worker to be drained by the process that tells of it; says whether it is there and over HTTP."""
        ...

    async def forget(self, within: Duration, limit: int) -> int:
        """Remove up to ``limit`` workers that were not seen within a time; says how many."""
        ...
