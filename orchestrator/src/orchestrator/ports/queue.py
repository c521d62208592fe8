"""Jobs on their way from a commit to the workers of this process's gateway."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from orchestrator.model.job import Job
from orchestrator.model.run import RunId


class JobSource(Protocol):
    """Where the gateway takes jobs from."""

    def take(self, actions: Collection[str], most: int) -> list[Job]:
        """Remove and give up to ``most`` jobs of these actions, in the order they came in; none that runs alone."""
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
