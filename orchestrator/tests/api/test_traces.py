"""The trace context of a trigger goes out with every job of its run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Api, done, failed

PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER: Final = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00"
TRACE: Final = {"traceparent": PARENT, "tracestate": "vendor=value"}


def trace_of(job: dict[str, Any]) -> dict[str, str]:
    return {name: job[name] for name in ("traceparent", "tracestate") if name in job}


def take(api: Api) -> dict[str, Any]:
    (job,) = api.take()
    return job


def test_every_job_of_a_run_carries_what_came_with_its_trigger(api: Api) -> None:
    api.define("flow", "one", "two", retry={"maxRetries": 1, "delay": 0})
    api.register("w", "one", "two")
    run_id = api.trigger(**TRACE)
    jobs = [take(api)]
    api.exchange(results=[failed(jobs[-1])])
    jobs.append(take(api))
    api.exchange(results=[{"jobId": jobs[-1]["jobId"], "attempt": 2, "status": "released"}])
    jobs.append(take(api))
    api.exchange(results=[done(jobs[-1])])
    for _ in range(2):
        jobs.append(take(api))
        api.exchange(results=[failed(jobs[-1])])
    (letter,) = api.get("/dead-letters").json()
    assert api.post(f"/dead-letters/{letter['id']}/redrive").status == 200
    jobs.append(take(api))
    api.exchange(results=[done(jobs[-1])])
    assert api.show(run_id)["status"] == "COMPLETED"
    assert [(job["stepIndex"], job["attempt"]) for job in jobs] == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    assert [trace_of(job) for job in jobs] == [TRACE] * len(jobs)
    events = api.get(f"/workflow/run/{run_id}/events").json()
    assert [event.get("traceparent") for event in events] == [PARENT] + [None] * (len(events) - 1)


@pytest.mark.parametrize("headers", [{}, {"traceparent": "nonsense", "tracestate": "a=1"}, {"tracestate": "a=1"}])
def test_a_run_that_was_started_without_a_trace_has_none(api: Api, headers: dict[str, str]) -> None:
    api.define()
    api.register()
    run_id = api.trigger(**headers)
    assert trace_of(take(api)) == {}
    assert all("traceparent" not in event for event in api.get(f"/workflow/run/{run_id}/events").json())


def test_of_two_parents_neither_is_taken_and_states_are_joined(api: Api) -> None:
    api.define()
    api.register()
    target = "/workflow/flow/trigger"
    twice = [("traceparent", PARENT), ("traceparent", OTHER)]
    assert api.run(api.call("POST", target, more=twice)).status == 201
    assert trace_of(take(api)) == {}
    states = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    assert api.run(api.call("POST", target, more=states)).status == 201
    assert trace_of(take(api)) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}


def test_the_first_trigger_of_a_key_says_where_the_run_belongs(api: Api) -> None:
    api.define()
    api.register()
    first = api.trigger(idempotency_key="k", **TRACE)
    assert api.trigger(idempotency_key="k", traceparent=OTHER) == first
    assert trace_of(take(api)) == TRACE


def test_a_state_is_cut_at_its_limit() -> None:
    with Api(Limits(tracestate_chars_max=7)) as api:
        api.define()
        api.register()
        api.trigger(traceparent=PARENT, tracestate="a=1,b=2,c=3")
        assert trace_of(take(api)) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}


def test_the_next_process_knows_it(tmp_path: Path) -> None:
    with Api(data=tmp_path) as api:
        api.define("flow", "one", "two")
        api.register("w", "one", "two")
        api.trigger(**TRACE)
        job = take(api)
    with Api(data=tmp_path) as api:
        api.register("w", "one", "two")
        api.exchange(results=[done(job)])
        assert trace_of(take(api)) == TRACE
