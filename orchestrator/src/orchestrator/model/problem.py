"""Errors as they are sent: problem details (RFC 9457)."""

from __future__ import annotations

from typing import Self

import msgspec

from orchestrator.model.errors import FieldError, InvalidRequest, OrchestratorError


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The body of an error answer."""

    type: str
    """A path under which this kind of error is explained."""
    title: str
    """The kind of error, the same words every time."""
    status: int
    """The HTTP status."""
    detail: str = ""
    """What went wrong this time."""
    code: str
    """The kind of error for programs; never changes."""
    errors: tuple[FieldError, ...] = ()
    """The fields that are wrong: where, why, and how to mend it."""


class ParameterInvalid(InvalidRequest):
    """A query parameter or a header has a wrong value."""

    code = "parameter-invalid"
    title = "A parameter is not valid"

    @classmethod
    def of(cls, name: str, reason: str, mend: str) -> Self:
        """Make the error of one parameter."""
        return cls(f"{name}: {reason}", [FieldError(name, reason, mend)])


class FilterMissing(InvalidRequest):
    """A call for many says neither which it means nor, by ``all=true``, that it means all of them."""

    code = "filter-missing"
    title = "It is not said which are meant"
    http_status = 422


class HostRefused(OrchestratorError):
    """The Host or the Origin of a request is not this orchestrator's: a web page somewhere else may be behind it."""

    code = "host-refused"
    title = "The request comes from elsewhere"
    http_status = 403


class PathNotFound(OrchestratorError):
    """No resource of the API has this path; ``/openapi.json`` lists those there are."""

    code = "path-not-found"
    title = "There is nothing here"
    http_status = 404


class RoleMissing(OrchestratorError):
    """The process that was asked does not have the role ``api``; nothing was done. Send the request to one that has."""

    code = "role-missing"
    title = "This process does not serve the API"
    http_status = 421


class HeadTooLarge(OrchestratorError):
    """The line and the headers of the request are longer than they may be."""

    code = "head-too-large"
    title = "The headers are too large"
    http_status = 431


class MethodNotAllowed(OrchestratorError):
    """The path exists, but not for this method; the header Allow lists those it takes."""

    code = "method-not-allowed"
    title = "The method is not allowed"
    http_status = 405


class Fault(OrchestratorError):
    """A bug of the orchestrator; its log says more. The request may be repeated."""

    code = "fault"
    title = "The orchestrator has a fault"
    http_status = 500


class ErrorKind(msgspec.Struct, kw_only=True):
    """What a ``type`` of a problem stands for."""

    code: str
    title: str
    status: int
    meaning: str
    retryable: bool
    """Whether the same request may succeed later."""


def error_kinds() -> dict[str, ErrorKind]:
    """List all kinds of errors by their code."""
    kinds: dict[str, ErrorKind] = {}
    classes = OrchestratorError.__subclasses__()
    while classes:
        kind = classes.pop()
        classes += kind.__subclasses__()
        described = ErrorKind(
            code=kind.code,
            title=kind.title,
            status=kind.http_status,
            meaning=" ".join((kind.__doc__ or "").split()),
            retryable=kind.retry_after is not None or kind.http_status == 500,
        )
        # A subclass that means something to the orchestrator only has the code of its parent, who comes first.
        kinds.setdefault(kind.code, described)
    return dict(sorted(kinds.items()))


def problem_of(error: OrchestratorError) -> Problem:
    """Write an error down."""
    return Problem(
        type=f"/errors/{error.code}",
        title=error.title,
        status=error.http_status,
        detail=error.detail,
        code=error.code,
        errors=error.errors,
    )
