from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.cli.app import run
from orchestrator.cli.complete import complete_dead_letter, complete_run, complete_worker, complete_workflow
from tests.cli.fake import Fake, run_of

LETTER: dict[str, Any] = {
    "id": "d-1",
    "runId": "r-1",
    "workflowId": "order",
    "stepIndex": 1,
    "action": "charge",
    "attempt": 4,
    "attempts": 4,
    "error": {"type": "CardDeclined", "message": "no money", "stack": "line 1\nline 2"},
    "payload": {"id": 7},
    "worker": "w-1",
    "createdAt": "2026-11-23T10:00:00.000000Z",
    "state": "WAITING",
    "settledAt": None,
}
WORKER: dict[str, Any] = {
    "workerId": "w-1",
    "status": "CONNECTED",
    "actions": ["reserve", "charge"],
    "sdk": "workersdk-python",
    "version": "0.1.0",
    "host": "box",
    "pid": 7,
    "concurrency": 10,
    "transport": "http",
    "registeredAt": "2026-11-23T10:00:00.000000Z",
    "lastSeenAt": "2026-11-23T10:00:01.000000Z",
    "inHand": [],
}


def test_dead_letters_are_listed(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/dead-letters", [LETTER])
    assert run(["dlq", "list", "--action", "charge"]) == 0
    line = "d-1\torder\tcharge\t4\t2026-11-23T10:00:00.000000Z\tWAITING\tCardDeclined: no money\n"
    assert capsys.readouterr().out == line
    assert fake.calls[0].query == {"action": ["charge"], "limit": ["100"]}


def test_a_dead_letter_is_shown_with_payload_and_stack(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/dead-letters/d-1", LETTER)
    assert run(["dlq", "show", "d-1"]) == 0
    shown = capsys.readouterr().out
    assert 'payload\t{"id":7}\n' in shown
    assert shown.endswith("line 1\nline 2\n")


def test_redrive_and_discard(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("POST", "/dead-letters/d-1/redrive", run_of("RUNNING"))
    fake.on("DELETE", "/dead-letters/d-1", status=204)
    assert run(["dlq", "redrive", "d-1"]) == 0
    assert run(["dlq", "discard", "d-1"]) == 0
    assert capsys.readouterr().out == "d-1\tredriven\tr-1\nd-1\tdiscarded\n"


def test_groups_are_counted(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    moment = "2026-11-23T10:00:00.000000Z"
    group = {"workflowId": "order", "action": "charge", "errorType": "CardDeclined", "count": 7}
    answer = {"groups": [{**group, "oldest": moment, "newest": moment}], "more": True}
    fake.on("GET", "/dead-letters/groups", answer)
    assert run(["dlq", "groups", "--workflow", "order", "--error", "CardDeclined", "--since", "2026-01-01"]) == 0
    told = capsys.readouterr()
    assert told.out == f"7\torder\tcharge\tCardDeclined\t{moment}\t{moment}\n"
    assert "there are more groups" in told.err
    assert fake.calls[0].query == {"workflow": ["order"], "error": ["CardDeclined"], "from": ["2026-01-01"]}
    assert run(["dlq", "groups", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer


@pytest.mark.parametrize(("verb", "done"), [("redrive", "redriven"), ("discard", "discarded")])
def test_all_of_a_kind_are_settled_part_by_part(
    fake: Fake, capsys: pytest.CaptureFixture[str], verb: str, done: str
) -> None:
    fake.on("POST", f"/dead-letters/{verb}", {"settled": 2, "skipped": 1, "cursor": None})
    assert run(["dlq", verb, "--all", "--workflow", "order", "--action", "charge"]) == 0
    told = capsys.readouterr()
    assert told.out == f"2 {done}\n"
    assert "1 were settled by somebody else" in told.err
    assert fake.calls[0].query == {"workflow": ["order"], "action": ["charge"], "all": ["true"]}
    assert run(["dlq", verb, "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {done: 2, "skipped": 1}


@pytest.mark.parametrize("verb", ["redrive", "discard"])
@pytest.mark.parametrize("arguments", [[], ["d-1", "--all"], ["d-1", "--workflow", "order"], ["--workflow", "order"]])
def test_redrive_and_discard_want_ids_or_all(arguments: list[str], verb: str, fake: Fake) -> None:
    assert run(["dlq", verb, *arguments]) == 2
    assert not fake.calls


def test_workers(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workers", [WORKER])
    fake.on("POST", "/workers/w-1/drain", {**WORKER, "status": "DRAINING"})
    assert run(["worker", "list"]) == 0
    line = (
        "w-1\tCONNECTED\thttp\t0 of 10\t2026-11-23T10:00:01.000000Z\tworkersdk-python 0.1.0\tbox:7\treserve, charge\n"
    )
    assert capsys.readouterr().out == line
    assert run(["worker", "drain", "w-1"]) == 0
    assert "w-1 finishes" in capsys.readouterr().err
    assert run(["worker", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [WORKER]


def test_completion_offers_what_the_server_knows(fake: Fake) -> None:
    fake.on("GET", "/workflow/", [{"id": "order", "steps": [1, 2]}, {"id": "other", "steps": []}])
    fake.on("GET", "/workflow/runs", [run_of()])
    fake.on("GET", "/workers", [WORKER])
    fake.on("GET", "/dead-letters", [LETTER])
    assert complete_workflow("ord") == [("order", "2 steps")]
    assert complete_run("") == [("r-1", "order COMPLETED")]
    assert complete_worker("w") == [("w-1", "CONNECTED")]
    assert complete_dead_letter("x") == []


def test_completion_is_silent_when_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://127.0.0.1:1")
    assert complete_workflow("") == complete_run("") == []
    assert capsys.readouterr() == ("", "")
