"""What workers send and get over HTTP (docs/worker-protocol.md).

Unknown fields are ignored here, so that a newer worker can talk to an older orchestrator.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from orchestrator.model.definition import DurationField

_NULL = Raw(b"null")
_ABSENT = Raw(b"")
"""In place of None: a union with it would take nothing but null."""


class _Wire(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class RegisterBody(_Wire):
    """Who a worker is and what it can do."""

    actions: Annotated[list[str], Meta(min_length=1)]
    worker_id: str | None = None
    sdk: Annotated[str, Meta(max_length=128)] | None = None
    version: Annotated[str, Meta(max_length=64)] | None = None
    host: Annotated[str, Meta(max_length=255)] | None = None
    pid: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    concurrency: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    lease: DurationField | None = None


class Registered(_Wire):
    """What a worker has to keep to; durations in seconds."""

    worker_id: str
    lease: float
    heartbeat: float
    wait_max: float
    capacity_max: int
    result_bytes_max: int
    request_bytes_max: int


class ErrorBody(_Wire):
    """What went wrong in a handler."""

    type: str = "Error"
    message: str = ""
    stack: str | None = None
    retryable: bool = True
    retry_after: DurationField | None = None


class ResultBody(_Wire):
    """What became of one job."""

    job_id: str
    attempt: int
    status: Literal["completed", "failed", "released"] = "completed"
    result: Raw = msgspec.field(default_factory=lambda: _NULL)
    error: ErrorBody | None = None
    details: Raw = msgspec.field(default_factory=lambda: _ABSENT)
    """What the next attempt should know, when this one did not complete."""


class ExchangeBody(_Wire):
    """Results out, jobs in."""

    results: list[ResultBody] = []
    capacity: Annotated[int, Meta(ge=0)] = 0
    wait: DurationField = 0


class LooseExchangeBody(_Wire):
    """The same, with results that are looked at one by one: for a call in which one of them is wrong."""

    results: list[Raw] = []
    capacity: Annotated[int, Meta(ge=0)] = 0
    wait: DurationField = 0


class JobOut(_Wire, omit_defaults=True):
    """A job as a worker gets it."""

    job_id: str
    attempt: int
    workflow_run_id: str
    workflow_id: str
    step_index: int
    action: str
    payload: Raw
    lease: float
    timeout: float | None = None
    deadline: str | None = None
    heartbeat_timeout: float | None = None
    alone: bool = False
    details: Raw | UnsetType = UNSET
    traceparent: str | None = None
    tracestate: str = ""


class AttemptRef(_Wire):
    """One attempt of a job."""

    job_id: str
    attempt: int


class Rejected(_Wire):
    """A result that changed nothing."""

    job_id: str | None
    attempt: int | None
    code: str
    reason: str


class ExchangeAnswer(_Wire, omit_defaults=True):
    """What an exchange gives."""

    jobs: list[JobOut] = []
    cancelled: list[AttemptRef] = []
    rejected: list[Rejected] = []
    draining: bool = False


class JobInFlight(_Wire):
    """A job that a worker works on."""

    job_id: str
    attempt: int
    details: Raw = msgspec.field(default_factory=lambda: _ABSENT)


class HeartbeatBody(_Wire):
    """What a worker works on."""

    in_flight: list[JobInFlight] = []


class HeartbeatAnswer(_Wire):
    """What a worker should stop."""

    cancelled: list[AttemptRef]
    unknown: list[AttemptRef]
    draining: bool
