"""What can go wrong, whose fault it is, and whether trying again helps.

Codes are stable: a client may branch on them. Each class carries its HTTP status, so that the edge needs no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import msgspec


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One wrong field: where it is, why it is wrong, how to mend it."""

    field: str
    reason: str
    mend: str = ""


class OrchestratorError(Exception):
    """The base of all errors that a caller may see; never raised itself."""

    code: ClassVar[str]
    title: ClassVar[str]
    http_status: ClassVar[int]
    retry_after: ClassVar[float | None] = None
    """Seconds after which the same call may succeed; None where it never will."""

    def __init__(self, detail: str = "", errors: Sequence[FieldError] = ()) -> None:
        if type(self) is OrchestratorError:
            raise TypeError("raise a subclass")
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)


class InvalidRequest(OrchestratorError):
    """The caller sent something that can never be accepted."""

    code = "request-invalid"
    title = "The request is not valid"
    http_status = 400


class InvalidJson(InvalidRequest):
    """The body is not JSON that the orchestrator takes."""

    code = "json-invalid"
    title = "The body is not valid JSON"


class InvalidDefinition(InvalidRequest):
    """A workflow definition breaks a rule."""

    code = "definition-invalid"
    title = "The definition is not valid"
    http_status = 422


class InvalidField(InvalidRequest):
    """A field of the body has a wrong type or value."""

    code = "field-invalid"
    title = "A field is not valid"
    http_status = 422


class TooLarge(OrchestratorError):
    """The body or a payload is larger than its limit."""

    code = "too-large"
    title = "The content is too large"
    http_status = 413


class EncodingUnsupported(OrchestratorError):
    """The body is compressed, or encoded otherwise: it is taken as it is only."""

    code = "encoding-unsupported"
    title = "The encoding of the body is not supported"
    http_status = 415


class WorkflowNotFound(OrchestratorError):
    """No workflow has this id, or this version."""

    code = "workflow-not-found"
    title = "There is no such workflow"
    http_status = 404


class RunNotFound(OrchestratorError):
    """No run has this id."""

    code = "run-not-found"
    title = "There is no such run"
    http_status = 404


class WorkerNotFound(OrchestratorError):
    """No worker is registered under this id; register (again)."""

    code = "worker-not-found"
    title = "There is no such worker"
    http_status = 404


class WorkerNotDrainable(OrchestratorError):
    """The worker is not told to go by the orchestrator: it is stopped where it runs."""

    code = "worker-not-drainable"
    title = "The worker cannot be drained from here"
    http_status = 409


class DeadLetterNotFound(OrchestratorError):
    """No dead letter has this id."""

    code = "dead-letter-not-found"
    title = "There is no such dead letter"
    http_status = 404


class RunFinished(OrchestratorError):
    """The run has ended; terminal states absorb."""

    code = "run-finished"
    title = "The run has ended"
    http_status = 409


class IdempotencyConflict(OrchestratorError):
    """The Idempotency-Key was used for a different request."""

    code = "idempotency-conflict"
    title = "The Idempotency-Key belongs to another request"
    http_status = 409

    @classmethod
    def now(cls) -> Self:
        """Make the error, with the field and the mend."""
        reason = "it came with another workflow or another input before"
        wrong = FieldError("Idempotency-Key", reason, "use a new key for a new request, a UUID for example")
        return cls(f"Idempotency-Key: {reason}", [wrong])


class DeadLetterSettled(OrchestratorError):
    """The dead letter was redriven or discarded before."""

    code = "dead-letter-settled"
    title = "The dead letter is settled"
    http_status = 409


class Busy(OrchestratorError):
    """A queue is full; nothing was done."""

    code = "busy"
    title = "The orchestrator is busy"
    http_status = 503
    retry_after = 1.0


class Unavailable(OrchestratorError):
    """The store cannot be reached or is closing; whether the command was recorded is not known: repeat it."""

    code = "unavailable"
    title = "The orchestrator cannot do this now"
    http_status = 503
    retry_after = 1.0


class Contended(Unavailable):
    """Another process was faster; nothing was recorded, for certain. Decided again, the command sees what it wrote."""


class NotWritable(Unavailable):
    """The store can be read and takes nothing: its disk is full, or it is read-only."""


class DataFolderInUse(Exception):
    """Another process has the data folder; two writers on one file would corrupt runs."""


class StoreNotUsable(Exception):
    """The database that a process was given cannot be worked with; the text says why, and what would help."""


class InvariantBroken(AssertionError):
    """A bug: the state machine was asked for something that its callers promise never to ask."""
