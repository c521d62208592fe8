"""Every error that this package raises, and the two that a handler raises to say what shall happen next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workersdk.models import Run


class WorkflowError(Exception):
    """The root of everything that this package raises by itself."""


# ---------------------------------------------------------------- raised by handlers


class NonRetryableError(Exception):
    """Raise it in a handler: the attempt has failed, and another attempt would fail too.

    The step fails at once and becomes a dead letter, however many retries its policy has left.
    `type` is what the run shows and what a retry policy's `nonRetryable` is compared with; by default the class name,
    so that a subclass names itself.
    """

    def __init__(self, message: str = "", type: str | None = None) -> None:  # noqa: A002 - the field's name on the wire
        super().__init__(message)
        self.type = type or self.__class__.__name__


class RetryLater(Exception):
    """Raise it in a handler: the attempt has failed, and the next one shall start `delay` seconds from now.

    It counts as an attempt like any other failure; only the delay of the step's policy is replaced.
    """

    def __init__(self, delay: float, message: str = "") -> None:
        if not 0 <= delay < float("inf"):
            raise ValueError(f"RetryLater: delay is a number of seconds from 0 up, not {delay!r}")
        super().__init__(message or f"asked to be tried again in {delay:g} s")
        self.delay = delay


# ---------------------------------------------------------------- raised by a worker


class InvalidUrlError(WorkflowError, ValueError):
    """The address to connect to cannot be read. The message names what is understood."""


class UnsupportedTransportError(WorkflowError):
    """The address is one of a Kafka broker, and the library that speaks to it cannot be imported."""


class SettingError(WorkflowError, ValueError):
    """A setting of the program or of the environment cannot be used. The message names it, never a secret."""


class RegistrationError(WorkflowError):
    """The orchestrator refused this worker. Trying again would not help: mend what `detail` says."""

    def __init__(self, url: str, status: int, title: str, detail: str) -> None:
        super().__init__(f"{url} refused this worker ({status} {title})" + (f": {detail}" if detail else ""))
        self.url = url
        self.status = status
        self.title = title
        self.detail = detail


# ---------------------------------------------------------------- raised by a client


class ConnectionFailedError(WorkflowError, ConnectionError):
    """No answer from the orchestrator, after the retries that are safe for the call."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"no answer from the orchestrator at {url} ({reason}). "
            "Is it running there? Give its address with Client(url) or the environment variable WORKFLOW_URL"
        )
        self.url = url
        self.reason = reason


class ApiError(WorkflowError):
    """The orchestrator answered with an error (application/problem+json, RFC 9457)."""

    def __init__(
        self, status: int, code: str, title: str, detail: str = "", errors: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        lines = [f"{status} {title}" + (f" ({code})" if code else "") + (f": {detail}" if detail else "")]
        for error in errors:
            mend = f" ({error['mend']})" if error.get("mend") else ""
            lines.append(f"  {error.get('field', '')}: {error.get('reason', '')}{mend}")
        super().__init__("\n".join(lines))
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)


class NotFoundError(ApiError):
    """There is no such workflow, run, worker or dead letter (404)."""


class ConflictError(ApiError):
    """The world has moved on: a run that has ended cannot be cancelled, for example (409)."""


class WaitTimeoutError(WorkflowError, TimeoutError):
    """The run had not ended when the time was over. It goes on; `run` is how it stood."""

    def __init__(self, run: Run, timeout: float) -> None:
        waiting = f": {run.waiting_for}" if run.waiting_for else ""
        super().__init__(f"run {run.run_id} is {run.status} after {timeout:g} s{waiting}")
        self.run = run
        self.timeout = timeout


class RunFailedError(WorkflowError):
    """The run ended without a final output. `run` is the whole run, `error` what its last attempt said."""

    def __init__(self, run: Run) -> None:
        cause = f": {run.error.type}: {run.error.message}" if run.error else ""
        super().__init__(f"run {run.run_id} of {run.workflow_id} is {run.status}{cause}")
        self.run = run
        self.error = run.error
