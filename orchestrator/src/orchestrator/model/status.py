"""The states of runs, steps and attempts. Each says what it means and who moves it on."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RunStatus(StrEnum):
    """Where a run is in its life."""

    RUNNING = "RUNNING"
    """A step is queued or being done. A worker's report moves it on; so do a cancel request and the run's timeout."""
    WAITING = "WAITING"
    """Every open step waits for its next attempt. The timer service moves it on when the first of them is due."""
    COMPLETED = "COMPLETED"
    """Every step completed. Final."""
    FAILED = "FAILED"
    """A step failed for good. Final, but for a person who redrives its dead letter."""
    CANCELLED = "CANCELLED"
    """A client cancelled it. Final."""
    TIMED_OUT = "TIMED_OUT"
    """The workflow's own timeout ran out. Final."""


OPEN_STATUSES: Final = (RunStatus.RUNNING, RunStatus.WAITING)


class StepStatus(StrEnum):
    """Where a step is within its run."""

    PENDING = "PENDING"
    """Not reached. The completion of the steps it depends on moves it on."""
    QUEUED = "QUEUED"
    """An attempt waits for a worker. A worker that takes the job moves it on."""
    RUNNING = "RUNNING"
    """A worker has it. The worker's report moves it on, or its lease, or the step's timeout."""
    BACKING_OFF = "BACKING_OFF"
    """The last attempt failed and the next has a time. The timer service moves it on."""
    COMPLETED = "COMPLETED"
    """Its result is recorded. Final."""
    FAILED = "FAILED"
    """It is a dead letter. A person who redrives that moves it on."""
    CANCELLED = "CANCELLED"
    """Its run ended before it did. The redrive of the run's dead letter moves it on."""


class AttemptStatus(StrEnum):
    """How one attempt of a step went; those that are not open are final."""

    QUEUED = "QUEUED"
    """Waits for a worker."""
    RUNNING = "RUNNING"
    """A worker has it."""
    COMPLETED = "COMPLETED"
    """Its result was recorded."""
    FAILED = "FAILED"
    """The handler reported an error."""
    TIMED_OUT = "TIMED_OUT"
    """The step's start-to-close timeout ran out."""
    LOST = "LOST"
    """Its worker gave no sign of life for as long as the lease, or the step's heartbeat timeout."""
    RELEASED = "RELEASED"
    """The worker gave it back unharmed; it counts against no limit."""
    CANCELLED = "CANCELLED"
    """The run ended before it did."""
