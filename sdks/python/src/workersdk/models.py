"""What the orchestrator shows of workflows, runs, workers and dead letters.

Every object keeps the JSON that it was read from in `raw`; a field that this version does not know is there.
Times are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from workersdk.codec import parse_time

ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """Why an attempt, and with it a step or a run, failed."""

    type: str
    message: str
    stack: str | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> ErrorInfo:
        return cls(type=str(raw.get("type", "")), message=str(raw.get("message", "")), stack=raw.get("stack"), raw=raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of a step. `status`: QUEUED RUNNING COMPLETED FAILED TIMED_OUT LOST RELEASED CANCELLED."""

    attempt: int
    status: str
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    worker: str | None = None
    error: ErrorInfo | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> Attempt:
        return cls(
            attempt=int(raw.get("attempt", 0)),
            status=str(raw.get("status", "")),
            scheduled_at=_time(raw, "scheduledAt"),
            started_at=_time(raw, "startedAt"),
            finished_at=_time(raw, "finishedAt"),
            worker=raw.get("worker"),
            error=_error(raw),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a run and its attempts, oldest first.

    `status`: PENDING QUEUED RUNNING BACKING_OFF COMPLETED FAILED CANCELLED TIMED_OUT.
    """

    step_index: int
    action: str
    status: str
    attempts: tuple[Attempt, ...] = ()
    next_attempt_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> Step:
        return cls(
            step_index=int(raw.get("stepIndex", 0)),
            action=str(raw.get("action", "")),
            status=str(raw.get("status", "")),
            attempts=tuple(Attempt.from_json(attempt) for attempt in raw.get("attempts") or ()),
            next_attempt_at=_time(raw, "nextAttemptAt"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step returned."""

    action: str
    step_index: int
    result: Any
    timestamp: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> StepResult:
        return cls(
            action=str(raw.get("action", "")),
            step_index=int(raw.get("stepIndex", 0)),
            result=raw.get("result"),
            timestamp=_time(raw, "timestamp"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of a workflow. `status`: RUNNING WAITING COMPLETED FAILED CANCELLED TIMED_OUT.

    `steps` and `waiting_for` (what it waits for, in words) are empty in a list of runs.
    """

    run_id: str
    workflow_id: str
    status: str
    workflow_version: int = 0
    current_step: int = 0
    start_time: datetime | None = None
    end_time: datetime | None = None
    input: Any = None
    final_output: Any = None
    error: ErrorInfo | None = None
    step_results: tuple[StepResult, ...] = ()
    steps: tuple[Step, ...] = ()
    waiting_for: str | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_ended(self) -> bool:
        """Nothing changes this run any more, but for the redrive of a dead letter."""
        return self.status in ENDED

    @classmethod
    def from_json(cls, raw: Json) -> Run:
        return cls(
            run_id=str(raw.get("runId", "")),
            workflow_id=str(raw.get("workflowId", "")),
            status=str(raw.get("status", "")),
            workflow_version=int(raw.get("workflowVersion") or 0),
            current_step=int(raw.get("currentStep") or 0),
            start_time=_time(raw, "startTime"),
            end_time=_time(raw, "endTime"),
            input=raw.get("input"),
            final_output=raw.get("finalOutput"),
            error=_error(raw),
            step_results=tuple(StepResult.from_json(result) for result in raw.get("stepResults") or ()),
            steps=tuple(Step.from_json(step) for step in raw.get("steps") or ()),
            waiting_for=raw.get("waitingFor"),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a run's history. `seq` counts from 1 without a gap."""

    seq: int
    type: str
    at: datetime | None = None
    step_index: int | None = None
    attempt: int | None = None
    worker: str | None = None
    error: ErrorInfo | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> Event:
        return cls(
            seq=int(raw.get("seq", 0)),
            type=str(raw.get("type", "")),
            at=_time(raw, "at"),
            step_index=raw.get("stepIndex"),
            attempt=raw.get("attempt"),
            worker=raw.get("worker"),
            error=_error(raw),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A version of a definition. `steps` are the step objects as the orchestrator shows them, defaults filled in."""

    id: str
    version: int
    description: str = ""
    created_at: datetime | None = None
    steps: tuple[Json, ...] = ()
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> Workflow:
        return cls(
            id=str(raw.get("id", "")),
            version=int(raw.get("version") or 0),
            description=str(raw.get("description") or ""),
            created_at=_time(raw, "createdAt"),
            steps=tuple(raw.get("steps") or ()),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker as the orchestrator sees it. `status`: CONNECTED DRAINING GONE; `transport`: http kafka."""

    worker_id: str
    status: str
    transport: str = "http"
    actions: tuple[str, ...] = ()
    host: str | None = None
    concurrency: int | None = None
    last_seen_at: datetime | None = None
    in_hand: tuple[Json, ...] = ()
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> WorkerInfo:
        return cls(
            worker_id=str(raw.get("workerId", "")),
            status=str(raw.get("status", "")),
            transport=str(raw.get("transport") or "http"),
            actions=tuple(raw.get("actions") or ()),
            host=raw.get("host"),
            concurrency=raw.get("concurrency"),
            last_seen_at=_time(raw, "lastSeenAt"),
            in_hand=tuple(raw.get("inHand") or ()),
            raw=raw,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A job that has no attempt left, kept for a person. `state`: OPEN REDRIVEN DISCARDED."""

    id: str
    run_id: str
    workflow_id: str
    step_index: int
    action: str
    state: str = "OPEN"
    attempts: int = 0
    payload: Any = None
    error: ErrorInfo | None = None
    created_at: datetime | None = None
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_json(cls, raw: Json) -> DeadLetter:
        return cls(
            id=str(raw.get("id", "")),
            run_id=str(raw.get("runId", "")),
            workflow_id=str(raw.get("workflowId", "")),
            step_index=int(raw.get("stepIndex") or 0),
            action=str(raw.get("action", "")),
            state=str(raw.get("state") or "OPEN"),
            attempts=int(raw.get("attempts") or 0),
            payload=raw.get("payload"),
            error=_error(raw),
            created_at=_time(raw, "createdAt"),
            raw=raw,
        )


def _time(raw: Json, name: str) -> datetime | None:
    text = raw.get(name)
    return parse_time(text) if isinstance(text, str) else None


def _error(raw: Json) -> ErrorInfo | None:
    error = raw.get("error")
    return ErrorInfo.from_json(error) if isinstance(error, Mapping) else None
