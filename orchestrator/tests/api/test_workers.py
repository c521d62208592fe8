"""Workers: registered, shown, kept alive by heartbeats, drained, and gone."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, Caller, check_problem, done, settle

# --- registration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_registration_says_what_to_keep_to(api: Api, slash: str) -> None:
    answer = api.post(f"/workers{slash}", {"workerId": "curl-1", "actions": ["hello"]})
    assert (answer.status, answer.kind) == (200, "application/json")
    assert answer.json() == {
        "workerId": "curl-1",
        "lease": 30,
        "heartbeat": 10,
        "waitMax": 60,
        "capacityMax": 1000,
        "resultBytesMax": 2097152,
        "requestBytesMax": 16777216,
    }


def test_every_field_of_a_registration_is_shown(api: Api) -> None:
    registration = {
        "workerId": "a.B_c:d@e-1",
        "actions": ["one", "two", "one"],
        "sdk": "workersdk-python",
        "version": "0.1.0",
        "host": "box",
        "pid": 7,
        "concurrency": 4,
        "lease": "2m",
    }
    assert api.post("/workers", registration).json()["lease"] == 120
    (worker,) = api.get("/workers").json()
    registration.pop("lease")
    assert {name: worker[name] for name in registration} == {**registration, "actions": ["one", "two"]}
    assert (worker["status"], worker["inHand"]) == ("CONNECTED", [])
    assert worker["registeredAt"] <= worker["lastSeenAt"]
    assert api.get("/workers/a.B_c:d@e-1").json() == worker


def test_a_name_is_made_up_where_none_is_given(api: Api) -> None:
    names = [api.post("/workers", {"actions": ["a"]}).json()["workerId"] for _ in range(3)]
    assert len(set(names)) == 3
    assert [worker["workerId"] for worker in api.get("/workers/").json()] == names


def test_the_same_name_again_replaces_the_registration_and_keeps_the_jobs(api: Api) -> None:
    api.define()
    api.register("w", "act")
    run_id = api.trigger()
    (job,) = api.take()
    api.register("w", "other", sdk="new")
    (worker,) = api.get("/workers").json()
    assert (worker["actions"], worker["sdk"]) == (["other"], "new")
    assert [one["jobId"] for one in worker["inHand"]] == [job["jobId"]]
    api.exchange(results=[done(job)])
    assert api.show(run_id)["status"] == "COMPLETED"


def test_fields_that_are_not_known_are_ignored(api: Api) -> None:
    api.define()
    assert api.post("/workers", {"workerId": "w", "actions": ["act"], "color": {"red": [1]}}).status == 200
    run_id = api.trigger()
    (job,) = api.exchange(capacity=1, wait=1, mood="good")["jobs"]
    beat = {"inFlight": [{"jobId": job["jobId"], "attempt": 1, "more": 1}], "load": 0.5}
    assert api.post("/workers/w/heartbeat", beat).status == 200
    api.exchange(results=[done(job, "out", took=3, error={"type": "X", "cause": []})], extra=None)
    assert api.show(run_id)["finalOutput"] == "out"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "actions"),
        ({"actions": []}, "actions"),
        ({"actions": None}, "actions"),
        ({"actions": "hello"}, "actions"),
        ({"actions": [7]}, "actions[0]"),
        ({"actions": ["a", ""]}, "actions[1]"),
        ({"actions": ["a", "b c"]}, "actions[1]"),
        ({"actions": ["\x00"]}, "actions[0]"),
        ({"actions": ["a"], "workerId": ""}, "workerId"),
        ({"actions": ["a"], "workerId": "a b"}, "workerId"),
        ({"actions": ["a"], "workerId": "a/b"}, "workerId"),
        ({"actions": ["a"], "workerId": "é"}, "workerId"),
        ({"actions": ["a"], "workerId": 7}, "workerId"),
        ({"actions": ["a"], "workerId": "x" * 129}, "workerId"),
        ({"actions": ["a"], "sdk": "x" * 129}, "sdk"),
        ({"actions": ["a"], "version": "x" * 65}, "version"),
        ({"actions": ["a"], "host": "x" * 256}, "host"),
        ({"actions": ["a"], "pid": -1}, "pid"),
        ({"actions": ["a"], "pid": "7"}, "pid"),
        ({"actions": ["a"], "pid": 10**40}, "pid"),
        ({"actions": ["a"], "concurrency": 0}, "concurrency"),
        ({"actions": ["a"], "lease": 0.999}, "lease"),
        ({"actions": ["a"], "lease": "999ms"}, "lease"),
        ({"actions": ["a"], "lease": 3600.001}, "lease"),
        ({"actions": ["a"], "lease": "61m"}, "lease"),
        ({"actions": ["a"], "lease": -1}, "lease"),
        ({"actions": ["a"], "lease": "long"}, "lease"),
        ({"actions": ["a"], "lease": 1e300}, "lease"),
        ({"actions": ["a"], "lease": 10**400}, "lease"),
        ({"actions": ["a"], "lease": True}, "lease"),
        ([], "body"),
    ],
    ids=lambda value: str(value)[-50:],
)
def test_a_wrong_field_is_named_and_nobody_is_registered(api: Api, body: object, field: str) -> None:
    problem = check_problem(api.post("/workers", body), 422, "field-invalid")
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["mend"]
    assert api.get("/workers").json() == []


@pytest.mark.parametrize("lease", [1, "1s", 3600, "1h", "1000ms"])
def test_a_lease_may_be_from_a_second_to_an_hour(api: Api, lease: object) -> None:
    answer = api.post("/workers", {"actions": ["a"], "lease": lease}).json()
    assert answer["lease"] in (1, 3600)
    assert answer["heartbeat"] == pytest.approx(answer["lease"] / 3, abs=1e-6)


def test_no_more_workers_than_the_limit() -> None:
    with Api(Limits(workers_max=2)) as api:
        api.register("a")
        api.register("b")
        answer = api.post("/workers", {"workerId": "c", "actions": ["x"]})
        check_problem(answer, 503, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        api.register("a")
        assert len(api.get("/workers").json()) == 2


# --- who is not known --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nobody", "%00", "%FF", "a%20b", "x" * 10_000])
def test_a_worker_that_is_not_known_has_to_register(api: Api, name: str) -> None:
    for path in (f"/workers/{name}/exchange", f"/workers/{name}/heartbeat"):
        problem = check_problem(api.post(path, {}), 404, "worker-not-found")
        assert "POST /workers" in problem["detail"]
    check_problem(api.get(f"/workers/{name}"), 404, "worker-not-found")
    check_problem(api.delete(f"/workers/{name}"), 404, "worker-not-found")
    check_problem(api.post(f"/workers/{name}/drain"), 404, "worker-not-found")


def test_results_of_a_worker_that_is_not_known_are_not_recorded(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    check_problem(api.post("/workers/stranger/exchange", {"results": [done(job)]}), 404, "worker-not-found")
    assert api.show(run_id)["status"] == "RUNNING"


# --- heartbeats --------------------------------------------------------------------------------------------------


def beat(api: Api, *jobs: dict[str, Any]) -> dict[str, Any]:
    named = [
        {"jobId": job["jobId"], "attempt": job["attempt"], **({"details": job["said"]} if "said" in job else {})}
        for job in jobs
    ]
    answer = api.post("/workers/w/heartbeat", {"inFlight": named})
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found


def test_a_heartbeat_answers_what_to_stop(api: Api) -> None:
    api.define()
    api.register()
    first, second = api.trigger(), api.trigger()
    jobs = api.take(capacity=2)
    assert beat(api, *jobs) == {"cancelled": [], "unknown": [], "draining": False}
    assert beat(api) == {"cancelled": [], "unknown": [], "draining": False}
    api.post(f"/workflow/run/{first}/cancel")
    stopped = {"jobId": f"{first}:0", "attempt": 1}
    assert beat(api, *jobs) == {"cancelled": [stopped], "unknown": [], "draining": False}
    assert beat(api, *jobs) == {"cancelled": [], "unknown": [stopped], "draining": False}
    api.exchange(results=[done(job) for job in jobs if job["workflowRunId"] == second])
    stranger = {"jobId": "nobody", "attempt": 1}
    later = {"jobId": f"{second}:0", "attempt": 2}
    assert beat(api, stranger, later)["unknown"] == [stranger, later]


def test_what_a_worker_says_is_shown_and_given_to_the_next_attempt(api: Api) -> None:
    api.define("flow", "act", retry={"delay": "1ms"})
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    for said in ({"done": 40}, None, [1.10, "é"]):
        beat(api, {**job, "said": said})
    assert b'"details":[1.1, "\\u00e9"]' in api.get(f"/workflow/run/{run_id}").body
    assert api.show(run_id)["steps"][0]["details"] == [1.10, "é"]
    api.exchange(results=[{"jobId": job["jobId"], "attempt": 1, "status": "failed"}])
    assert api.show(run_id)["steps"][0]["details"] == [1.10, "é"]
    (again,) = api.take()
    assert (again["attempt"], again["details"]) == (2, [1.10, "é"])
    api.exchange(results=[done(again)])
    assert api.show(run_id)["steps"][0]["details"] is None


def test_details_that_are_too_large_are_dropped_and_the_job_lives_on(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    beat(api, {**job, "said": "x" * (16 * 1024 - 2)})
    assert len(api.show(run_id)["steps"][0]["details"]) == 16 * 1024 - 2
    assert beat(api, {**job, "said": "y" * (16 * 1024 - 1)}) == {"cancelled": [], "unknown": [], "draining": False}
    assert api.show(run_id)["steps"][0]["details"][0] == "x"


BAD_DETAILS = [
    pytest.param(b"NaN", id="NaN"),
    pytest.param(b'{"loss":Infinity}', id="Infinity"),
    pytest.param(b'"\\ud800"', id="half a surrogate pair"),
    pytest.param(b'"\x00"', id="NUL"),
    pytest.param(b"[" * 65 + b"]" * 65, id="65 deep"),
    pytest.param(b"[" * 5_000 + b"]" * 5_000, id="5000 deep"),
    pytest.param(b"7" * 1_001, id="long number"),
    pytest.param(b'"' + b"x" * 16 * 1024 + b'"', id="large"),
]


@pytest.mark.parametrize("bad", BAD_DETAILS)
def test_bad_details_cost_no_job_its_lease(api: Api, bad: bytes) -> None:
    api.define()
    api.register()
    runs = [api.trigger(), api.trigger()]
    jobs = api.take(capacity=2)
    for _ in range(3):
        named = b",".join(
            b'{"jobId":"%s","details":%s,"attempt":1}' % (job["jobId"].encode(), said)
            for job, said in zip(jobs, (bad, b'["good"]'), strict=True)
        )
        answer = api.post("/workers/w/heartbeat", b'{"inFlight":[' + named + b"]}")
        assert answer.json() == {"cancelled": [], "unknown": [], "draining": False}
    shown = [api.show(run_id)["steps"][0] for run_id in runs]
    assert [step["status"] for step in shown] == ["RUNNING"] * 2
    assert [step["details"] for step in shown] == [None, ["good"]]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b'{"inFlight":[NaN]}', 400),
        (b'{"inFlight":[{"jobId":"x:0","details":NaN}]}', 400),
        (b'{"inFlight":[{"jobId":"x:0","attempt":1,"details":NaN}', 400),
        (b'{"inFlight":[{"jobId":"x:0","attempt":"1"},{"jobId":"x:0","attempt":1,"details":NaN}]}', 422),
        (b'{"x":NaN}', 400),
    ],
)
def test_a_heartbeat_that_names_no_job_is_refused(api: Api, raw: bytes, status: int) -> None:
    api.register()
    check_problem(api.post("/workers/w/heartbeat", raw), status, "json-invalid" if status == 400 else "field-invalid")


def test_a_job_that_is_missing_from_two_heartbeats_in_a_row_is_lost(api: Api) -> None:
    api.define("flow", "act", retry={"delay": 0})
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    beat(api)
    beat(api, job)
    beat(api)
    assert api.show(run_id)["steps"][0]["status"] == "RUNNING"
    beat(api)
    assert api.exchange(wait=5) == {"cancelled": [{"jobId": job["jobId"], "attempt": 1}]}
    (again,) = api.take()
    assert (again["jobId"], again["attempt"], again["alone"]) == (job["jobId"], 2, True)
    attempts = api.show(run_id)["steps"][0]["attempts"]
    assert [attempt["status"] for attempt in attempts] == ["LOST", "RUNNING"]
    assert "lost on the way" in attempts[0]["error"]["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inFlight": {}}, "inFlight"),
        ({"inFlight": ["x"]}, "inFlight[0]"),
        ({"inFlight": [{"attempt": 1}]}, "inFlight[0].jobId"),
        ({"inFlight": [{"jobId": "x"}]}, "inFlight[0].attempt"),
        ({"inFlight": [{"jobId": "x", "attempt": "1"}]}, "inFlight[0].attempt"),
        ([], "body"),
    ],
)
def test_a_heartbeat_of_another_form_is_refused(api: Api, body: object, field: str) -> None:
    api.register()
    problem = check_problem(api.post("/workers/w/heartbeat", body), 422, "field-invalid")
    assert problem["errors"][0]["field"] == field


def test_a_silent_worker_is_gone_until_it_calls_again(api: Api) -> None:
    api.register("w", lease=1)
    api.register("idle", lease=1)

    async def scene() -> None:
        async def gone() -> bool:
            workers = json.loads((await api.call("GET", "/workers")).body)
            return [worker["status"] for worker in workers] == ["GONE", "GONE"]

        await settle(gone)
        await api.send("/workers/w/heartbeat", {})

    api.run(scene())
    assert [worker["status"] for worker in api.get("/workers").json()] == ["CONNECTED", "GONE"]


def test_a_worker_that_waits_for_a_job_is_there_however_long_its_lease(api: Api) -> None:
    api.register("w", lease=1)

    async def scene() -> Answer:
        caller = Caller([b'{"capacity": 1, "wait": 60}'])
        headers = {"content-length": "27"}
        waiting = asyncio.create_task(api.call("POST", "/workers/w/exchange", [], headers, caller))
        begun = time.monotonic()
        await caller.watched()

        async def passed() -> bool:
            return time.monotonic() - begun > 1.1

        await settle(passed)
        answer = await api.call("GET", "/workers/w")
        caller.go()
        await waiting
        return answer

    assert api.run(scene()).json()["status"] == "CONNECTED"


# --- drain and leave ---------------------------------------------------------------------------------------------


def test_a_worker_that_drains_gets_no_more_jobs_and_may_finish(api: Api) -> None:
    api.define()
    api.register()
    run_id, other = api.trigger(), api.trigger()
    (job,) = api.take()
    answer = api.post("/workers/w/drain")
    assert (answer.status, answer.json()["status"]) == (200, "DRAINING")
    assert api.exchange(capacity=1, wait=60) == {"draining": True}
    assert beat(api, job)["draining"] is True
    assert api.exchange(results=[done(job)], capacity=1, wait=60) == {"draining": True}
    assert api.show(run_id)["status"] == "COMPLETED"
    api.register("fresh")
    assert api.take("fresh")[0]["workflowRunId"] == other


def test_a_worker_that_leaves_gives_its_jobs_back_with_no_attempt_counted(api: Api) -> None:
    api.define("flow", "act", retry={"maxRetries": 0})
    api.register("w")
    api.register("other")
    runs = {api.trigger() for _ in range(3)}
    assert len(api.take("w", capacity=3)) == 3
    answer = api.delete("/workers/w")
    assert (answer.status, answer.body) == (204, b"")
    assert api.get("/workers/w").json()["status"] == "GONE"
    jobs = api.take("other", capacity=5)
    assert {job["workflowRunId"] for job in jobs} == runs
    assert not any(job.get("alone") for job in jobs)
    api.exchange("other", results=[done(job) for job in jobs])
    for run_id in runs:
        run = api.show(run_id)
        assert run["status"] == "COMPLETED"
        assert [attempt["status"] for attempt in run["steps"][0]["attempts"]] == ["RELEASED", "COMPLETED"]


def test_a_worker_that_has_left_gets_no_jobs_until_it_registers_again_and_may_still_report(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    api.delete("/workers/w")
    assert api.exchange(capacity=1, wait=60) == {}
    api.register("other")
    (again,) = api.take("other")
    assert again["attempt"] == 2
    answer = api.exchange(results=[done(job, "late"), done(again, "in time")])
    assert [rejected["code"] for rejected in answer["rejected"]] == ["attempt-superseded"]
    assert api.show(run_id)["finalOutput"] == "in time"
    api.register()
    api.trigger()
    assert len(api.take()) == 1


def test_who_waits_is_answered_when_the_worker_leaves_or_drains(api: Api) -> None:
    api.register()

    async def scene(method: str, path: str) -> Answer:
        caller = Caller([b'{"capacity": 1, "wait": 60}'])
        headers = {"content-length": "27"}
        waiting = asyncio.create_task(api.call("POST", "/workers/w/exchange", [], headers, caller))
        await caller.watched()
        await api.call(method, path)
        return await asyncio.wait_for(waiting, 2)

    assert api.run(scene("DELETE", "/workers/w")).json() == {}
    api.register()
    assert api.run(scene("POST", "/workers/w/drain")).json() == {"draining": True}


def test_parameters_mean_nothing_here(api: Api) -> None:
    api.register()
    for method, path in (("GET", "/workers?x=1"), ("POST", "/workers?x=1"), ("DELETE", "/workers/w?x=1")):
        check_problem(api.run(api.call(method, path)), 400, "parameter-invalid")
