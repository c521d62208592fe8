"""The state of a run that decisions are made from. It holds open steps only, so a run of a thousand steps costs no more
per step than one of ten."""

from __future__ import annotations

from typing import NewType

import msgspec

from orchestrator.model.event import Failure
from orchestrator.model.status import OPEN_STATUSES, RunStatus, StepStatus
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace

RunId = NewType("RunId", str)
"""A UUID, version 7: sorts by time."""


class OpenStep(msgspec.Struct, frozen=True, array_like=True):
    """A step between its first attempt and its end.

    A store may keep the encoded form: fields are only ever added at the end, with a default.
    """

    status: StepStatus
    """QUEUED, RUNNING or BACKING_OFF; FAILED or CANCELLED when it was halted with its run."""
    attempt: int
    """The current attempt, or the last one while backing off; grows with every attempt and never restarts."""
    failures: int = 0
    """Attempts that failed by their own error since the start or the last redrive."""
    losses: int = 0
    """Attempts that were lost with their worker since the start or the last redrive."""
    retry_at: Time | None = None
    """When the next attempt starts; only while backing off."""
    failure: Failure | None = None
    """How the last attempt went wrong; None before any did."""
    alone: bool = False
    """Whether the current attempt runs alone."""
    suspect: bool = False
    """Whether an attempt timed out in the hands of a worker that may have died with it."""
    queued_at: Time = Time(0)
    """When the current attempt was queued."""

    @property
    def is_suspect(self) -> bool:
        """Whether an attempt was lost with its worker, or may have been, so that the next runs alone."""
        return self.alone or self.suspect or self.losses > 0


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """The fold of a run's events; made by `engine.run.evolve` only."""

    run_id: RunId
    workflow_id: str
    version: int
    status: RunStatus
    started_at: Time
    deadline: Time | None = None
    open: dict[int, OpenStep]
    """Open steps by step index; replaced, never changed in place."""
    joins: dict[int, int]
    """Steps that some but not all of their dependencies have completed for: how many are missing."""
    halted: dict[int, OpenStep]
    """Steps that were open when the run ended, FAILED or CANCELLED: what a redrive starts again."""
    done: int = 0
    """The bits of the steps that have completed (`engine.plan.Plan.bits`)."""
    current_step: int = 0
    """The step index the run is at: of the step queued last."""
    ended_at: Time | None = None
    failure: Failure | None = None
    """Why it failed, or timed out; None otherwise."""
    trace: Trace | None = None
    """What each of its jobs carries; None where the trigger came without one."""

    @property
    def completed(self) -> int:
        """How many steps have completed."""
        return self.done.bit_count()

    @property
    def is_open(self) -> bool:
        """Whether something can still happen by itself."""
        return self.status in OPEN_STATUSES
