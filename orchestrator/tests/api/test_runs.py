"""Runs: read, waited for, listed page by page, cancelled; and their history."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, Caller, check_problem, done, failed

FIELDS = {
    "runId",
    "workflowId",
    "workflowVersion",
    "status",
    "currentStep",
    "startTime",
    "endTime",
    "input",
    "finalOutput",
    "error",
    "stepResults",
    "steps",
    "waitingFor",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def pages(api: Api, target: str) -> Iterator[list[dict[str, Any]]]:
    """Follow the Link headers to the end."""
    following: str | None = target
    while following is not None:
        answer = api.get(following)
        assert answer.status == 200, answer
        yield answer.json()
        link = answer.headers.get("link")
        found = None if link is None else re.fullmatch(r'<([^>]+)>; rel="next"', link)
        assert link is None or found is not None
        following = None if found is None else found[1]


def finish(api: Api, *actions: str) -> str:
    """Run a workflow to its end."""
    api.define("flow", *actions)
    api.register("w", *actions)
    run_id = api.trigger(payload="in")
    for number in range(len(actions)):
        api.exchange(results=[done(api.take()[0], number)])
    return run_id


# --- one run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_run_shows_what_was_done(api: Api, slash: str) -> None:
    run_id = finish(api, "one", "two")
    answer = api.get(f"/workflow/run/{run_id}{slash}")
    assert (answer.status, answer.kind) == (200, "application/json")
    run = answer.json()
    assert run.keys() == FIELDS
    assert (run["runId"], run["workflowId"], run["workflowVersion"]) == (run_id, "flow", 1)
    assert (run["status"], run["currentStep"], run["error"], run["waitingFor"]) == ("COMPLETED", 1, None, None)
    assert (run["input"], run["finalOutput"]) == ("in", 1)
    assert TIME.fullmatch(run["startTime"])
    assert run["startTime"] <= run["endTime"]
    stamps = [result.pop("timestamp") for result in run["stepResults"]]
    assert run["stepResults"] == [
        {"action": "one", "stepIndex": 0, "result": 0},
        {"action": "two", "stepIndex": 1, "result": 1},
    ]
    assert run["startTime"] <= stamps[0] <= stamps[1] <= run["endTime"]
    assert [(step["stepIndex"], step["action"], step["status"]) for step in run["steps"]] == [
        (0, "one", "COMPLETED"),
        (1, "two", "COMPLETED"),
    ]
    (attempt,) = run["steps"][0]["attempts"]
    assert (attempt["attempt"], attempt["status"], attempt["worker"], attempt["error"]) == (1, "COMPLETED", "w", None)
    assert attempt["scheduledAt"] <= attempt["startedAt"] <= attempt["finishedAt"]


def test_a_run_that_is_open_says_what_it_waits_for(api: Api) -> None:
    api.define("flow", "one", "two", retry={"delay": "1h"})
    run_id = api.trigger()
    run = api.show(run_id)
    assert run.keys() == FIELDS
    assert (run["status"], run["endTime"], run["finalOutput"], run["stepResults"]) == ("RUNNING", None, None, [])
    assert [step["status"] for step in run["steps"]] == ["QUEUED", "PENDING"]
    assert "no connected worker has a handler" in run["waitingFor"]
    api.register("w", "one")
    assert "queued for a free worker" in api.show(run_id)["waitingFor"]
    (job,) = api.take()
    running = api.show(run_id)
    assert running["waitingFor"].startswith("step 0 (one): worker w has been at it since")
    assert running["steps"][0]["attempts"][0]["status"] == "RUNNING"
    api.exchange(results=[failed(job, type="CardDeclined", message="no", stack="at line 1")])
    backing_off = api.show(run_id)
    assert backing_off["status"] == "WAITING"
    step = backing_off["steps"][0]
    assert step["status"] == "BACKING_OFF"
    assert step["attempts"][0]["error"] == {"type": "CardDeclined", "message": "no", "stack": "at line 1"}
    assert backing_off["waitingFor"] == f"step 0 (one): attempt 2 of 4 starts at {step['nextAttemptAt']}"


@pytest.mark.parametrize("name", ["nobody", "trigger", "%00", "%FF", "a%20b", "x" * 10_000])
def test_a_run_that_is_not_there(api: Api, name: str) -> None:
    for path in (f"/workflow/run/{name}", f"/workflow/run/{name}?wait=1m", f"/workflow/run/{name}/events"):
        check_problem(api.get(path), 404, "run-not-found")
    check_problem(api.post(f"/workflow/run/{name}/cancel"), 404, "run-not-found")


# --- waiting -----------------------------------------------------------------------------------------------------


def test_who_waits_for_a_run_is_answered_when_it_ends(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()

    async def scene() -> list[Answer]:
        callers = [Caller() for _ in range(20)]
        path = f"/workflow/run/{run_id}?wait=1m"
        waiting = [asyncio.create_task(api.call("GET", path, caller=caller)) for caller in callers]
        await asyncio.gather(*(caller.watched() for caller in callers))
        await api.send("/workers/w/exchange", {"results": [done(job, "out")]})
        return await asyncio.wait_for(asyncio.gather(*waiting), 2)

    for answer in api.run(scene()):
        assert (answer.json()["status"], answer.json()["finalOutput"]) == ("COMPLETED", "out")


def test_a_run_that_has_ended_is_not_waited_for(api: Api) -> None:
    run_id = finish(api, "one")
    begun = time.monotonic()
    assert api.show(run_id, wait=60)["status"] == "COMPLETED"
    assert time.monotonic() - begun < 5


def test_a_wait_ends_with_its_time(api: Api) -> None:
    api.define()
    run_id = api.trigger()
    begun = time.monotonic()
    assert api.get(f"/workflow/run/{run_id}?wait=100ms").json()["status"] == "RUNNING"
    assert time.monotonic() - begun >= 0.1


def test_a_wait_longer_than_the_limit_is_cut() -> None:
    with Api(Limits(wait_seconds_max=0.05)) as api:
        api.define()
        run_id = api.trigger()
        begun = time.monotonic()
        assert api.get(f"/workflow/run/{run_id}?wait=1d").status == 200
        assert time.monotonic() - begun < 5


def test_a_caller_that_goes_away_stops_waiting() -> None:
    with Api(Limits(waits_open_max=1)) as api:
        api.define()
        run_id = api.trigger()

        async def scene() -> None:
            caller = Caller()
            waiting = asyncio.create_task(api.call("GET", f"/workflow/run/{run_id}?wait=60s", caller=caller))
            await caller.watched()
            check_problem(await api.call("GET", f"/workflow/run/{run_id}?wait=1ms"), 503, "busy")
            caller.go()
            await asyncio.wait_for(waiting, 2)
            assert (await api.call("GET", f"/workflow/run/{run_id}?wait=1ms")).status == 200

        api.run(scene())


@pytest.mark.parametrize("wait", ["soon", "-1s", "1x", "1e9"])
def test_a_wait_that_is_no_duration_is_refused(api: Api, wait: str) -> None:
    api.define()
    problem = check_problem(api.get(f"/workflow/run/{api.trigger()}?wait={wait}"), 422, "field-invalid")
    assert problem["errors"][0]["field"] == "wait"


# --- history -----------------------------------------------------------------------------------------------------


def test_the_history_is_numbered_without_a_gap(api: Api) -> None:
    run_id = finish(api, "one", "two")
    events = api.get(f"/workflow/run/{run_id}/events").json()
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "RunStarted"
    assert events[-1]["type"] == "RunCompleted"
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert {event.get("worker") for event in events if event["type"] == "AttemptStarted"} == {"w"}
    assert api.get(f"/workflow/run/{run_id}/events?after=2").json() == events[2:]
    assert api.get(f"/workflow/run/{run_id}/events/?after=0").json() == events
    assert api.get(f"/workflow/run/{run_id}/events?after={2**53}").json() == []


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9007199254740993", "9" * 100])
def test_a_place_in_the_history_that_makes_no_sense(api: Api, after: str) -> None:
    api.define()
    problem = check_problem(api.get(f"/workflow/run/{api.trigger()}/events?after={after}"), 400, "parameter-invalid")
    assert problem["errors"][0]["field"] == "after"


# --- cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"", b"{}", b'{"reason": "no more"}', b'{"reason": ""}'])
def test_a_cancelled_run_starts_nothing_more(api: Api, body: bytes) -> None:
    api.define("flow", "one", "two")
    api.register("w", "one", "two")
    run_id = api.trigger()
    answer = api.post(f"/workflow/run/{run_id}/cancel/", body)
    assert (answer.status, answer.kind) == (200, "application/json")
    assert answer.json()["status"] == "CANCELLED"
    assert answer.json()["endTime"] is not None
    assert [step["status"] for step in answer.json()["steps"]] == ["CANCELLED", "PENDING"]
    assert api.take(wait=0) == []
    reasons = [event.get("reason") for event in api.get(f"/workflow/run/{run_id}/events").json()]
    assert ("no more" in reasons) is (b"no more" in body)


def test_to_cancel_twice_is_as_good_as_once(api: Api) -> None:
    api.define()
    run_id = api.trigger()
    first = api.post(f"/workflow/run/{run_id}/cancel")
    second = api.post(f"/workflow/run/{run_id}/cancel", b'{"reason": "again"}')
    assert second.status == 200
    assert second.json() == first.json()


def test_a_run_that_has_ended_is_not_cancelled(api: Api) -> None:
    run_id = finish(api, "one")
    problem = check_problem(api.post(f"/workflow/run/{run_id}/cancel"), 409, "run-finished")
    assert "COMPLETED" in problem["detail"]
    assert api.show(run_id)["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("body", "field"), [({"reason": 7}, "reason"), ({"reason": None}, "reason"), ({"why": "x"}, "why"), ([], "body")]
)
def test_a_cancel_of_another_form_changes_nothing(api: Api, body: object, field: str) -> None:
    api.define()
    run_id = api.trigger()
    problem = check_problem(api.post(f"/workflow/run/{run_id}/cancel", body), 422, "field-invalid")
    assert problem["errors"][0]["field"] == field
    assert api.show(run_id)["status"] == "RUNNING"


def test_a_long_reason_is_cut(api: Api) -> None:
    api.define()
    run_id = api.trigger()
    assert api.post(f"/workflow/run/{run_id}/cancel", {"reason": "é" * 5_000}).status == 200
    reasons = [event.get("reason") or "" for event in api.get(f"/workflow/run/{run_id}/events").json()]
    assert max(len(reason) for reason in reasons) == 1_000


# --- lists -------------------------------------------------------------------------------------------------------


def test_pages_lead_to_the_end_newest_first_and_name_each_run_once(api: Api) -> None:
    api.define()
    made = [api.trigger(payload=number) for number in range(25)]
    for view in ("", "&view=summary", "&view=full"):
        for limit, sizes in ((10, [10, 10, 5]), (25, [25]), (5, [5] * 5), (100, [25]), (24, [24, 1])):
            found = list(pages(api, f"/workflow/runs?limit={limit}{view}"))
            assert [len(page) for page in found] == sizes
            assert [run["runId"] for page in found for run in page] == made[::-1]


def test_a_page_goes_on_where_the_one_before_ended_though_runs_have_begun_meanwhile(api: Api) -> None:
    api.define()
    made = [api.trigger() for _ in range(6)]
    walk = pages(api, "/workflow/runs?limit=2")
    found = [run["runId"] for run in next(walk)]
    api.trigger()
    api.define("other")
    api.trigger("other")
    found += [run["runId"] for page in walk for run in page]
    assert found == made[::-1]


def test_without_a_limit_a_page_has_a_hundred(api: Api) -> None:
    api.define()

    async def scene() -> None:
        await asyncio.gather(*(api.send("/workflow/flow/trigger") for _ in range(101)))

    api.run(scene())
    assert [len(page) for page in pages(api, "/workflow/runs")] == [100, 1]
    assert [len(page) for page in pages(api, "/workflow/runs?limit=500")] == [101]


def test_an_empty_list_is_one_page(api: Api) -> None:
    answer = api.get("/workflow/runs/")
    assert (answer.status, answer.body) == (200, b"[]")
    assert "link" not in answer.headers


def test_a_list_shows_runs_without_steps_and_a_summary_without_payloads(api: Api) -> None:
    run_id = finish(api, "one")
    (run,) = api.get("/workflow/runs").json()
    assert run.keys() == FIELDS - {"steps", "waitingFor"}
    whole = api.show(run_id)
    assert run == {name: whole[name] for name in run}
    (summary,) = api.get("/workflow/runs?view=summary").json()
    assert summary.keys() == run.keys() - {"input", "finalOutput", "stepResults"}
    assert summary == {name: whole[name] for name in summary}


@pytest.fixture
def several(api: Api) -> dict[str, str]:
    """Runs of two workflows in five states."""
    api.define("a", "one", retry={"maxRetries": 0})
    api.define("b", "two", retry={"delay": "1h"})
    api.register("w", "one", "two")
    made = {}
    for name, workflow, result in (("good", "a", done), ("bad", "a", failed), ("waits", "b", failed)):
        made[name] = api.trigger(workflow)
        api.exchange(results=[result(api.take()[0])])
    made["stopped"] = api.trigger("b")
    api.post(f"/workflow/run/{made['stopped']}/cancel")
    made["open"] = api.trigger("a")
    return made


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("status=COMPLETED", ["good"]),
        ("status=FAILED", ["bad"]),
        ("status=WAITING", ["waits"]),
        ("status=CANCELLED", ["stopped"]),
        ("status=RUNNING", ["open"]),
        ("status=TIMED_OUT", []),
        ("status=RUNNING,COMPLETED", ["open", "good"]),
        ("status=RUNNING&status=COMPLETED,FAILED", ["open", "bad", "good"]),
        ("status=", ["open", "stopped", "waits", "bad", "good"]),
        ("workflow=a", ["open", "bad", "good"]),
        ("workflow=b&status=CANCELLED", ["stopped"]),
        ("workflow=nobody", []),
        ("workflow=%00", []),
        ("workflow=&cursor=&from=&to=", ["open", "stopped", "waits", "bad", "good"]),
        ("from=2001-01-01", ["open", "stopped", "waits", "bad", "good"]),
        ("to=2001-01-01T00:00:00Z", []),
        ("from=2101-01-01T00:00:00%2B02:00", []),
        ("from=2001-01-01T00:00:00+02:00&to=2101-01-01", ["open", "stopped", "waits", "bad", "good"]),
    ],
)
def test_filters(api: Api, several: dict[str, str], query: str, names: list[str]) -> None:
    names_of = {run_id: name for name, run_id in several.items()}
    for view in ("full", "summary"):
        for limit in (1, 2, 100):
            walk = pages(api, f"/workflow/runs?{query}&limit={limit}&view={view}")
            assert [names_of[run["runId"]] for page in walk for run in page] == names


def test_a_run_lies_at_or_after_from_and_before_to(api: Api, several: dict[str, str]) -> None:
    start = quote(api.show(several["waits"])["startTime"])
    assert [run["runId"] for run in api.get(f"/workflow/runs?from={start}").json()][-1] == several["waits"]
    assert api.get(f"/workflow/runs?to={start}").json()[0]["runId"] == several["bad"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.0", "limit"),
        ("limit=", "limit"),
        ("limit=x", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=running", "status"),
        ("status=RUNNING,DONE", "status"),
        ("status=%00", "status"),
        ("from=yesterday", "from"),
        ("from=0001-01-01", "from"),
        ("from=2026-13-01", "from"),
        ("to=12:00", "to"),
        ("to=%FF", "to"),
        ("from=2026-01-01&from=2026-01-02", "from"),
        ("cursor=x", "cursor"),
        ("cursor=%FF", "cursor"),
        ("cursor=MQ", "cursor"),
        ("cursor=MS4yLjM", "cursor"),
        ("cursor=LTEuMg", "cursor"),
        ("cursor=" + "A" * 5_000, "cursor"),
        ("view=all", "view"),
        ("view=", "view"),
        ("workflow=a&workflow=b", "workflow"),
        ("state=RUNNING", "state"),
        ("Status=RUNNING", "Status"),
        ("%00=1", "\x00"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(api: Api, query: str, field: str) -> None:
    problem = check_problem(api.get(f"/workflow/runs?{query}"), 400, "parameter-invalid")
    (error,) = problem["errors"]
    assert error["field"] == field
    assert error["mend"]


def test_a_page_ends_early_when_its_payloads_are_large() -> None:
    with Api(Limits(list_bytes_max=1_000)) as api:
        api.define()
        api.register()
        made = []
        for _ in range(5):
            made.append(api.trigger(payload="x" * 600))
            api.exchange(results=[done(api.take()[0], "y" * 600)])
        found = list(pages(api, "/workflow/runs?limit=3"))
        assert [len(page) for page in found] == [1, 1, 1, 1, 1]
        assert [run["runId"] for page in found for run in page] == made[::-1]
        assert [len(page) for page in pages(api, "/workflow/runs?limit=3&view=summary")] == [3, 2]
