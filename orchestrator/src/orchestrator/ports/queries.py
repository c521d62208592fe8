"""What people and pages read. Never used for a decision: an adapter may serve it from a replica."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol, Self

import msgspec

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.status import OPEN_STATUSES, RunStatus
from orchestrator.model.times import Time


class RunRecord(msgspec.Struct, kw_only=True):
    """A run as a list shows it."""

    run_id: RunId
    workflow_id: str
    version: int
    status: RunStatus
    current_step: int
    started_at: Time
    ended_at: Time | None
    input: Json
    output: Json | None
    failure: Failure | None
    place: tuple[int, int]
    """Where it stands in the order of the list; the next page begins after it."""


class StepResult(msgspec.Struct):
    """What a step gave."""

    step: int
    result: Json
    at: Time


class History(msgspec.Struct):
    """Everything that happened to a run, in order."""

    events: list[Event]
    results: list[StepResult]


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs a list shows: those that meet every condition that is given."""

    statuses: tuple[RunStatus, ...] = ()
    workflow_id: str | None = None
    started_from: Time | None = None
    started_to: Time | None = None


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: those that meet every condition that is given."""

    state: DeadLetterState = DeadLetterState.OPEN
    workflow_id: str | None = None
    action: str | None = None
    error_type: str | None = None
    """As `DeadLetter.error_type` has it."""
    created_from: Time | None = None
    created_to: Time | None = None
    """Not at this moment any more."""


class LetterGroup(msgspec.Struct, frozen=True):
    """Dead letters of one workflow and action with one type of error."""

    workflow_id: str
    action: str
    error_type: str
    count: int
    oldest: Time
    newest: Time


class Counts(msgspec.Struct, frozen=True):
    """What is open. A number as large as the most that was asked for means so many, or more."""

    jobs: Mapping[JobState, int]
    """Open attempts; those of the runs that began first, where there are more than were asked for."""
    oldest_pending: Time | None
    """Since when the longest of those in PENDING waits: since what happened last in its run or to it. Only the first
    `PENDING_LOOKED_AT` of them are looked at, those of the runs that began first."""
    runs: Mapping[RunStatus, int]
    """The runs that these jobs belong to: every one that has not ended has some."""
    dead_letters: int
    """Dead letters that wait for a person."""

    @classmethod
    def of(cls, rows: Iterable[Any]) -> Self:
        """Read rows of three: ``job`` or ``run`` with a state and a number, ``letters`` with a number, ``pending`` with
        a time or nothing."""
        jobs = dict.fromkeys(JobState, 0)
        runs = dict.fromkeys(OPEN_STATUSES, 0)
        dead_letters = 0
        oldest_pending: Time | None = None
        for kind, state, value in rows:
            match kind:
                case "job":
                    jobs[JobState(state)] = value
                case "run":
                    runs[RunStatus(state)] = value
                case "letters":
                    dead_letters = value
                case _:
                    oldest_pending = value
        return cls(jobs, oldest_pending, runs, dead_letters)


PENDING_LOOKED_AT: Final = 100
"""See `Counts.oldest_pending`."""


class Connections(msgspec.Struct, frozen=True):
    """The connections of this process to a server, for one use."""

    open: int
    in_use: int
    most: int
    waiting: int
    """Callers that wait for a free one."""


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is for this process; what an adapter does not have, it leaves out."""

    connections: Mapping[str, Connections] = {}
    """By use."""
    bytes: Mapping[str, int] = {}
    """What it takes on disk, by file."""


class Queries(Protocol):
    """Reads of committed state; each answer is consistent in itself."""

    def report(self) -> StoreReport:
        """Say how the store is, without asking it."""
        ...

    async def count(self, most: int) -> Counts:
        """Count what is open, up to so many of each kind: the answer costs no more than that, however much there is."""
        ...

    async def run(self, run_id: RunId) -> RunRecord | None:
        """Read one run."""
        ...

    async def ended(self, run_ids: Collection[RunId]) -> list[RunId]:
        """Give those of the runs that have ended, in any order; unknown ids are left out."""
        ...

    async def history(self, run_id: RunId) -> History:
        """Read the history of a run; empty when there is none."""
        ...

    async def runs(
        self, which: RunFilter, limit: int, after: tuple[int, int] | None, *, payload_bytes_max: int | None
    ) -> tuple[list[RunRecord], bool]:
        """List runs, newest first.

        Args:
            which: conditions.
            limit: how many at most.
            after: the ``place`` of the last run of the page before.
            payload_bytes_max: end the page once inputs and outputs pass this, after one run at least; None reads
                neither (both come as ``null``).

        Returns:
            The runs, and whether there are more.
        """
        ...

    async def results(self, run_ids: list[RunId]) -> dict[RunId, list[StepResult]]:
        """Read the step results of several runs, each in the order they were recorded."""
        ...

    async def workflows(self) -> list[DefinitionVersion]:
        """List the latest version of every workflow, by id."""
        ...

    async def versions(self, workflow_id: str) -> list[DefinitionVersion]:
        """List all versions of a workflow, newest first."""
        ...

    async def dead_letters(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[DeadLetter], bool]:
        """List dead letters, newest first; ``after`` is the id of the last one seen."""
        ...

    async def dead_letter_ids(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[str], bool]:
        """List the ids of dead letters in the order of `dead_letters`, and read no payload."""
        ...

    async def dead_letter_groups(self, which: LetterFilter, limit: int) -> tuple[list[LetterGroup], bool]:
        """Count dead letters by workflow, action and type of error, the most first; and whether there are more."""
        ...

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """Read one dead letter in any state."""
        ...

    async def details(self, run_id: RunId) -> dict[int, Json]:
        """Read what attempts before the current ones said last, by step."""
        ...
