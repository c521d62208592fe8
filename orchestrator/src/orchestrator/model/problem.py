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


class HostRefused(OrchestratorError):
    """The Host or the Origin of a request is not this orchestrator's: a web page somewhere else may be behind it."""

    code = "host-refused"
    title = "The request comes from elsewhere"
    http_status = 403


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
