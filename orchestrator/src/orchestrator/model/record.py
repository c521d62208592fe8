"""What travels through the broker: the three fields of the contract, and what else our own workers understand.

Unknown fields are ignored, so that newer workers can talk to older orchestrators.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from orchestrator.model import times
from orchestrator.model.definition import DurationField
from orchestrator.model.job import Job, JobId, parse_job_id
from orchestrator.model.json import Json
from orchestrator.model.times import Duration
from orchestrator.model.trace import PARENT_HEADER, STATE_HEADER, Trace
from orchestrator.model.wire import ErrorBody

_NULL: Final = Raw(b"null")
_ABSENT: Final = Raw(b"")


class _Record(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class JobRecord(_Record, omit_defaults=True):
    """A job; a worker that knows only the first three fields can do it."""

    workflow_run_id: str
    action: str
    payload: Raw
    job_id: str
    attempt: int
    workflow_id: str
    step_index: int
    timeout: float | None = None
    heartbeat_timeout: float | None = None
    alone: bool = False
    details: Raw | UnsetType = UNSET
    """Not ``None``: a union with that would take nothing but null."""


class ResultRecord(_Record):
    """What became of a job. Without ``jobId`` it is the answer of a worker that knows three fields."""

    workflow_run_id: str
    action: str | None = None
    result: Raw = msgspec.field(default_factory=lambda: _NULL)
    job_id: str | None = None
    attempt: int | None = None
    status: Literal["completed", "failed", "released"] = "completed"
    error: ErrorBody | None = None
    details: Raw = msgspec.field(default_factory=lambda: _ABSENT)
    worker_id: str = ""
    started_at: str | None = None


class BeatRecord(_Record):
    """One attempt that a worker has in hand."""

    job_id: str
    attempt: int
    started_at: str | None = None
    details: Raw = msgspec.field(default_factory=lambda: _ABSENT)


class HeartbeatRecord(_Record):
    """A sign of life of a worker."""

    worker_id: str
    actions: list[str] = []
    sdk: str | None = None
    version: str | None = None
    host: str | None = None
    pid: int | None = None
    concurrency: int | None = None
    lease: DurationField | None = None
    heartbeat: DurationField | None = None
    """The longest time between two signs of life, whatever is in hand."""
    capacity: int | None = None
    """How many more jobs it could start now."""
    leaving: bool = False
    in_flight: list[BeatRecord] = []


class StopRecord(_Record):
    """An attempt to be stopped."""

    job_id: str
    attempt: int
    type: Literal["cancel"] = "cancel"
    reason: str = ""


_encode = msgspec.json.Encoder().encode
_job = msgspec.json.Decoder(JobRecord).decode
_stop = msgspec.json.Decoder(StopRecord).decode


def job_value(job: Job) -> bytes:
    """Write the value of a job's record."""
    return _encode(
        JobRecord(
            workflow_run_id=job.run_id,
            action=job.action,
            payload=Raw(job.payload),
            job_id=job.job_id,
            attempt=job.attempt,
            workflow_id=job.workflow_id,
            step_index=job.step,
            timeout=None if job.timeout is None else times.seconds(job.timeout),
            heartbeat_timeout=None if job.heartbeat_timeout is None else times.seconds(job.heartbeat_timeout),
            alone=job.alone,
            details=UNSET if job.details is None else Raw(job.details),
        )
    )


def job_headers(job: Job, home: Iterable[tuple[str, bytes]]) -> list[tuple[str, str | bytes | None]]:
    """Write the headers of a job's record; the action comes first, where workers look before they read the value.

    Args:
        job: what is to be done.
        home: the header that says where its result is read, where there is one.
    """
    headers: list[tuple[str, str | bytes | None]] = [
        ("wf-action", job.action.encode()),
        ("wf-job-id", job.job_id.encode()),
        ("wf-run-id", job.run_id.encode()),
        ("wf-attempt", b"%d" % job.attempt),
        ("content-type", b"application/json"),
    ]
    if job.alone:
        headers.append(("wf-alone", b"1"))
    headers += home
    if job.trace is not None:
        headers += job.trace.headers()
    return headers


def read_job(value: bytes, headers: Iterable[tuple[str, bytes | None]] = ()) -> Job:
    """Read a job's record.

    Raises:
        ValueError: it is not a job that an orchestrator has written.
    """
    try:
        record = _job(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
    place = parse_job_id(record.job_id)
    if place != (record.workflow_run_id, record.step_index):
        raise ValueError("its jobId is not that of its run and step")
    return Job(
        job_id=JobId(record.job_id),
        run_id=place[0],
        workflow_id=record.workflow_id,
        step=record.step_index,
        attempt=record.attempt,
        action=record.action,
        payload=Json(bytes(record.payload)),
        timeout=_duration(record.timeout),
        heartbeat_timeout=_duration(record.heartbeat_timeout),
        alone=record.alone,
        details=None if record.details is UNSET else Json(bytes(record.details)),
        trace=_trace(headers),
    )


def _trace(headers: Iterable[tuple[str, bytes | None]]) -> Trace | None:
    """Take the trace of headers that an orchestrator has written, which has checked it."""
    found = {name: value for name, value in headers if name in (PARENT_HEADER, STATE_HEADER) and value is not None}
    parent = found.get(PARENT_HEADER)
    if parent is None:
        return None
    # Whatever somebody else made of the headers: a job is worth more than its trace.
    return Trace(parent.decode(errors="replace"), found.get(STATE_HEADER, b"").decode(errors="replace"))


def _duration(seconds: float | None) -> Duration | None:
    return None if seconds is None else times.parse_duration(seconds)


def read_stop(value: bytes) -> StopRecord:
    """Read the value of a record that stops an attempt.

    Raises:
        ValueError: it is something else.
    """
    try:
        return _stop(value)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from None
