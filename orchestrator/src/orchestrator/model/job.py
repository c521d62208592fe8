"""Jobs: what goes out to workers, and what comes back."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NewType

import msgspec

from orchestrator.model.event import Failure
from orchestrator.model.json import NULL, Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Duration, Time
from orchestrator.model.trace import Trace

JobId = NewType("JobId", str)
"""``<runId>:<stepIndex>``: the same for every attempt of a step, so a handler can use it as an idempotency key."""


def job_id(run_id: RunId, step: int) -> JobId:
    """Name the job of a step."""
    return JobId(f"{run_id}:{step}")


def parse_job_id(text: str) -> tuple[RunId, int] | None:
    """Read a job id; None when it is not one."""
    run_id, colon, step = text.rpartition(":")
    if not colon or not step.isascii() or not step.isdigit() or len(step) > 10:
        return None
    return RunId(run_id), int(step)


class Job(msgspec.Struct, kw_only=True):
    """One attempt of a step on its way to a worker."""

    job_id: JobId
    run_id: RunId
    workflow_id: str
    step: int
    attempt: int
    action: str
    payload: Json
    timeout: Duration | None = None
    heartbeat_timeout: Duration | None = None
    alone: bool = False
    """An earlier attempt was lost with its worker: it runs with no neighbour that it could harm."""
    details: Json | None = None
    """What the previous attempt said in its last heartbeat."""
    trace: Trace | None = None
    """The run's; on its way only, where a job is in a worker's hands it is not kept."""


class JobState(StrEnum):
    """Where an open attempt is; a row of the store exists as long as the attempt is open."""

    PENDING = "pending"
    """To be handed to a worker: the queue has it, or gets it from the store; a broker gets it again at ``due_at``."""
    SENT = "sent"
    """A broker has it, or a worker that has not been heard of: its heartbeat moves it on, or its group's offsets."""
    LEASED = "leased"
    """A worker has it until ``due_at``; the lease's end moves it on."""
    BACKOFF = "backoff"
    """The next attempt starts at ``due_at``; the timer service moves it on."""


class JobRow(msgspec.Struct, kw_only=True):
    """An open attempt as the store keeps it: outbox, lease and retry timer in one."""

    run_id: RunId
    workflow_id: str
    version: int
    step: int
    attempt: int
    action: str
    state: JobState
    input_of: int | None
    """The step whose result is the payload; None for the run's input."""
    alone: bool = False
    due_at: Time | None = None
    worker: str | None = None
    started_at: Time | None = None
    details: Json | None = None
    timeout: Duration | None = None
    """Start to close; kept where leases are kept in the store."""


ANY_STEP: Final = -1
"""In place of a step's index."""


class Report(msgspec.Struct, kw_only=True):
    """What a worker says became of a job, checked."""

    run_id: RunId
    step: int
    """The step's index; `ANY_STEP` when the worker knows nothing of steps, and names its action only."""
    attempt: int
    outcome: Literal["completed", "failed", "released"]
    result: Json = NULL
    failure: Failure | None = None
    retryable: bool = True
    retry_after: Duration | None = None
    worker: str = ""
    started_at: Time | None = None
    """When the worker took the job, where that is known and not recorded yet."""
    details: Json | None = None
    """What the worker said in its last heartbeat about the job."""
    action: str = ""
    """What was done; asked for only where the step is not known."""
    produced_at: Time | None = None
    """When the worker wrote its answer, by its own clock; asked for only where the step is not known."""


class Rejection(StrEnum):
    """Why a report changed nothing."""

    SUPERSEDED = "attempt-superseded"
    """A later attempt has begun, or this one was never given out."""
    RECORDED = "already-recorded"
    """The step has its result."""
    RUN_FINISHED = "run-finished"
    """The run has ended."""
    UNKNOWN = "job-unknown"
    """No run or no step has this id."""
    INVALID = "result-invalid"
    """The report breaks a rule of the protocol."""
