from __future__ import annotations

import pytest

from orchestrator.cli.app import run
from stack.ports import free_port
from tests.cli.fake import Fake


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert run(["run", "list", "--url", url]) == 1
    assert capsys.readouterr().err == (
        f"error: no orchestrator answers at {url}\n"
        "  why: the connection was refused\n"
        "  next: start one with `orchestrator server`, or pass --url\n"
    )


def test_what_is_not_there_has_its_exit_code(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.problem("GET", "/workflow/run/r-9", 404, "run-not-found", detail="no run has the id r-9")
    assert run(["run", "show", "r-9"]) == 3
    assert capsys.readouterr().err == (
        "error: The title of run-not-found\n"
        "  why: no run has the id r-9\n"
        "  next: see what there is: `orchestrator run list`\n"
    )


def test_each_wrong_field_is_named(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    errors = [{"field": "limit", "reason": "0 is too small", "mend": "ask for 1 or more"}, {"reason": "odd"}]
    fake.problem("GET", "/workflow/runs", 422, "field-invalid", detail="2 fields are wrong", errors=errors)
    assert run(["run", "list"]) == 1
    told = capsys.readouterr().err
    assert "  limit: 0 is too small (ask for 1 or more)\n" in told
    assert "  body: odd\n" in told


def test_a_busy_server_says_when_to_come_back(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workers", {"title": "Busy", "code": "busy"}, status=503, headers={"Retry-After": "1"})
    assert run(["worker", "list"]) == 1
    assert "next: try again in 1 s" in capsys.readouterr().err


def test_an_answer_that_is_no_problem_document(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workers", b"<html>Bad gateway</html>", status=502)
    assert run(["worker", "list"]) == 1
    assert "it answered 502 Bad Gateway" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:port", "http://[::1"])
def test_an_address_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "list", "--url", url]) == 2
    assert "is not an address" in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rum", "list"]) == 2
    assert "rum" in capsys.readouterr().err


def test_a_missing_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "show"]) == 2
    assert "RUN" in capsys.readouterr().err


def test_the_address_needs_no_scheme(fake: Fake) -> None:
    fake.on("GET", "/workers", [])
    assert run(["worker", "list", "--url", fake.url.removeprefix("http://")]) == 0
