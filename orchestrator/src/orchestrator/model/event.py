"""What happened to a run, in the past tense. A run's history is these, appended and never changed.

A run's state is the fold of its events (`engine.run.evolve`), so nothing else has to be stored to know it.
The encoded form is persisted: fields are only ever added at the end, with a default; a tag never gets a new meaning.
"""

from __future__ import annotations

import msgspec

from orchestrator.model.times import Time
from orchestrator.model.trace import Trace


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An error as its handler, or the orchestrator, put it."""

    type: str
    message: str = ""
    stack: str = ""


class _Event(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    # Not looked at by the garbage collector: values of values cannot make a cycle.
    at: Time


class RunStarted(_Event, frozen=True, tag=True, gc=False):
    """A run was accepted."""

    workflow_id: str
    version: int
    deadline: Time | None = None
    trace: Trace | None = None
    """Where the trigger belongs in a distributed trace; None where it came without one."""


class StepQueued(_Event, frozen=True, tag=True, gc=False):
    """An attempt of a step waits for a worker."""

    step: int
    attempt: int
    alone: bool = False


class AttemptStarted(_Event, frozen=True, tag=True, gc=False):
    """A worker took the job."""

    step: int
    attempt: int
    worker: str


class StepCompleted(_Event, frozen=True, tag=True, gc=False):
    """The first result of the current attempt; its payload is stored beside the event."""

    step: int
    attempt: int


class AttemptFailed(_Event, frozen=True, tag=True, gc=False):
    """The handler reported an error, or the attempt's timeout ran out; counts against ``maxRetries``."""

    step: int
    attempt: int
    failure: Failure
    retry_at: Time | None
    timed_out: bool = False
    suspect: bool = False
    """Whether its worker may have died with it: later attempts run alone, as after a loss."""


class AttemptLost(_Event, frozen=True, tag=True, gc=False):
    """The worker gave no sign of life; counts against ``lost_attempts_max``."""

    step: int
    attempt: int
    failure: Failure
    retry_at: Time | None


class AttemptReleased(_Event, frozen=True, tag=True, gc=False):
    """The worker gave the job back unharmed; counts against nothing."""

    step: int
    attempt: int


class StepFailed(_Event, frozen=True, tag=True, gc=False):
    """No attempt is left: the step is a dead letter."""

    step: int
    attempt: int


class StepCancelled(_Event, frozen=True, tag=True, gc=False):
    """The run ended before the step did."""

    step: int
    attempt: int


class RunWaiting(_Event, frozen=True, tag=True, gc=False):
    """Every open step waits for its next attempt."""


class RunResumed(_Event, frozen=True, tag=True, gc=False):
    """A step of a waiting run is queued again."""


class RunCompleted(_Event, frozen=True, tag=True, gc=False):
    """The last step completed; its result is the run's output."""


class RunFailed(_Event, frozen=True, tag=True, gc=False):
    """A step failed for good."""

    step: int
    failure: Failure


class RunCancelled(_Event, frozen=True, tag=True, gc=False):
    """A client cancelled the run."""

    reason: str = ""


class RunTimedOut(_Event, frozen=True, tag=True, gc=False):
    """The workflow's timeout ran out."""


class RunRedriven(_Event, frozen=True, tag=True, gc=False):
    """A person gave a dead letter another chance; its steps have a fresh budget."""

    step: int
    deadline: Time | None = None


Event = (
    RunStarted
    | StepQueued
    | AttemptStarted
    | StepCompleted
    | AttemptFailed
    | AttemptLost
    | AttemptReleased
    | StepFailed
    | StepCancelled
    | RunWaiting
    | RunResumed
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunTimedOut
    | RunRedriven
)
