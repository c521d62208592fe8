"""What people and pages read. Never used for a decision: an adapter may serve it from a replica."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.event import Event, Failure
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
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


class Queries(Protocol):
    """Reads of committed state; each answer is consistent in itself."""

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
