"""The records that a worker and the orchestrator exchange, as bytes. docs/worker-protocol.md says what the fields mean.

| topic | key | value |
|---|---|---|
| `workflow-jobs` | run id | `{"workflowRunId","action","payload","jobId","attempt", …}` |
| `workflow-results` | the job record's key | `{"workflowRunId","action","jobId","attempt","result","status", …}` |
| `workflow-heartbeats` | worker id | `{"workerId", …,"inFlight":[{"jobId","attempt","startedAt","details"?}]}` |
| `workflow-control` | run id | `{"type":"cancel","jobId","attempt","reason"}` |

Rule 1: the headers of a job repeat what its value says, so that a reader can pass over it without reading the value.
Rule 2: three fields (`workflowRunId`, `action`, `payload`) and no headers are a job too; its result says what is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Message

from workersdk import codec
from workersdk.jobs import TRACE_FIELDS, Job
from workersdk.transport import Hello

ACTION: Final = "wf-action"
JOB_ID: Final = "wf-job-id"
ATTEMPT: Final = "wf-attempt"
ALONE: Final = "wf-alone"
RESULT_PARTITION: Final = "wf-result-partition"
ANY_PARTITION: Final = -1
CONTENT_TYPE: Final = ("content-type", b"application/json")

Headers = list[tuple[str, str | bytes | None]]
Place = tuple[str, int]
"""A topic and a partition."""


_ATTEMPTS: Final = tuple((ATTEMPT, b"%d" % attempt) for attempt in range(10))
"""Headers that nearly every result has, made once."""
_TELLING: Final = frozenset({ALONE, RESULT_PARTITION, *TRACE_FIELDS})
"""Headers that say what a value does not."""
_NO_TRACE: Final = ()
PARTITION_DIGITS_MAX: Final = 9


class UndecodableError(Exception):
    """A record on the topic of jobs that is no job."""


class Start(NamedTuple):
    """When jobs were started, the same for all that came together: as it travels, and as their results end."""

    at: str
    completed: bytes
    unfinished: bytes


class KafkaJob(Job):
    """A job that came as a record."""

    __slots__ = (
        "_head",
        "_trace",
        "has_id",
        "is_alone",
        "is_named",
        "key",
        "offset",
        "place",
        "result_partition",
        "size",
        "start",
    )

    def __init__(self, raw: dict[str, Any], message: Message, place: Place, headers: Headers, lease: float) -> None:
        run_id = raw["workflowRunId"]
        if not isinstance(run_id, str):
            raise TypeError("a job names its run")
        self.place = place
        self.offset: int = message.offset()  # type: ignore[assignment] # only an event has none
        self.size = len(message)
        self.has_id = raw["jobId"] is not None if "jobId" in raw and "attempt" in raw else _complete(raw, headers)
        if not self.has_id:
            # The same for every delivery of this record, which is what an idempotency key has to be.
            raw["jobId"], raw["attempt"] = f"{place[0]}:{place[1]}:{self.offset}", 1
        super().__init__(raw, 0.0, lease=lease)
        timeout = self.heartbeat_timeout
        if timeout is not None:
            self.lease = min(float(timeout), lease)
        self.key = message.key() or run_id.encode()
        self.is_alone = raw.get("alone") is True
        self.result_partition = ANY_PARTITION  # where the run is at home
        self._trace: Sequence[tuple[str, bytes]] = _NO_TRACE
        for name, value in headers:
            if name in _TELLING:
                self._add_telling(name, value)
        self.is_named = False
        self.start = NOT_STARTED
        head = f'{{"workflowRunId":{encode_basestring(run_id)},"action":{encode_basestring(raw["action"])}'
        if self.has_id:
            head = f'{head},"jobId":{encode_basestring(self.id)},"attempt":{self.attempt}'
        self._head = head.encode()

    def _add_telling(self, name: str, value: str | bytes | None) -> None:
        if name == RESULT_PARTITION:
            if isinstance(value, bytes) and value.isdigit() and len(value) <= PARTITION_DIGITS_MAX:
                self.result_partition = int(value)
        elif name == ALONE:
            self.is_alone = True
        elif isinstance(value, bytes):
            self._trace = [*self._trace, (name, value)]
            self.raw[name] = value.decode(errors="replace")

    def wire_head(self) -> bytes:
        return self._head

    def wire_tail(self, *, is_completed: bool) -> bytes:
        return self.start.completed if is_completed else self.start.unfinished

    def result_headers(self) -> Headers:
        """Return the headers of the result: what is known of the job."""
        if not self.has_id:
            return [CONTENT_TYPE, *self._trace]
        attempt = self.attempt
        told = _ATTEMPTS[attempt] if 0 <= attempt < len(_ATTEMPTS) else (ATTEMPT, b"%d" % attempt)
        return [(JOB_ID, self.id.encode()), told, CONTENT_TYPE, *self._trace]


def headers_of(message: Message) -> Headers:
    return message.headers() or []  # type: ignore[return-value] # the client's own types leave out half of it


def action_of(headers: Headers, message: Message) -> bytes:
    """Return the action that a record is a job of, from its headers where they say so.

    Raises `UndecodableError` for a record without our headers whose value is no job.
    """
    for name, value in headers:
        if name == ACTION and isinstance(value, bytes):
            return value
    named = _read_value(message).get("action")
    if not isinstance(named, str):
        raise UndecodableError("it names no action")
    return named.encode("utf-8", "surrogatepass")


def read_job(action: str, headers: Headers, message: Message, place: Place, lease: float) -> KafkaJob:
    """Read a job of an action. `lease` in seconds. Raises `UndecodableError`."""
    raw = _read_value(message)
    raw["action"] = action
    try:
        return KafkaJob(raw, message, place, headers, lease)
    except (KeyError, TypeError, ValueError) as error:
        raise UndecodableError(f"{type(error).__name__}: {error}") from None


def start_of(worker_id: str, at: str) -> Start:
    """Say that jobs start now, at this worker; `at` as it travels."""
    tail = f',"workerId":{encode_basestring(worker_id)},"startedAt":"{at}"}}'.encode()
    return Start(at, b',"status":"completed"' + tail, b',"result":null' + tail)


NOT_STARTED: Final = start_of("", "")


class BeatWriter:
    """Writes the heartbeats of one worker. `lease` in seconds; `presence`, the most of them between two heartbeats."""

    def __init__(self, hello: Hello, group: str | None, lease: float, presence: float) -> None:
        about: dict[str, Any] = {
            "workerId": hello.worker_id,
            "sdk": hello.sdk,
            "version": hello.version,
            "host": hello.host,
            "pid": hello.pid,
            "actions": list(hello.actions),
        }
        if group:
            about["group"] = group
        about |= {"concurrency": hello.concurrency, "lease": lease, "heartbeat": presence}
        self._head = codec.dumps(about)[:-1]

    def write(self, in_flight: Iterable[bytes], capacity: int, *, is_leaving: bool = False) -> bytes:
        """Write one heartbeat. `capacity`: how many more jobs could start now."""
        leaving = b"true" if is_leaving else b"false"
        return b'%s,"capacity":%d,"leaving":%s,"inFlight":[%s]}' % (
            self._head,
            capacity,
            leaving,
            b",".join(in_flight),
        )


def write_in_flight(job: KafkaJob, details: bytes | None) -> bytes:
    """Write the entry of a job in a heartbeat. `details` as JSON."""
    more = b"" if details is None else b',"details":' + details
    return b'%s,"startedAt":"%s"%s}' % (Job.wire_head(job), job.start.at.encode(), more)


def read_control(value: bytes | None) -> dict[str, Any] | None:
    """Read a word of the orchestrator that a worker understands; None for every other one."""
    try:
        word = codec.loads(value or b"")
    except ValueError:
        return None
    if not isinstance(word, dict) or word.get("type") != "cancel":
        return None
    is_whole = isinstance(word.get("jobId"), str) and isinstance(word.get("attempt"), int)
    return word if is_whole else None


def now() -> str:
    """Return the time as it travels: ISO 8601, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _read_value(message: Message) -> dict[str, Any]:
    try:
        raw = codec.loads(message.value() or b"")
    except (ValueError, RecursionError) as error:
        raise UndecodableError(str(error)) from None
    if not isinstance(raw, dict):
        raise UndecodableError("it is not a JSON object")
    return raw


def _complete(raw: dict[str, Any], headers: Headers) -> bool:
    """Fill in from the headers what the value leaves out; tell whether the job says which one it is."""
    named = dict(cast("list[tuple[str, bytes]]", headers))
    if "jobId" not in raw and JOB_ID in named:
        raw["jobId"] = named[JOB_ID].decode()
    if "attempt" not in raw and ATTEMPT in named:
        raw["attempt"] = int(named[ATTEMPT])
    if raw.get("jobId") is None:
        return False
    if raw.get("attempt") is None:
        raw["attempt"] = 1
    return True
