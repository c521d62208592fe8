"""What may be asked of a run (commands), and what a decision asks of the world (effects)."""

from __future__ import annotations

import msgspec

from orchestrator.model.event import Event, Failure
from orchestrator.model.run import RunId
from orchestrator.model.times import Duration, Time
from orchestrator.model.trace import Trace


class StartRun(msgspec.Struct, frozen=True):
    """Begin a run; its id is the caller's."""

    run_id: RunId
    trace: Trace | None = None


class StartAttempt(msgspec.Struct, frozen=True):
    """Record that a worker took the job."""

    step: int
    attempt: int
    worker: str
    started_at: Time


class CompleteAttempt(msgspec.Struct, frozen=True):
    """Record a result. ``started_at`` is given when the start was not recorded before."""

    step: int
    attempt: int
    worker: str = ""
    started_at: Time | None = None


class FailAttempt(msgspec.Struct, frozen=True):
    """Record an error. ``draw`` in [0, 1) is the caller's random number for the jitter."""

    step: int
    attempt: int
    failure: Failure
    retryable: bool = True
    retry_after: Duration | None = None
    draw: float = 0.0
    worker: str = ""
    started_at: Time | None = None


class ReleaseAttempt(msgspec.Struct, frozen=True):
    """Take a job back unharmed and queue it again."""

    step: int
    attempt: int
    worker: str = ""
    started_at: Time | None = None


class TimeOutAttempt(msgspec.Struct, frozen=True):
    """The start-to-close timeout ran out. ``suspect``: its worker may have died with it."""

    step: int
    attempt: int
    draw: float = 0.0
    suspect: bool = False


class LoseAttempt(msgspec.Struct, frozen=True):
    """The worker gave no sign of life."""

    step: int
    attempt: int
    reason: str
    lost_attempts_max: int
    draw: float = 0.0


class StartRetry(msgspec.Struct, frozen=True):
    """The time of the next attempt has come. ``attempt`` is the one that failed."""

    step: int
    attempt: int


class CancelRun(msgspec.Struct, frozen=True):
    """End the run; no new step starts."""

    reason: str = ""


class TimeOutRun(msgspec.Struct, frozen=True):
    """The workflow's timeout ran out."""


class RedriveStep(msgspec.Struct, frozen=True):
    """Give the steps of a failed run another chance."""

    step: int


Command = (
    StartAttempt
    | CompleteAttempt
    | FailAttempt
    | ReleaseAttempt
    | TimeOutAttempt
    | LoseAttempt
    | StartRetry
    | CancelRun
    | TimeOutRun
    | RedriveStep
)


class Dispatch(msgspec.Struct, frozen=True):
    """Give a worker this attempt."""

    step: int
    attempt: int
    action: str
    input_of: int | None
    alone: bool = False


class Backoff(msgspec.Struct, frozen=True):
    """Send `StartRetry` at this time."""

    step: int
    attempt: int
    until: Time


class Settle(msgspec.Struct, frozen=True):
    """Nothing is open for this step any more."""

    step: int


class Withdraw(msgspec.Struct, frozen=True):
    """Take the attempt back from whoever has it: its result would be ignored."""

    step: int
    attempt: int


class DeadLetterStep(msgspec.Struct, frozen=True):
    """Keep the job for a person: no attempt is left."""

    step: int
    attempt: int
    attempts: int
    failure: Failure


Effect = Dispatch | Backoff | Settle | Withdraw | DeadLetterStep


class Decision(msgspec.Struct, frozen=True):
    """What happened, and what has to happen in the world once that is durable."""

    events: tuple[Event, ...]
    effects: tuple[Effect, ...] = ()


NOTHING = Decision(())
"""The command came too late to matter."""
