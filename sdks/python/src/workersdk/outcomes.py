"""What comes out of an attempt, written as the `results` entries of the worker protocol, and where it waits to be sent.

Rule 1: every attempt ends in exactly one entry.
Rule 2: an entry is written once, where the handler ran, and sent again unchanged when an answer was lost.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from workersdk import codec
from workersdk.errors import NonRetryableError, RetryLater
from workersdk.jobs import Job

MESSAGE_BYTES_MAX: Final = 8 * 1024
STACK_BYTES_MAX: Final = 16 * 1024
TYPE_BYTES_MAX: Final = 256

RESULTS_MAX: Final = 1_000
ENVELOPE_BYTES: Final = 1_024

COMPLETED: Final = "completed"
FAILED: Final = "failed"
RELEASED: Final = "released"

NOT_SERIALIZABLE: Final = "ResultNotSerializable"
TOO_LARGE: Final = "ResultTooLarge"
REFUSED: Final = "ResultRefused"
UNKNOWN_ACTION: Final = "ActionUnknown"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as it is reported. `retry_after` in seconds."""

    type: str
    message: str
    stack: str = ""
    is_retryable: bool = True
    retry_after: float | None = None


class Outcome:
    """One entry for `results`, and the job that it is of."""

    __slots__ = ("body", "job", "status", "tries")

    def __init__(self, job: Job, body: bytes, status: str = COMPLETED) -> None:
        self.job = job
        self.body = body
        self.status = status
        self.tries = 0

    @property
    def is_failure(self) -> bool:
        return self.status is FAILED


class Outbox:
    """A queue from which a call takes as many results as it may carry, and to which they return when it is lost."""

    def __init__(self) -> None:
        self.request_bytes_max = 16 * 1024 * 1024
        self._waiting: deque[Outcome] = deque()
        self._results_max = RESULTS_MAX

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._waiting)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self._waiting.extend(outcomes)

    def take(self) -> list[Outcome]:
        """Take what the next call carries: at least one result if there is any, however large it is."""
        batch: list[Outcome] = []
        room = self.request_bytes_max - ENVELOPE_BYTES
        while self._waiting and len(batch) < self._results_max:
            room -= len(self._waiting[0].body) + 1
            if room < 0 and batch:
                break
            batch.append(self._waiting.popleft())
        return batch

    def put_back(self, batch: Sequence[Outcome]) -> None:
        """Take back what a lost call carried: it goes first again."""
        self._waiting.extendleft(reversed(batch))

    def carry_fewer(self, than: int) -> None:
        """A call with so many results was too much: carry at most half of them from now on."""
        self._results_max = max(1, than // 2)

    def carry_more(self) -> None:
        """A call came through: come back to full calls, by doubling."""
        if self._results_max < RESULTS_MAX:
            self._results_max = min(RESULTS_MAX, self._results_max * 2)


def completed(job: Job, result: Any, result_bytes_max: int) -> Outcome:
    """Write a handler's result; one that cannot be sent becomes a failure that no retry would mend."""
    text = write_result(result, result_bytes_max)
    if isinstance(text, Failure):
        return failed(job, text)
    return Outcome(job, b"".join((job.wire_head(), b',"result":', text, job.wire_tail(is_completed=True))))


def write_result(result: Any, result_bytes_max: int) -> bytes | Failure:
    """Write a result as JSON, or say why it cannot be sent."""
    try:
        text = codec.dumps(result)
    except codec.NotJsonError as error:
        return Failure(NOT_SERIALIZABLE, f"the result cannot be sent: {error}", is_retryable=False)
    if len(text) > result_bytes_max:
        message = f"the result is {len(text)} bytes of JSON; at most {result_bytes_max} are taken"
        return Failure(TOO_LARGE, message, is_retryable=False)
    return text


def failed(job: Job, failure: Failure) -> Outcome:
    """Write a failure."""
    error: dict[str, Any] = {"type": failure.type, "message": failure.message}
    if failure.stack:
        error["stack"] = failure.stack
    if not failure.is_retryable:
        error["retryable"] = False
    if failure.retry_after is not None:
        error["retryAfter"] = failure.retry_after
    return Outcome(job, _unfinished(job, b',"status":"failed","error":' + codec.dumps(error)), FAILED)


def released(job: Job) -> Outcome:
    """Give the job back unharmed: no attempt is counted and another worker gets it at once."""
    return Outcome(job, _unfinished(job, b',"status":"released"'), RELEASED)


def _unfinished(job: Job, fields: bytes) -> bytes:
    """Write an entry with what the attempt said last: it is for the next one."""
    details = b"" if job.details is None else b',"details":' + job.details
    return b"".join((job.wire_head(), fields, details, job.wire_tail(is_completed=False)))


def failure_of(error: BaseException) -> Failure:
    """Say in the protocol's words what an exception of a handler means."""
    is_last = isinstance(error, NonRetryableError)
    return Failure(
        type=_cut(error.type if isinstance(error, NonRetryableError) else type(error).__name__, TYPE_BYTES_MAX),
        message=_cut(_message(error), MESSAGE_BYTES_MAX),
        stack=_cut_front(_stack(error), STACK_BYTES_MAX),
        is_retryable=not is_last,
        retry_after=error.delay if isinstance(error, RetryLater) else None,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"(its message cannot be had: {type(second).__name__})"


def _stack(error: BaseException) -> str:
    # The first frames are this package's way to the handler: they say nothing to the handler's author.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("workersdk."):
        trace = trace.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception as second:
        return f"(its stack cannot be had: {type(second).__name__})"


def _cut(text: str, bytes_max: int) -> str:
    whole = text.encode("utf-8", "backslashreplace")
    if len(whole) <= bytes_max:
        return whole.decode()
    return whole[: bytes_max - 3].decode("utf-8", "ignore") + "…"


def _cut_front(text: str, bytes_max: int) -> str:
    """Keep the end: the innermost frames and the error itself stand there."""
    whole = text.encode("utf-8", "backslashreplace")
    if len(whole) <= bytes_max:
        return whole.decode()
    return "…" + whole[-(bytes_max - 3) :].decode("utf-8", "ignore")
