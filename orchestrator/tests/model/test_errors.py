"""Errors that callers see: told apart by codes that never change."""

from __future__ import annotations

import pytest

from orchestrator.model import errors
from orchestrator.model.errors import FieldError, InvariantBroken, OrchestratorError, RunNotFound

VISIBLE = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, OrchestratorError) and kind is not OrchestratorError
]


def test_the_base_of_all_errors_is_not_raised_itself() -> None:
    with pytest.raises(TypeError, match="raise a subclass"):
        OrchestratorError("x")


def test_codes_are_those_that_clients_know() -> None:
    assert {kind.code: kind.http_status for kind in VISIBLE} == {
        "request-invalid": 400,
        "json-invalid": 400,
        "definition-invalid": 422,
        "field-invalid": 422,
        "too-large": 413,
        "encoding-unsupported": 415,
        "workflow-not-found": 404,
        "run-not-found": 404,
        "worker-not-found": 404,
        "worker-not-drainable": 409,
        "dead-letter-not-found": 404,
        "run-finished": 409,
        "idempotency-conflict": 409,
        "dead-letter-settled": 409,
        "busy": 503,
        "unavailable": 503,
    }


@pytest.mark.parametrize("kind", VISIBLE)
def test_only_what_may_pass_says_when_to_come_back(kind: type[OrchestratorError]) -> None:
    assert (kind.retry_after is not None) == (kind.http_status == 503)


def test_an_error_speaks_even_without_a_detail() -> None:
    assert str(RunNotFound()) == "There is no such run"
    assert str(RunNotFound("no run 0192")) == "no run 0192"
    assert RunNotFound("x", [FieldError("runId", "odd")]).errors == (FieldError("runId", "odd"),)


def test_a_bug_of_ours_is_no_error_of_the_caller() -> None:
    assert not issubclass(InvariantBroken, OrchestratorError)
