"""Jobs on their way from a commit to the workers of this process's gateway."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from orchestrator.model.job import Job
from orchestrator.model.limits import KIB
from orchestrator.model.run import RunId

JOB_HEAD_BYTES: Final = KIB
"""What a job counts for beside its payload and its details: its ids, its action, its times, and their names."""


class Room:
    """What still fits into one answer to a worker."""

    __slots__ = ("_bytes", "_count", "_most", "has_refused")

    def __init__(self, most: int, bytes_max: int = sys.maxsize) -> None:
        """Make room for so many jobs that have so many bytes together."""
        self._most = most
        self._bytes = bytes_max
        self._count = 0
        self.has_refused = False
        """Whether a job was too large for what was left: from then on none fits, so that none is passed over."""

    @property
    def jobs(self) -> int:
        """How many more jobs may fit."""
        return 0 if self.has_refused else self._most - self._count

    def takes(self, job: Job) -> bool:
        """Put a job in if it fits; the first does, whatever its size."""
        if self.jobs <= 0:
            return False
        size = _size(job)
        if size > self._bytes and self._count:
            self.has_refused = True
            return False
        self._bytes -= size
        self._count += 1
        return True

    def put_out(self, job: Job) -> None:
        """Take a job out again: there is room in its place."""
        self._bytes += _size(job)
        self._count -= 1
        self.has_refused = False


def _size(job: Job) -> int:
    return len(job.payload) + (0 if job.details is None else len(job.details)) + JOB_HEAD_BYTES


class JobSource(Protocol):
    """Where the gateway takes jobs from."""

    def take(self, actions: Collection[str], room: Room) -> list[Job]:
        """Remove and give jobs of these actions as far as there is room, in the order they came in; none runs alone.

        One that did not fit is among the first that are given next time.
        """
        ...

    def take_alone(self, actions: Collection[str]) -> Job | None:
        """Remove and give the oldest job of these actions that runs alone."""
        ...

    def waiting_alone(self, actions: Collection[str]) -> int:
        """Count the jobs of these actions that run alone."""
        ...


class JobQueue(JobSource, Protocol):
    """Holds jobs that are durable in the store until a worker takes them.

    Losing it loses nothing: its content is made again from the store's pending rows.
    """

    def publish(self, jobs: Sequence[Job]) -> bool:
        """Add jobs at the end; one that is held already (same run, step and attempt) is not added again.

        Returns:
            False when some did not fit: they stay in the store, and the caller offers them again later.
        """
        ...

    def withdraw(self, run_id: RunId, step: int) -> None:
        """Forget the job of a step, if it is held."""
        ...

    def holds(self, run_id: RunId, step: int) -> bool:
        """Whether a job of this step is held."""
        ...

    def depths(self) -> dict[str, int]:
        """Count the held jobs by action."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether it is worth offering jobs that did not fit before."""
        ...
