"""A job from its record to the record of its result."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from tests.kafka.stage import PARTITIONS, Stage
from workersdk import Context, NonRetryableError, RetryLater, Worker
from workersdk.kafka import heartbeat


async def test_a_result_says_what_the_protocol_wants(stage: Stage) -> None:
    act = stage.action("act")
    worker = Worker()
    worker.register(act, lambda payload: {"seen": payload})
    async with stage.running(worker):
        job = stage.give(act, {"n": 12345678901234567890, "x": "é"})
        result = await stage.result_of(job)
    started_at = result.pop("startedAt")
    assert started_at.endswith("Z")
    assert result == {
        "workflowRunId": job[:-2],
        "action": act,
        "jobId": job,
        "attempt": 1,
        "result": {"seen": {"n": 12345678901234567890, "x": "é"}},
        "status": "completed",
        "workerId": worker.worker_id,
    }
    record = stage.results[0]
    assert record.key == job[:-2]
    assert record.headers == {"wf-job-id": job, "wf-attempt": "1", "content-type": "application/json"}


async def test_a_result_goes_to_the_partition_that_its_job_names(stage: Stage) -> None:
    act = stage.action("act")
    count = PARTITIONS["results"]
    worker = Worker(concurrency=100)
    worker.register(act, lambda payload: payload)
    async with stage.running(worker):
        homes = {stage.give(act, home=b"%d" % home): home for home in range(count) for _ in range(5)}
        elsewhere = [stage.give(act, home=home) for home in (b"%d" % count, b"999999999", b"none", None)]
        await stage.until(lambda: len(stage.counts()) == len(homes) + len(elsewhere))
    found = {result.value["jobId"]: result.partition for result in stage.results}
    assert {job: found[job] for job in homes} == homes
    assert set(stage.counts().values()) == {1}


async def test_failures_say_whether_another_attempt_helps(stage: Stage) -> None:
    worker = Worker()

    @worker.register(stage.action("error"))
    def error(payload: Any) -> None:
        raise ValueError("no luck")

    @worker.register(stage.action("never"))
    async def never(payload: Any) -> None:
        raise NonRetryableError("nothing to charge", type="InvalidOrder")

    @worker.register(stage.action("later"))
    async def later(payload: Any, context: Context) -> None:
        context.heartbeat({"done": 1})
        raise RetryLater(60, "closed")

    async with stage.running(worker):
        jobs = [stage.give(stage.action(name), attempt=2) for name in ("error", "never", "later")]
        results = [await stage.result_of(job) for job in jobs]
    assert [(result["status"], result["attempt"], result["result"]) for result in results] == [("failed", 2, None)] * 3
    error_, never_, later_ = (result["error"] for result in results)
    assert (error_["type"], error_["message"], error_.get("retryable")) == ("ValueError", "no luck", None)
    assert "raise ValueError" in error_["stack"]
    assert (never_["type"], never_["retryable"]) == ("InvalidOrder", False)
    assert later_["retryAfter"] == 60
    assert results[2]["details"] == {"done": 1}


async def test_jobs_that_were_there_before_the_worker_are_done(stage: Stage) -> None:
    """A new group begins an hour ago."""
    act = stage.action("act")
    jobs = [stage.give(act, number, partition=number % 4) for number in range(8)]
    worker = Worker()
    worker.register(act, lambda payload: payload)
    async with stage.running(worker):
        assert [(await stage.result_of(job))["result"] for job in jobs] == list(range(8))
    assert [stage.committed(act, partition) for partition in range(4)] == [2, 2, 2, 2]


async def test_a_job_of_three_fields_is_a_job(stage: Stage) -> None:
    act = stage.action("act")
    ids: list[str] = []
    worker = Worker()

    @worker.register(act)
    async def handle(payload: Any, context: Context) -> Any:
        ids.append(context.job_id)
        return f"Processed: {payload}"

    async with stage.running(worker):
        stage.write("jobs", json.dumps({"workflowRunId": "run-1", "action": act, "payload": "x"}).encode(), partition=2)
        await stage.until(lambda: stage.results)
    key, headers, value, _ = stage.results[0]
    del value["startedAt"]
    assert (key, headers) == ("run-1", {"content-type": "application/json"})
    assert value == {
        "workflowRunId": "run-1",
        "action": act,
        "result": "Processed: x",
        "status": "completed",
        "workerId": worker.worker_id,
    }
    assert ids == [f"{stage.topics['jobs']}:2:0"]


async def test_what_the_value_leaves_out_is_taken_from_the_headers(stage: Stage) -> None:
    act = stage.action("act")
    worker = Worker()
    worker.register(act, lambda payload: payload)
    value = json.dumps({"workflowRunId": "run-1", "payload": "x"}).encode()
    headers = [("traceparent", b"00"), ("wf-action", act.encode()), ("wf-job-id", b"j"), ("wf-attempt", b"3")]
    async with stage.running(worker):
        stage.write("jobs", value, None, headers)
        result = await stage.result_of("j")
    assert (result["attempt"], result["action"], result["result"]) == (3, act, "x")


async def test_the_context_has_the_trace_of_the_headers(stage: Stage) -> None:
    act = stage.action("act")
    worker = Worker()
    worker.register(act, lambda payload, context: [context.traceparent, context.tracestate, context.trace])
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=value"}
    value = json.dumps({"workflowRunId": "run-1", "payload": "x"}).encode()
    headers = [
        ("wf-action", act.encode()),
        ("wf-job-id", b"j"),
        *((name, text.encode()) for name, text in trace.items()),
    ]
    async with stage.running(worker):
        stage.write("jobs", value, None, headers)
        result = await stage.result_of("j")
    assert result["result"] == [*trace.values(), trace]
    told = {"wf-job-id": "j", "wf-attempt": "1", "content-type": "application/json"}
    assert stage.results[-1].headers == {**told, **trace}


async def test_records_that_are_no_jobs_are_passed_over_and_told_once(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    act = stage.action("act")
    worker = Worker()
    worker.register(act, lambda payload: payload)
    worker.register(stage.action("other"), lambda payload: payload)
    bad: list[bytes | None] = [None, b"", b"\xff", b"[" * 100_000, b"3", b"{}", b'{"action":7}', b"null"]
    for value in bad:
        stage.write("jobs", value, partition=1)
    for value in (b"{", b'{"payload":1}', b'{"workflowRunId":1}', b'{"workflowRunId":"\\ud800"}'):
        stage.write("jobs", value, None, [("wf-action", act.encode())], partition=1)
    with caplog.at_level(logging.WARNING, "workersdk"):
        async with stage.running(worker):
            assert (await stage.result_of(stage.give(act, "after them", partition=1)))["result"] == "after them"
            await stage.until(lambda: stage.committed(stage.action("other"), 1) == 13)
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "is not a job" in text]) == 1
    assert f"12 records on {stage.topics['jobs']} were no jobs" in told


async def test_a_result_that_the_broker_does_not_take_fails_for_good(stage: Stage) -> None:
    act = stage.action("act")
    worker = Worker()

    @worker.register(act)
    async def handle(payload: Any) -> Any:
        # Digits that do not compress below the broker's mebibyte; small ones beside it must not fall with it.
        return payload if payload else "".join(str(hash((n, "salt")) % 10**9) for n in range(190_000))

    async with stage.running(worker):
        stuck = stage.give(act, None, partition=0)
        others = [stage.give(act, number, partition=number % 4) for number in range(1, 20)]
        result = await stage.result_of(stuck)
        assert [(await stage.result_of(job))["result"] for job in others] == list(range(1, 20))
    assert (result["status"], result["error"]["type"], result["error"]["retryable"]) == (
        "failed",
        "ResultTooLarge",
        False,
    )
    assert set(stage.counts().values()) == {1}


async def test_a_cancelled_attempt_stops_and_reports_nothing(stage: Stage) -> None:
    act = stage.action("act")
    stopped: list[str] = []
    running: list[str] = []
    worker = Worker()

    @worker.register(act)
    async def handle(payload: Any, context: Context) -> Any:
        if payload == "short":
            return payload
        running.append(context.job_id)
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(context.job_id)

    async with stage.running(worker):
        job = stage.give(act, "long")
        await stage.until(lambda: running)
        stage.cancel(job, attempt=2)
        stage.write("control", b"not a word")
        stage.write("control", b'{"type":"news"}')
        stage.cancel(job)
        await stage.until(lambda: stopped)
        await stage.result_of(stage.give(act, "short"))
    assert stopped == [job]
    assert stage.counts()[job] == 0


async def test_heartbeats_announce_name_and_take_leave(stage: Stage) -> None:
    act = stage.action("act")
    finish = threading.Event()
    worker = Worker(concurrency=3, lease=3)

    @worker.register(act)
    def handle(payload: Any, context: Context) -> Any:
        context.heartbeat({"done": 40})
        finish.wait()
        return payload

    task = asyncio.create_task(worker.run(stage.servers, "my-fleet"))
    await stage.until(lambda: stage.heartbeats)
    job = stage.give(act, details={"done": 3})
    stage.write("jobs", json.dumps({"workflowRunId": "raw", "action": act}).encode())
    await stage.until(lambda: any("details" in entry for entry in stage.named(job)))
    await stage.until(lambda: len(stage.named(job)) >= 2)
    finish.set()
    await stage.result_of(job)
    worker.stop()
    await asyncio.wait_for(task, 8)
    await stage.until(lambda: stage.heartbeats[-1]["leaving"])
    first = stage.heartbeats[0]
    assert {name: first[name] for name in first if name not in ("host", "pid", "version")} == {
        "workerId": worker.worker_id,
        "sdk": "workersdk-python",
        "actions": [act],
        "group": "my-fleet",
        "concurrency": 3,
        "lease": 3,
        "heartbeat": 10,
        "capacity": 3,
        "leaving": False,
        "inFlight": [],
    }
    named = stage.named(job)
    assert named[0]["attempt"] == 1
    assert named[0]["startedAt"].endswith("Z")
    assert [entry["details"] for entry in named if "details" in entry] == [{"done": 40}]
    assert {entry["jobId"] for beat in stage.heartbeats for entry in beat["inFlight"]} == {job}
    assert stage.heartbeats[-1]["inFlight"] == []


async def test_a_worker_says_that_it_is_full_of_short_jobs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "PRESENCE_S", 60.0)
    act = stage.action("act")
    worker = Worker(concurrency=2, lease=180)

    @worker.register(act)
    async def handle(payload: Any) -> Any:
        await asyncio.sleep(0.02)
        return payload

    def full() -> list[dict[str, Any]]:
        return [beat for beat in tuple(stage.heartbeats) if beat["capacity"] == 0 and not beat["leaving"]]

    async with stage.running(worker):
        await stage.until(lambda: stage.heartbeats)
        assert stage.heartbeats[0]["capacity"] == 2
        await stage.result_of(stage.give(act, partition=0))
        jobs = [stage.give(act, partition=number % 4) for number in range(300)]
        await stage.until(full)
        assert len(stage.results) < len(jobs)
        await stage.until(lambda: len(stage.results) > len(jobs))
        # Said once, however long it lasts: until the next heartbeat that comes anyway.
        assert (len(full()), len(stage.heartbeats)) == (1, 2)


async def test_a_worker_says_that_it_is_there_idle_or_busy(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "PRESENCE_S", 0.2)
    act = stage.action("act")
    finish = threading.Event()
    worker = Worker(lease=600)
    worker.register(act, lambda payload: finish.wait())
    async with stage.running(worker):
        await stage.until(lambda: len(stage.heartbeats) >= 3)
        job = stage.give(act)
        # A third of its lease would be minutes.
        await stage.until(lambda: len(stage.named(job)) >= 3)
        finish.set()
        await stage.result_of(job)


async def test_the_label_of_a_fleet_makes_no_group_of_its_own(stage: Stage) -> None:
    act = stage.action("act")
    workers = [Worker(), Worker()]
    for worker in workers:
        worker.register(act, lambda payload: payload)
    tasks = [asyncio.create_task(worker.run(stage.servers, f"fleet-{n}")) for n, worker in enumerate(workers)]
    await stage.until(lambda: len(stage.heartbeats) >= 2)
    jobs = [stage.give(act, number) for number in range(100)]
    for job in jobs:
        await stage.result_of(job)
    for worker in workers:
        worker.stop()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert stage.counts() == dict.fromkeys(jobs, 1)


@pytest.mark.parametrize("is_strict", [False, True])
async def test_the_offset_is_committed_before_the_job_starts(stage: Stage, is_strict: bool) -> None:
    """After an assignment always, later on only in the strict form."""
    act = stage.action("act")
    worker = Worker(strict_offsets=is_strict)

    @worker.register(act)
    def handle(payload: Any) -> int:
        return stage.committed(act, 1)

    async with stage.running(worker):
        first = stage.give(act, partition=1)
        assert (await stage.result_of(first))["result"] == 1
        second = stage.give(act, partition=1)
        result = (await stage.result_of(second))["result"]
        assert result == 2 if is_strict else result in (1, 2)


async def test_a_job_that_was_cancelled_before_its_worker_came_is_passed_over(stage: Stage) -> None:
    act = stage.action("act")
    done: list[Any] = []
    cancelled, other = stage.give(act, "cancelled"), stage.give(act, "other")
    stage.cancel(cancelled)
    stage.cancel(other, attempt=2)
    stage.flush()
    worker = Worker()
    worker.register(act, done.append)
    async with stage.running(worker):
        await stage.result_of(other)
        await stage.result_of(stage.give(act, "last"))
    assert sorted(done) == ["last", "other"]
    assert stage.counts()[cancelled] == 0


async def test_an_action_may_have_a_topic_to_itself(stage: Stage) -> None:
    act, other = stage.action("act"), stage.action("other")
    worker = Worker(routes={act: stage.topics["own"]})
    for action in (act, other):
        worker.register(action, lambda payload: payload)
    async with stage.running(worker):
        first = stage.give(act, 1, topic="own")
        second = stage.give(other, 2)
        stage.give(other, 3, topic="own")
        stage.give(act, 4)
        assert (await stage.result_of(first))["result"] == 1
        assert (await stage.result_of(second))["result"] == 2
        assert (await stage.result_of(stage.give(act, 5, topic="own")))["result"] == 5
        assert (await stage.result_of(stage.give(other, 6)))["result"] == 6
    assert sum(stage.counts().values()) == 4
