"""A job that has no attempt left, kept for a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from orchestrator.model.event import Failure
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace


class DeadLetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "OPEN"
    """It waits for a person, who redrives or discards it."""
    REDRIVEN = "REDRIVEN"
    """Its step was given another chance. Final: a new failure makes a new dead letter."""
    DISCARDED = "DISCARDED"
    """A person decided that it stays failed. Final."""


ERROR_TYPE_CHARS_MAX: Final = 200
"""Characters of an error's type by which dead letters are told apart."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """The job as it was, and why it ended here."""

    id: str
    """``<runId>:<stepIndex>:<attempt>``: one per failed step and life of the run."""
    run_id: RunId
    workflow_id: str
    step: int
    action: str
    attempt: int
    """The last attempt's number."""
    attempts: int
    """How many attempts were made since the start or the last redrive."""
    failure: Failure
    payload: Json
    worker: str | None
    created_at: Time
    state: DeadLetterState = DeadLetterState.OPEN
    settled_at: Time | None = None
    due_at: Time | None = None
    """When its record is written to the broker (again); None without a broker, and once it is written."""
    trace: Trace | None = None
    """The run's, for its record on the broker; None wherever else it is read."""

    @property
    def error_type(self) -> str:
        """The type of the error as groups and filters know it: cut, and without what no database keeps."""
        return error_type_of(self.failure.type)


def error_type_of(text: str) -> str:
    """Give an error's type as groups and filters know it."""
    return text.replace("\0", "")[:ERROR_TYPE_CHARS_MAX]
