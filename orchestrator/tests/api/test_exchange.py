"""The exchange: jobs out, results in, and what is told on the way."""

from __future__ import annotations

import asyncio
import json
import re
import time
from datetime import datetime
from typing import Any

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, Caller, check_problem, done, failed


async def poll(api: Api, caller: Caller, worker_id: str = "w") -> Answer:
    """Wait for a job for as long as one may."""
    return await api.call("POST", f"/workers/{worker_id}/exchange", [], {"transfer-encoding": "chunked"}, caller)


def waiter() -> Caller:
    return Caller([b'{"capacity": 1, "wait": 60}'])


# --- jobs --------------------------------------------------------------------------------------------------------


def test_a_job_says_all_that_a_worker_needs_and_nothing_more(api: Api) -> None:
    api.define("greet", "hello")
    api.register("w", "hello", lease=12)
    run_id = api.trigger("greet", "World")
    assert api.exchange(capacity=1) == {
        "jobs": [
            {
                "jobId": f"{run_id}:0",
                "attempt": 1,
                "workflowRunId": run_id,
                "workflowId": "greet",
                "stepIndex": 0,
                "action": "hello",
                "payload": "World",
                "lease": 12,
            }
        ]
    }


def test_a_job_with_timeouts_says_when_they_end(api: Api) -> None:
    api.post(
        "/workflow/",
        {"id": "flow", "steps": [{"action": "act", "stepIndex": 5, "timeout": "1m", "heartbeatTimeout": 10}]},
    )
    api.register("w", lease=30)
    api.trigger()
    (job,) = api.take()
    assert (job["stepIndex"], job["timeout"], job["heartbeatTimeout"], job["lease"]) == (5, 60, 10, 10)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["deadline"])


def test_the_result_of_a_step_is_the_payload_of_the_next(api: Api) -> None:
    api.define("flow", "one", "two", "three")
    api.register("w", "one", "two", "three")
    run_id = api.trigger(payload={"n": 0})
    job = api.take()[0]
    for number in range(1, 4):
        assert job["payload"] == {"n": number - 1}
        following = api.exchange(results=[done(job, {"n": number})], capacity=1).get("jobs", [])
        job = following[0] if following else {}
    assert job == {}
    assert api.show(run_id)["finalOutput"] == {"n": 3}


def test_a_worker_gets_no_more_jobs_than_it_has_hands_and_only_its_actions(api: Api) -> None:
    api.define("one", "a")
    api.define("two", "b")
    api.register("w", "a")
    made = [api.trigger("one") for _ in range(5)]
    api.trigger("two")
    assert api.exchange(capacity=0) == {}
    assert api.exchange() == {}
    assert [job["workflowRunId"] for job in api.take(capacity=3)] == made[:3]
    assert [job["workflowRunId"] for job in api.take(capacity=1_000)] == made[3:]
    assert api.take(wait=0) == []


def test_no_job_is_in_two_hands(api: Api) -> None:
    api.define()
    for number in range(10):
        api.register(f"w{number}")

    async def scene() -> list[Answer]:
        await asyncio.gather(*(api.send("/workflow/flow/trigger") for _ in range(95)))
        return await asyncio.gather(
            *(api.send(f"/workers/w{number}/exchange", {"capacity": 10}) for number in range(10))
        )

    jobs = [job["jobId"] for answer in api.run(scene()) for job in answer.json().get("jobs", [])]
    assert len(jobs) == len(set(jobs)) == 95


def test_who_waits_gets_a_job_as_soon_as_there_is_one(api: Api) -> None:
    api.define()
    api.register()

    async def scene() -> Answer:
        caller = waiter()
        waiting = asyncio.create_task(poll(api, caller))
        await caller.watched()
        await api.send("/workflow/flow/trigger", {"input": 7})
        return await asyncio.wait_for(waiting, 2)

    assert api.run(scene()).json()["jobs"][0]["payload"] == 7


def test_each_job_wakes_one_of_those_who_wait(api: Api) -> None:
    api.define()
    api.register("a")
    api.register("b")

    async def scene() -> tuple[Answer, Answer]:
        first, second = waiter(), waiter()
        one = asyncio.create_task(poll(api, first, "a"))
        await first.watched()
        two = asyncio.create_task(poll(api, second, "b"))
        await second.watched()
        await api.send("/workflow/flow/trigger", {"input": 1})
        answer = await asyncio.wait_for(one, 2)
        assert not two.done()
        await api.send("/workflow/flow/trigger", {"input": 2})
        return answer, await asyncio.wait_for(two, 2)

    one, two = api.run(scene())
    assert [answer.json()["jobs"][0]["payload"] for answer in (one, two)] == [1, 2]


def test_a_caller_that_goes_away_while_it_waits_takes_no_job_with_it(api: Api) -> None:
    api.define()
    api.register("dead")
    api.register("alive")

    async def scene() -> Answer:
        dead, alive = waiter(), waiter()
        one = asyncio.create_task(poll(api, dead, "dead"))
        await dead.watched()
        two = asyncio.create_task(poll(api, alive, "alive"))
        await alive.watched()
        dead.go()
        await api.send("/workflow/flow/trigger")
        await asyncio.wait_for(one, 2)
        return await asyncio.wait_for(two, 2)

    (job,) = api.run(scene()).json()["jobs"]
    assert job["attempt"] == 1
    assert api.get("/workers/dead").json()["inHand"] == []


def test_a_wait_ends_with_its_time(api: Api) -> None:
    api.register()
    for wait in (0.05, "50ms"):
        begun = time.monotonic()
        assert api.exchange(capacity=1, wait=wait) == {}
        assert 0.05 <= time.monotonic() - begun < 5


def test_a_call_with_results_waits_only_when_there_is_no_job(api: Api) -> None:
    api.define()
    api.register()
    first, second = api.trigger(), api.trigger()
    (job,) = api.take()
    answer = api.exchange(results=[done(job)], capacity=1, wait=60)
    assert [one["workflowRunId"] for one in answer["jobs"]] == [second]
    assert api.show(first)["status"] == "COMPLETED"


# --- what became of a job ----------------------------------------------------------------------------------------


def attempts(api: Api, run_id: str) -> list[str]:
    return [attempt["status"] for attempt in api.show(run_id)["steps"][0]["attempts"]]


def test_a_failed_attempt_is_retried_until_there_is_none_left(api: Api) -> None:
    api.define("flow", "act", retry={"maxRetries": 2, "delay": 0})
    api.register()
    run_id = api.trigger(payload="in")
    for number in (1, 2, 3):
        (job,) = api.take()
        assert (job["jobId"], job["attempt"], job["payload"]) == (f"{run_id}:0", number, "in")
        assert api.exchange(results=[failed(job, type="Down", message=f"no {number}")]) == {}
    run = api.show(run_id)
    assert (run["status"], run["error"]["message"]) == ("FAILED", "no 3")
    assert attempts(api, run_id) == ["FAILED"] * 3
    assert len(api.get("/dead-letters").json()) == 1


@pytest.mark.parametrize("error", [{"retryable": False}, {"type": "Hopeless"}])
def test_what_cannot_be_retried_fails_at_once(api: Api, error: dict[str, Any]) -> None:
    api.define("flow", "act", retry={"nonRetryable": ["Hopeless"]})
    api.register()
    run_id = api.trigger()
    api.exchange(results=[failed(api.take()[0], **error)])
    assert api.show(run_id)["status"] == "FAILED"
    assert attempts(api, run_id) == ["FAILED"]


def seconds_to_next(api: Api, run_id: str) -> float:
    step = api.show(run_id)["steps"][0]
    finished = datetime.fromisoformat(step["attempts"][-1]["finishedAt"])
    return (datetime.fromisoformat(step["nextAttemptAt"]) - finished).total_seconds()


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(20, 20), ("500ms", 0.5), ("2h", 7200), (None, 3), ("soon", 3), (-5, 3), (10**12, 3), ("999999d", 366 * 86400)],
)
def test_a_worker_may_say_when_to_retry(api: Api, asked: object, waits: float) -> None:
    api.define("flow", "act", retry={"delay": 3})
    api.register()
    run_id = api.trigger()
    api.exchange(results=[failed(api.take()[0], retryAfter=asked)])
    assert api.show(run_id)["status"] == "WAITING"
    assert seconds_to_next(api, run_id) == waits


def test_a_failure_may_say_nothing_at_all(api: Api) -> None:
    api.define("flow", "act", retry={"maxRetries": 0})
    api.register()
    errors: tuple[dict[str, Any] | None, ...] = ({}, None)
    for error in errors:
        run_id = api.trigger()
        (job,) = api.take()
        api.exchange(results=[{"jobId": job["jobId"], "attempt": 1, "status": "failed", "error": error}])
        assert api.show(run_id)["error"] == {"type": "Error", "message": "", "stack": None}


def test_long_words_of_an_error_are_cut() -> None:
    with Api(Limits(error_message_chars_max=10, error_stack_chars_max=20, id_length_max=5)) as api:
        api.define("flow", "act", retry={"maxRetries": 0})
        api.register()
        run_id = api.trigger()
        api.exchange(results=[failed(api.take()[0], type="é" * 6, message="é" * 11, stack="é" * 21)])
        assert api.show(run_id)["error"] == {"type": "é" * 5, "message": "é" * 10, "stack": "é" * 20}


def test_a_released_job_is_given_to_another_with_no_attempt_counted(api: Api) -> None:
    api.define("flow", "act", retry={"maxRetries": 0})
    api.register("w")
    api.register("other")
    run_id = api.trigger(payload="in")
    for number in range(1, 6):
        (job,) = api.take("w")
        assert job["attempt"] == number
        api.exchange("w", results=[{"jobId": job["jobId"], "attempt": number, "status": "released", "details": [7]}])
    (job,) = api.take("other")
    assert (job["payload"], job["details"], "alone" in job) == ("in", [7], False)
    api.exchange("other", results=[done(job)])
    assert api.show(run_id)["status"] == "COMPLETED"
    assert attempts(api, run_id) == ["RELEASED"] * 5 + ["COMPLETED"]


@pytest.mark.parametrize(
    ("status", "details", "given"),
    [
        ("released", [7], [7]),
        ("failed", {"done": 40}, {"done": 40}),
        ("failed", "x" * (16 * 1024 - 2), "x" * (16 * 1024 - 2)),
        ("failed", "x" * (16 * 1024 - 1), "said before"),
        ("released", 10**1_001, "said before"),
    ],
    ids=lambda value: str(value)[:20] + str(len(str(value))),
)
def test_what_a_worker_says_at_the_end_is_given_to_the_next_attempt(
    api: Api, status: str, details: object, given: object
) -> None:
    api.define("flow", "act", retry={"delay": 0})
    api.register()
    api.trigger()
    (job,) = api.take()
    attempt = {"jobId": job["jobId"], "attempt": 1}
    api.post("/workers/w/heartbeat", {"inFlight": [{**attempt, "details": "said before"}]})
    assert api.exchange(results=[{**attempt, "status": status, "details": details}]) == {}
    assert api.take()[0]["details"] == given


def test_a_job_whose_worker_is_silent_for_its_lease_comes_back_and_runs_alone(api: Api) -> None:
    api.define("flow", "act", retry={"delay": 0})
    api.register("w", lease=1)
    api.register("fresh", lease=30)
    run_id, other = api.trigger(), api.trigger()
    (lost,) = api.take("w")
    (busy,) = api.take("fresh")
    assert api.exchange("fresh", capacity=5, wait=0.1) == {}
    (job,) = api.exchange("fresh", results=[done(busy)], capacity=5, wait=10)["jobs"]
    assert (job["jobId"], job["attempt"], job["alone"]) == (lost["jobId"], 2, True)
    api.trigger()
    assert api.exchange("fresh", capacity=5) == {}
    late = api.exchange("w", results=[done(lost)])
    assert [rejected["code"] for rejected in late["rejected"]] == ["attempt-superseded"]
    assert late["cancelled"] == [{"jobId": lost["jobId"], "attempt": 1}]
    assert len(api.exchange("fresh", results=[done(job)], capacity=5)["jobs"]) == 1
    assert (api.show(run_id)["status"], api.show(other)["status"]) == ("COMPLETED", "COMPLETED")
    assert attempts(api, run_id) == ["LOST", "COMPLETED"]


def test_an_attempt_that_takes_longer_than_its_timeout_is_over(api: Api) -> None:
    api.define("flow", "act", stepTimeout="50ms", retry={"delay": "1h"})
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    told = {"jobId": job["jobId"], "attempt": 1}
    assert api.exchange(wait=10)["cancelled"] == [told]
    assert attempts(api, run_id) == ["TIMED_OUT"]
    answer = api.exchange(results=[done(job)])
    assert [rejected["code"] for rejected in answer["rejected"]] == ["attempt-superseded"]


def test_the_end_of_a_run_by_its_timeout_is_told_as_a_cancel(api: Api) -> None:
    api.define("flow", "act", timeout="100ms")
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    assert api.exchange(wait=10)["cancelled"] == [{"jobId": job["jobId"], "attempt": 1}]
    assert api.show(run_id)["status"] == "TIMED_OUT"
    assert api.exchange(results=[done(job)])["rejected"][0]["code"] == "run-finished"


def test_a_cancel_reaches_a_waiting_worker_at_once_and_is_told_once(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()

    async def scene() -> Answer:
        caller = waiter()
        waiting = asyncio.create_task(poll(api, caller))
        await caller.watched()
        await api.send(f"/workflow/run/{run_id}/cancel")
        return await asyncio.wait_for(waiting, 1)

    assert api.run(scene()).json() == {"cancelled": [{"jobId": job["jobId"], "attempt": 1}]}
    assert api.exchange() == {}
    answer = api.exchange(results=[done(job)])
    assert [(one["jobId"], one["attempt"], one["code"]) for one in answer["rejected"]] == [
        (job["jobId"], 1, "run-finished")
    ]


# --- results that change nothing -----------------------------------------------------------------------------------


def test_a_result_is_recorded_once(api: Api) -> None:
    api.define("flow", "one", "two")
    api.register("w", "one", "two")
    run_id = api.trigger()
    (job,) = api.take()
    answer = api.exchange(results=[done(job, "first"), done(job, "second"), failed(job)])
    assert [one["code"] for one in answer["rejected"]] == ["already-recorded"] * 2
    answer = api.exchange(results=[done(job, "third")])
    assert [one["code"] for one in answer["rejected"]] == ["already-recorded"]
    assert api.show(run_id)["stepResults"][0]["result"] == "first"
    (following,) = api.take()
    assert following["payload"] == "first"
    api.exchange(results=[done(following)])
    assert api.exchange(results=[done(job)])["rejected"][0]["code"] == "run-finished"


@pytest.mark.parametrize(
    "job_id",
    ["nobody:0", "nobody", "", ":", ":0", "a:b", "a:-1", "a:99999999999", "\x00:0", "é:1", "x" * 10_000 + ":0", "a:٣"],
    ids=lambda value: repr(value)[:20],
)
def test_a_job_that_is_not_known(api: Api, job_id: str) -> None:
    api.register()
    (rejected,) = api.exchange(results=[{"jobId": job_id, "attempt": 1}])["rejected"]
    assert (rejected["jobId"], rejected["attempt"], rejected["code"]) == (job_id, 1, "job-unknown")
    assert rejected["reason"]


def test_a_step_that_the_run_does_not_have(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    for step in (1, 7, 9_999_999_999):
        (rejected,) = api.exchange(results=[{"jobId": f"{run_id}:{step}", "attempt": 1}])["rejected"]
        assert rejected["code"] == "job-unknown"
    assert api.show(run_id)["status"] == "RUNNING"


@pytest.mark.parametrize("attempt", [0, -1, 2, 3, 2**31, 2**63, 10**30])
def test_an_attempt_that_was_never_given_out(api: Api, attempt: int) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    api.take()
    (rejected,) = api.exchange(results=[{"jobId": f"{run_id}:0", "attempt": attempt}])["rejected"]
    assert (rejected["attempt"], rejected["code"]) == (attempt, "attempt-superseded")
    assert api.show(run_id)["status"] == "RUNNING"


def test_a_step_that_is_not_reached_has_no_result(api: Api) -> None:
    api.define("flow", "one", "two")
    api.register("w", "one", "two")
    run_id = api.trigger()
    (rejected,) = api.exchange(results=[{"jobId": f"{run_id}:1", "attempt": 1}])["rejected"]
    assert rejected["code"] == "attempt-superseded"


def test_a_result_for_a_job_that_waits_again_takes_it_from_the_queue(api: Api) -> None:
    """As after a restart, when the orchestrator does not know who had the job."""
    api.define()
    api.register()
    run_id = api.trigger()
    assert api.exchange(results=[{"jobId": f"{run_id}:0", "attempt": 1, "result": "out"}]) == {}
    assert api.show(run_id)["finalOutput"] == "out"
    assert api.take(wait=0) == []


def test_any_worker_may_bring_the_result(api: Api) -> None:
    api.define()
    api.register("w")
    api.register("other")
    run_id = api.trigger()
    (job,) = api.take("w")
    assert api.exchange("other", results=[done(job)]) == {}
    assert api.show(run_id)["status"] == "COMPLETED"
    assert api.get("/workers/w").json()["inHand"] == []


# --- the call as a whole -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"capacity": -1}, "capacity"),
        ({"capacity": "1"}, "capacity"),
        ({"capacity": 1.5}, "capacity"),
        ({"capacity": None}, "capacity"),
        ({"wait": "soon"}, "wait"),
        ({"wait": -1}, "wait"),
        ({"wait": None}, "wait"),
        ({"wait": [1]}, "wait"),
        ({"results": {}}, "results"),
        ({"results": None}, "results"),
        ([], "body"),
        ("x", "body"),
    ],
)
def test_a_call_of_another_form_is_refused_and_none_of_its_results_recorded(api: Api, body: object, field: str) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    (job,) = api.take()
    if isinstance(body, dict):
        body = {"results": [done(job)], **body}
    problem = check_problem(api.post("/workers/w/exchange", body), 422, "field-invalid")
    (error,) = problem["errors"]
    assert error["field"] == field
    assert api.show(run_id)["status"] == "RUNNING"


def test_a_thousand_results_are_taken_and_one_more_is_not(api: Api) -> None:
    api.define()
    api.register()

    async def start() -> None:
        await asyncio.gather(*(api.send("/workflow/flow/trigger") for _ in range(1_001)))

    api.run(start())
    jobs = api.take(capacity=5_000) + api.take(capacity=1)
    assert len(jobs) == 1_001
    results = [done(job) for job in jobs]
    problem = check_problem(api.post("/workers/w/exchange", {"results": results}), 422, "field-invalid")
    assert problem["errors"][0]["field"] == "results"
    assert api.get("/workflow/runs?status=COMPLETED&limit=1").json() == []
    assert api.exchange(results=results[:1_000]) == {}
    assert [job["jobId"] for job in api.get("/workers/w").json()["inHand"]] == [jobs[1_000]["jobId"]]


def test_a_thousand_results_may_all_be_bad(api: Api) -> None:
    api.register()
    bad = [{"jobId": f"nobody:{number}", "attempt": 1, "status": "done"} for number in range(1_000)]
    answer = api.exchange(results=bad)
    assert [one["code"] for one in answer["rejected"]] == ["result-invalid"] * 1_000
    check_problem(api.post("/workers/w/exchange", {"results": [*bad, bad[0]]}), 422, "field-invalid")


def test_payloads_of_one_answer_are_as_they_were_sent(api: Api) -> None:
    api.define()
    api.register()
    raw = b'[1.10, 1E400, -0, "\\u00e9\xc3\xa9", {"b":1,"a":2}]'
    run_id = api.post("/workflow/flow/trigger", b'{"input":' + raw + b"}").text
    answer = api.post("/workers/w/exchange", {"capacity": 1})
    assert b'"payload":' + raw in answer.body
    body = b'{"results":[{"jobId":' + json.dumps(f"{run_id}:0").encode() + b',"attempt":1,"result":' + raw + b"}]}"
    assert api.post("/workers/w/exchange", body).json() == {}
    shown = api.get(f"/workflow/run/{run_id}").body
    assert shown.count(raw) == 3
