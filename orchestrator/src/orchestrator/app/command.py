"""What may be asked of the pipeline, and what it answers. Each is durable, or refused, when its answer comes."""

from __future__ import annotations

import msgspec

from orchestrator.engine.command import Command
from orchestrator.model.definition import DefinitionVersion, WorkflowDefinition
from orchestrator.model.job import JobRow, Report
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace


class Define(msgspec.Struct, frozen=True):
    """Make a workflow, or a new version of one. Answer: `Defined`."""

    definition: WorkflowDefinition
    digest: str


class Defined(msgspec.Struct, frozen=True):
    """The version that now is the latest."""

    version: DefinitionVersion
    created: bool
    """False when the latest version said the same already."""


class Trigger(msgspec.Struct, frozen=True):
    """Start a run. Answer: `Triggered`, or WorkflowNotFound, or IdempotencyConflict."""

    workflow_id: str
    input: Json
    key: str | None = None
    fingerprint: bytes = b""
    trace: Trace | None = None
    """Not a part of what is asked for: the same key with another trace means the same run, which keeps its own."""


class Triggered(msgspec.Struct, frozen=True):
    """The run that this trigger, or an earlier one with the same key, started."""

    run_id: RunId
    created: bool
    expires_at: Time | None = None
    """Until when the key means this run; None without a key."""


class Record(msgspec.Struct, frozen=True):
    """Record what a worker reports. Answer: a list with None or a `Rejection` for each report."""

    reports: list[Report]

    @property
    def about(self) -> list[Report]:
        """What names the runs."""
        return self.reports


class Direct(msgspec.Struct, frozen=True):
    """Give a run's state machine a command of its own. Answer: True when it changed something, or a `Rejection`.

    For a run that does not exist the answer is `Rejection.UNKNOWN`.
    """

    run_id: RunId
    command: Command
    details: Json | None = None
    """What the attempt's worker said last, to be kept for the next attempt."""
    worker: str | None = None
    """The worker that had the attempt, for the dead letter."""
    lease_until: int | None = None
    """With `StartAttempt`: the time of day at which the lease ends."""


class Requeue(msgspec.Struct, frozen=True):
    """Bring jobs to workers again that the store says wait. Answer: for each whether it still does.

    What was read from the store may have changed since: only here, with the runs locked, is that known.
    """

    rows: list[JobRow]

    @property
    def about(self) -> list[JobRow]:
        """What names the runs."""
        return self.rows


class Redrive(msgspec.Struct, frozen=True):
    """Give a dead letter another chance. Answer: the id of its run, or DeadLetterNotFound, DeadLetterSettled."""

    letter_id: str


class Discard(msgspec.Struct, frozen=True):
    """Settle a dead letter without another chance. Answer: None, or DeadLetterNotFound, DeadLetterSettled."""

    letter_id: str


Request = Define | Trigger | Record | Direct | Requeue | Redrive | Discard
