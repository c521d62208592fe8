"""Dead letters: listed, read, redriven, discarded."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.driver import Api, check_problem, done, failed

FIELDS = {
    "id",
    "runId",
    "workflowId",
    "stepIndex",
    "action",
    "attempt",
    "attempts",
    "error",
    "payload",
    "worker",
    "createdAt",
    "state",
    "settledAt",
}


def fail(api: Api, workflow: str = "flow", payload: object = None) -> str:
    """Run a workflow into its dead letter, and give the run."""
    run_id = api.trigger(workflow, payload)
    api.exchange(results=[failed(api.take()[0], type="Broken", message="it broke", stack="line 1")])
    assert api.show(run_id)["status"] == "FAILED"
    return run_id


@pytest.fixture(autouse=True)
def flow(api: Api) -> None:
    api.define("flow", "act", retry={"maxRetries": 0})
    api.define("other", "more", retry={"maxRetries": 0})
    api.register("w", "act", "more")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_dead_letter_shows_payload_and_error(api: Api, slash: str) -> None:
    run_id = fail(api, payload={"id": 7})
    answer = api.get(f"/dead-letters{slash}")
    assert (answer.status, answer.kind) == (200, "application/json")
    (letter,) = answer.json()
    assert letter.keys() == FIELDS
    assert (letter["runId"], letter["workflowId"], letter["stepIndex"], letter["action"]) == (run_id, "flow", 0, "act")
    assert letter["error"] == {"type": "Broken", "message": "it broke", "stack": "line 1"}
    assert (letter["payload"], letter["worker"], letter["attempt"], letter["attempts"]) == ({"id": 7}, "w", 1, 1)
    assert (letter["state"], letter["settledAt"]) == ("OPEN", None)
    assert api.get(f"/dead-letters/{letter['id']}{slash}").json() == letter


def test_the_list_is_paged_newest_first(api: Api) -> None:
    runs = [fail(api) for _ in range(5)]
    target: str | None = "/dead-letters?limit=2"
    pages: list[list[str]] = []
    while target is not None:
        answer = api.get(target)
        pages.append([letter["runId"] for letter in answer.json()])
        link = answer.headers.get("link")
        target = None if link is None else link[1 : link.index(">")]
    assert pages == [[runs[4], runs[3]], [runs[2], runs[1]], [runs[0]]]


def test_a_walk_goes_on_though_the_letter_at_its_place_is_settled(api: Api) -> None:
    runs = [fail(api) for _ in range(4)]
    first = api.get("/dead-letters?limit=2")
    api.delete(f"/dead-letters/{first.json()[1]['id']}")
    second = api.get(first.headers["link"].partition(">")[0][1:])
    assert [letter["runId"] for letter in second.json()] == [runs[1], runs[0]]


def test_filters(api: Api) -> None:
    one, two = fail(api, "flow"), fail(api, "other")
    for query, found in (
        ("workflow=flow", [one]),
        ("workflow=other", [two]),
        ("action=more", [two]),
        ("workflow=flow&action=more", []),
        ("workflow=nobody", []),
        ("workflow=&action=&cursor=", [two, one]),
    ):
        assert [letter["runId"] for letter in api.get(f"/dead-letters?{query}").json()] == found


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("cursor=nobody", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=%FF", "cursor"),
        ("status=OPEN", "status"),
        ("action=a&action=b", "action"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(api: Api, query: str, field: str) -> None:
    problem = check_problem(api.get(f"/dead-letters?{query}"), 400, "parameter-invalid")
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["mend"]


def test_to_redrive_runs_the_step_again_with_a_fresh_budget(api: Api) -> None:
    run_id = fail(api, payload="in")
    (letter,) = api.get("/dead-letters").json()
    answer = api.post(f"/dead-letters/{letter['id']}/redrive")
    assert (answer.status, answer.kind) == (200, "application/json")
    assert (answer.json()["runId"], answer.json()["status"], answer.json()["endTime"]) == (run_id, "RUNNING", None)
    assert api.get("/dead-letters").json() == []
    settled = api.get(f"/dead-letters/{letter['id']}").json()
    assert settled["state"] == "REDRIVEN"
    assert settled["settledAt"] is not None
    (job,) = api.take()
    assert (job["attempt"], job["payload"]) == (2, "in")
    api.exchange(results=[done(job, "out")])
    run = api.show(run_id)
    assert (run["status"], run["finalOutput"], run["error"]) == ("COMPLETED", "out", None)


def test_a_redriven_step_may_fail_again(api: Api) -> None:
    fail(api)
    (first,) = api.get("/dead-letters").json()
    api.post(f"/dead-letters/{first['id']}/redrive")
    api.exchange(results=[failed(api.take()[0])])
    (second,) = api.get("/dead-letters").json()
    assert second["id"] != first["id"]
    assert second["runId"] == first["runId"]


def test_to_discard_leaves_the_run_failed(api: Api) -> None:
    run_id = fail(api)
    (letter,) = api.get("/dead-letters").json()
    answer = api.delete(f"/dead-letters/{letter['id']}")
    assert (answer.status, answer.body) == (204, b"")
    assert api.get("/dead-letters").json() == []
    assert api.get(f"/dead-letters/{letter['id']}").json()["state"] == "DISCARDED"
    assert api.show(run_id)["status"] == "FAILED"


@pytest.mark.parametrize("how", ["redrive", "discard"])
def test_a_settled_letter_stays_as_it_is(api: Api, how: str) -> None:
    fail(api)
    (letter,) = api.get("/dead-letters").json()
    path = f"/dead-letters/{letter['id']}"
    before = api.post(f"{path}/redrive") if how == "redrive" else api.delete(path)
    assert before.status in (200, 204)
    shown: dict[str, Any] = api.get(path).json()
    check_problem(api.post(f"{path}/redrive"), 409, "dead-letter-settled")
    check_problem(api.delete(path), 409, "dead-letter-settled")
    assert api.get(path).json() == shown


@pytest.mark.parametrize("name", ["nobody", "\x00", "\U0001f600", "a b", "x" * 10_000])
def test_a_letter_that_is_not_there(api: Api, name: str) -> None:
    path = f"/dead-letters/{quote(name)}"
    check_problem(api.get(path), 404, "dead-letter-not-found")
    check_problem(api.delete(path), 404, "dead-letter-not-found")
    check_problem(api.post(f"{path}/redrive"), 404, "dead-letter-not-found")


def test_filters_by_error_time_and_state(api: Api) -> None:
    one, two = fail(api, "flow"), fail(api, "other")
    first, second = reversed(api.get("/dead-letters").json())
    api.delete(f"/dead-letters/{second['id']}")
    for query, found in (
        ("error=Broken", [one]),
        ("error=Else", []),
        ("state=DISCARDED", [two]),
        ("state=OPEN", [one]),
        ("state=REDRIVEN", []),
        (f"from={first['createdAt']}", [one]),
        (f"to={first['createdAt']}", []),
        ("error=&from=&to=&state=", [one]),
    ):
        assert [letter["runId"] for letter in api.get(f"/dead-letters?{query}").json()] == found


def test_groups_say_how_many_there_are_of_each_kind(api: Api) -> None:
    for workflow in ("flow", "flow", "other", "flow"):
        fail(api, workflow)
    letters = api.get("/dead-letters").json()
    ofs = [letter["createdAt"] for letter in letters if letter["workflowId"] == "flow"]
    flow = {
        "workflowId": "flow",
        "action": "act",
        "errorType": "Broken",
        "count": 3,
        "oldest": min(ofs),
        "newest": max(ofs),
    }
    answer = api.get("/dead-letters/groups").json()
    assert answer["groups"][0] == flow
    assert [(group["workflowId"], group["count"]) for group in answer["groups"]] == [("flow", 3), ("other", 1)]
    assert not answer["more"]
    assert api.get("/dead-letters/groups?limit=1").json() == {"groups": [flow], "more": True}
    assert api.get("/dead-letters/groups?workflow=nobody").json() == {"groups": [], "more": False}


def test_many_are_redriven_into_their_own_runs(api: Api) -> None:
    runs = [fail(api) for _ in range(3)]
    other = fail(api, "other")
    answer = api.post("/dead-letters/redrive?workflow=flow&action=act&error=Broken").json()
    assert answer == {"settled": 3, "skipped": 0, "cursor": None}
    assert [api.show(run_id)["status"] for run_id in [*runs, other]] == ["RUNNING"] * 3 + ["FAILED"]
    jobs = [job for _ in runs for job in api.take()]
    assert sorted((job["workflowRunId"], job["attempt"]) for job in jobs) == sorted((run_id, 2) for run_id in runs)
    assert api.post("/dead-letters/redrive?workflow=flow").json() == {"settled": 0, "skipped": 0, "cursor": None}


def test_many_are_discarded_part_by_part(api: Api) -> None:
    runs = [fail(api) for _ in range(5)]
    settled: list[int] = []
    cursor = ""
    while True:
        answer = api.post(f"/dead-letters/discard?all=true&limit=2&cursor={quote(cursor)}").json()
        settled.append(answer["settled"])
        if answer["cursor"] is None:
            break
        cursor = answer["cursor"]
    assert settled == [2, 2, 1]
    assert api.get("/dead-letters").json() == []
    assert {api.show(run_id)["status"] for run_id in runs} == {"FAILED"}
    assert len(api.get("/dead-letters?state=DISCARDED").json()) == 5


@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_who_means_all_has_to_say_so(api: Api, verb: str) -> None:
    fail(api)
    problem = check_problem(api.post(f"/dead-letters/{verb}"), 422, "filter-missing")
    assert problem["errors"][0]["field"] == "all"
    assert len(api.get("/dead-letters").json()) == 1
    assert api.post(f"/dead-letters/{verb}?all=true").json()["settled"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("all=yes", "all"),
        ("all=true&limit=1001", "limit"),
        ("all=true&limit=0", "limit"),
        ("all=true&cursor=nobody", "cursor"),
        ("all=true&state=OPEN", "state"),
        ("workflow=flow&from=yesterday", "from"),
    ],
)
def test_a_call_for_many_that_makes_no_sense_is_refused(api: Api, query: str, field: str) -> None:
    problem = check_problem(api.post(f"/dead-letters/redrive?{query}"), 400, "parameter-invalid")
    assert problem["errors"][0]["field"] == field
    check_problem(api.get("/dead-letters?state=LOST"), 400, "parameter-invalid")
