"""Which calls a worker makes, and with what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.gateway import Gateway, attempt, problem
from tests.running import eventually, running
from workersdk import Context, Worker


async def same(payload: Any) -> Any:
    return payload


def calls_with_results(gateway: Gateway) -> list[int]:
    return [len(call["results"]) for call in gateway.exchanges if call.get("results")]


@pytest.mark.flaky(reruns=2)  # a burst counts for some milliseconds: a machine that stalls lets it ask too early
async def test_one_call_per_step_when_steps_follow_each_other() -> None:
    """The gateway gives the next job while it records the result before, as an orchestrator does for a run."""
    worker = Worker(concurrency=10)
    worker.register("act", same)
    steps = 20
    async with Gateway() as gateway, running(worker, gateway):
        await gateway.until(lambda: gateway.waiting)
        gateway.follow = lambda: gateway.add("act") if len(gateway.results) < steps else None
        await gateway.give("act")
        await gateway.until(lambda: len(gateway.results) == steps)
        assert len(gateway.exchanges) == 1 + steps
        assert all(call["capacity"] == 10 and call["wait"] == 20 for call in gateway.exchanges)


async def test_the_jobs_of_one_answer_come_back_in_one_call() -> None:
    worker = Worker(concurrency=200)
    worker.register("async", same)
    worker.register("sync", lambda payload: payload)
    async with Gateway() as gateway:
        for number in range(1000):
            gateway.add("async", number)
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.results) == 1000)
            assert calls_with_results(gateway) == [200] * 5
            for number in range(1000):
                gateway.add("sync", number)
            await gateway.wake()
            await gateway.until(lambda: len(gateway.results) == 2000)
    assert sorted(result["result"] for result in gateway.results) == sorted([*range(1000)] * 2)


async def test_jobs_may_be_as_large_as_payloads_may_whatever_other_answers_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_ANSWER_BYTES_MAX", "1000")
    worker = Worker(concurrency=3)
    worker.register("act", same)
    async with Gateway(resultBytesMax=5_000) as gateway:
        for _ in range(3):
            gateway.add("act", "x" * 4_900)
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.results) == 3)


async def test_a_result_does_not_wait_for_the_call_that_waits_for_jobs() -> None:
    """While the slow job runs, the first line waits with the rest of the capacity; its result goes out beside it."""
    finish = asyncio.Event()
    worker = Worker(concurrency=3)

    @worker.register("slow")
    async def slow(payload: Any) -> Any:
        await finish.wait()
        return "done"

    async with Gateway() as gateway, running(worker, gateway):
        await gateway.until(lambda: gateway.waiting)
        job = await gateway.give("slow")
        await gateway.until(lambda: gateway.waiting and len(gateway.exchanges) == 2)
        assert gateway.exchanges[1] == {"capacity": 2, "wait": 20.0}
        finish.set()
        await gateway.result_of(job)
        assert gateway.waiting == 1
        assert gateway.waiting_most == 1
        result = {"jobId": job["jobId"], "attempt": 1, "result": "done"}
        assert gateway.exchanges[2] == {"results": [result], "capacity": 1, "wait": 0}


async def test_no_more_jobs_are_asked_for_than_there_is_room() -> None:
    finish = asyncio.Event()
    running_now = most = 0
    worker = Worker(concurrency=3)

    @worker.register("act")
    async def act(payload: Any) -> None:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await finish.wait()
        running_now -= 1

    async with Gateway() as gateway:
        for _ in range(10):
            gateway.add("act")
        async with running(worker, gateway):
            await eventually(lambda: running_now == 3)
            assert [call["capacity"] for call in gateway.exchanges] == [3]
            finish.set()
            await gateway.until(lambda: len(gateway.results) == 10)
    assert most == 3


async def test_beside_a_job_that_runs_alone_no_other_is_asked_for() -> None:
    finish = asyncio.Event()
    worker = Worker(concurrency=3)

    @worker.register("act")
    async def act(payload: Any) -> None:
        if payload == "suspect":
            await finish.wait()

    async with Gateway() as gateway:
        suspect = gateway.add("act", "suspect", alone=True)
        async with running(worker, gateway):
            await gateway.until(lambda: not gateway.queue)
            # The gateway gives to whoever asks; a call on the way brings nothing either.
            other = await gateway.give("act")
            worker_is_quiet = len(gateway.exchanges)
            for _ in range(20):
                await asyncio.sleep(0)
            assert gateway.queue
            assert (len(gateway.exchanges), gateway.waiting) == (worker_is_quiet, 0)
            finish.set()
            await gateway.result_of(suspect)
            await gateway.result_of(other)


async def test_the_capacity_of_a_call_is_what_the_orchestrator_takes() -> None:
    worker = Worker(concurrency=50)
    worker.register("act", same)
    async with Gateway(capacityMax=7, waitMax=3) as gateway, running(worker, gateway):
        await gateway.until(lambda: gateway.waiting)
        assert gateway.exchanges == [{"capacity": 7, "wait": 3.0}]


async def test_who_answers_nothing_without_waiting_is_not_asked_all_the_time() -> None:
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def nothing(body: dict[str, Any]) -> web.Response | None:
        asked.append(loop.time())
        return web.json_response({}) if len(asked) < 4 else None

    worker = Worker()
    worker.register("act", same)
    async with Gateway() as gateway:
        gateway.refuse = nothing
        async with running(worker, gateway):
            await gateway.until(lambda: gateway.waiting)
            assert (await gateway.result_of(await gateway.give("act", 1)))["result"] == 1
    assert asked[3] - asked[0] > 0.2


async def test_a_call_stays_below_the_largest_request() -> None:
    worker = Worker(concurrency=20)
    worker.register("act", lambda payload: "x" * 1000)
    async with Gateway(requestBytesMax=6000) as gateway:
        gateway.request_bytes_max = 6000
        for _ in range(20):
            gateway.add("act")
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.results) == 20)
    assert max(calls_with_results(gateway)) == 4


async def test_a_call_that_is_too_large_is_halved_until_it_fits() -> None:
    """Something in between takes less than the orchestrator said; one result alone is too much for it."""
    worker = Worker(concurrency=20)
    worker.register("act", lambda payload: "x" * payload)
    async with Gateway() as gateway:
        gateway.request_bytes_max = 3000
        for number in range(20):
            gateway.add("act", 10_000 if number == 7 else 500)
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.results) == 20)
            assert gateway.rejected == []
    failed = [result for result in gateway.results if "error" in result]
    assert [(result["jobId"], result["error"]["type"]) for result in failed] == [("run-7:0", "ResultTooLarge")]
    assert failed[0]["error"]["retryable"] is False


async def test_a_result_that_is_refused_is_found_and_does_not_hold_up_the_others() -> None:
    def refuse(body: dict[str, Any]) -> web.Response | None:
        bad = [result for result in body.get("results", ()) if result.get("result") == "bad"]
        return problem(422, "request-invalid", "Not valid", "a field is wrong") if bad else None

    worker = Worker(concurrency=8)
    worker.register("act", same)
    async with Gateway() as gateway:
        gateway.refuse = refuse
        for number in range(8):
            gateway.add("act", "bad" if number == 5 else number)
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.results) == 8)
    failed = [result for result in gateway.results if "error" in result]
    assert [(result["jobId"], result["error"]["type"]) for result in failed] == [("run-5:0", "ResultRefused")]
    assert "a field is wrong" in failed[0]["error"]["message"]


async def test_a_result_that_is_refused_in_every_form_is_given_up() -> None:
    """Neither the result nor the failure in its place is taken: the worker goes on with its life."""
    worker = Worker(concurrency=8)
    worker.register("act", same)
    async with Gateway() as gateway:
        bad = gateway.add("act", "bad")
        gateway.refuse = lambda body: (
            problem(400, "request-invalid", "Not valid")
            if any(result["jobId"] == bad["jobId"] for result in body.get("results", ()))
            else None
        )
        good = gateway.add("act", "good")
        async with running(worker, gateway):
            assert (await gateway.result_of(good))["result"] == "good"
            await gateway.until(lambda: gateway.waiting)
    assert len(gateway.results) == 1


async def test_an_answer_that_cannot_be_read_ends_the_worker_with_its_error() -> None:
    worker = Worker()
    worker.register("act", same)
    async with Gateway() as gateway:
        gateway.answer_exchange.append(lambda body: web.json_response({"jobs": 7}))
        with pytest.raises(TypeError):
            await asyncio.wait_for(worker.run(gateway.url), 5)
    assert gateway.left == [worker.worker_id]


async def test_a_job_that_comes_twice_is_done_once() -> None:
    done: list[Any] = []
    finish = asyncio.Event()
    worker = Worker(concurrency=5)

    @worker.register("act")
    async def act(payload: Any, context: Context) -> None:
        done.append((context.attempt, payload))
        await finish.wait()

    async with Gateway() as gateway:
        job = gateway.add("act", 1, attempt=2)
        gateway.queue.append(job)
        last = gateway.add("act", 2)
        gateway.queue.append(last)
        async with running(worker, gateway):
            await gateway.until(lambda: len(done) == 2)
            finish.set()
            await gateway.result_of(job)
            await gateway.result_of(last)
            assert gateway.rejected == []
    assert done == [(2, 1), (1, 2)]


async def test_a_word_about_one_attempt_leaves_the_next_one_alone() -> None:
    """The first attempt was taken for lost; the answer that says so brings the second."""
    events: list[Any] = []
    worker = Worker(concurrency=5)

    @worker.register("act")
    async def act(payload: Any, context: Context) -> str:
        if context.attempt == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                events.append(("stopped", context.attempt))
                raise
        events.append(("done", context.attempt))
        return "second"

    async with Gateway() as gateway, running(worker, gateway):
        first = await gateway.give("act")
        await gateway.until(lambda: gateway.waiting and len(gateway.exchanges) == 2)
        gateway.cancel.append(attempt(first))
        gateway.queue.append({**first, "attempt": 2})
        await gateway.wake()
        await gateway.until(lambda: len(gateway.results) == 1)
    assert sorted(events) == [("done", 2), ("stopped", 1)]
    assert [(result["attempt"], result["result"]) for result in gateway.results] == [(2, "second")]


async def test_jobs_that_cannot_be_read_are_left_alone() -> None:
    worker = Worker()
    worker.register("act", same)
    async with Gateway() as gateway:
        odd = gateway.add("act")
        odd["lease"] = None
        gateway.queue.append({"jobId": 7, "attempt": 1})
        good = gateway.add("act", "good", unknownField={"of": "a later version"})
        gateway.answer_exchange.append(lambda body: web.json_response({"jobs": [{"no": "id"}], "news": 1}))
        async with running(worker, gateway):
            assert (await gateway.result_of(good))["result"] == "good"
            assert (await gateway.result_of(odd))["result"] is None
