"""Signs of life, and what comes back with them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.gateway import Gateway, attempt, problem
from tests.running import eventually, running
from workersdk import Context, Worker


class Holding:
    """A worker whose jobs wait until the test lets them go."""

    def __init__(self, **settings: Any) -> None:
        self.go_on = asyncio.Event()
        self.contexts: list[Context] = []
        self.cancelled: list[str] = []
        self.worker = Worker(**settings)
        self.worker.register("hold", self.hold)

    async def hold(self, payload: Any, context: Context) -> Any:
        self.contexts.append(context)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            assert context.cancelled
            self.cancelled.append(context.job_id)
            raise
        return payload


async def test_jobs_in_hand_are_named_and_nothing_else() -> None:
    holding = Holding()
    async with Gateway(heartbeat=0.02) as gateway, running(holding.worker, gateway):
        await gateway.until(lambda: gateway.waiting)
        job = await gateway.give("hold")
        await gateway.until(lambda: len(gateway.heartbeats) >= 2)
        assert gateway.heartbeats[-1] == [{"jobId": job["jobId"], "attempt": 1}]
        holding.go_on.set()
        await gateway.result_of(job)
        heard = len(gateway.heartbeats)
        other = await gateway.give("hold")
        await gateway.result_of(other)
        assert len(gateway.heartbeats) <= heard + 1


async def test_details_go_with_the_next_heartbeat_once() -> None:
    holding = Holding()
    said = {"done": "40 %", "ü": [1]}
    async with Gateway(heartbeat=0.02) as gateway, running(holding.worker, gateway):
        await gateway.give("hold")
        await gateway.until(lambda: gateway.heartbeats)
        holding.contexts[0].heartbeat(said)
        holding.contexts[0].heartbeat()
        await gateway.until(lambda: gateway.heartbeats[-1][0].get("details") == said)
        heard = len(gateway.heartbeats)
        await gateway.until(lambda: len(gateway.heartbeats) > heard + 1)
        assert all("details" not in beat[0] for beat in gateway.heartbeats[heard:])
        holding.contexts[0].heartbeat("more")
        await gateway.until(lambda: gateway.heartbeats[-1][0].get("details") == "more")
        holding.go_on.set()


async def test_an_orchestrator_that_forgot_the_worker_is_told_the_details_again() -> None:
    holding = Holding()
    async with Gateway(heartbeat=0.02) as gateway, running(holding.worker, gateway):
        await gateway.give("hold")
        await gateway.until(lambda: gateway.heartbeats)
        holding.contexts[0].heartbeat(1)
        await gateway.until(lambda: gateway.heartbeats[-1][0].get("details") == 1)
        heard = len(gateway.heartbeats)
        gateway.workers.clear()
        await gateway.until(lambda: any("details" in beat[0] for beat in gateway.heartbeats[heard:]))
        holding.go_on.set()


async def test_a_call_carries_half_a_request_of_details_and_the_next_one_the_others() -> None:
    holding = Holding()
    async with Gateway(heartbeat=0.05, requestBytesMax=500) as gateway, running(holding.worker, gateway):
        for _ in range(3):
            await gateway.give("hold")
        await eventually(lambda: len(holding.contexts) == 3)
        heard = len(gateway.heartbeats)
        for context in holding.contexts:
            context.heartbeat("x" * 100)
        await gateway.until(lambda: sum("details" in job for beat in gateway.heartbeats for job in beat) == 3)
        carried = [sum("details" in job for job in beat) for beat in gateway.heartbeats[heard:]]
        assert [count for count in carried if count] == [2, 1]
        holding.go_on.set()


@pytest.mark.parametrize("details", [object(), float("nan"), "x" * 16_384], ids=["object", "nan", "long"])
async def test_details_that_cannot_be_told_are_an_error_of_the_handler(details: Any) -> None:
    worker = Worker()
    worker.register("act", lambda payload, context: context.heartbeat(details))
    async with Gateway() as gateway, running(worker, gateway):
        result = await gateway.result_of(await gateway.give("act"))
    assert result["error"]["type"] in ("ValueError", "NotJsonError")


async def test_the_last_details_of_a_failed_attempt_go_with_its_failure() -> None:
    def fail(payload: Any, context: Context) -> None:
        context.heartbeat({"done": 0})
        context.heartbeat({"done": payload})
        raise ValueError("half way")

    worker = Worker()
    worker.register("act", fail)
    async with Gateway() as gateway, running(worker, gateway):
        result = await gateway.result_of(await gateway.give("act", 7))
    assert (result["error"]["type"], result["details"]) == ("ValueError", {"done": 7})
    assert gateway.heartbeats == []


async def test_the_last_details_go_with_a_job_that_is_given_back() -> None:
    holding = Holding(drain_timeout=0)
    async with Gateway() as gateway, running(holding.worker, gateway) as task:
        job = await gateway.give("hold")
        await eventually(lambda: holding.contexts)
        holding.contexts[0].heartbeat([1])
        holding.worker.stop()
        await task
        assert await gateway.result_of(job) == {**attempt(job), "status": "released", "details": [1]}


async def test_a_heartbeat_timeout_makes_the_heart_beat_faster() -> None:
    holding = Holding()
    async with Gateway(heartbeat=1000) as gateway, running(holding.worker, gateway):
        await gateway.until(lambda: gateway.waiting)
        await gateway.give("hold", heartbeatTimeout=0.09)
        await gateway.until(lambda: len(gateway.heartbeats) >= 3)
        holding.go_on.set()


@pytest.mark.parametrize("word", ["cancel", "unknown"])
async def test_a_job_that_is_not_wanted_any_more_is_stopped_and_not_reported(word: str) -> None:
    """Both places of the worker are taken, so that no call waits and only a heartbeat can tell."""
    holding = Holding(concurrency=2)
    async with Gateway(heartbeat=0.02) as gateway, running(holding.worker, gateway):
        stopped, kept = await gateway.give("hold", 1), await gateway.give("hold", 2)
        await gateway.until(lambda: gateway.heartbeats and len(gateway.heartbeats[-1]) == 2)
        getattr(gateway, word).append(attempt(stopped))
        await eventually(lambda: holding.cancelled == [stopped["jobId"]])
        again = await gateway.give("hold", 3)
        holding.go_on.set()
        assert (await gateway.result_of(kept))["result"] == 2
        assert (await gateway.result_of(again))["result"] == 3
    assert len(gateway.results) == 2


async def test_a_waiting_call_brings_a_cancellation_at_once() -> None:
    holding = Holding(concurrency=2)
    async with Gateway() as gateway, running(holding.worker, gateway):
        job = await gateway.give("hold")
        await gateway.until(lambda: gateway.waiting and gateway.in_hand)
        gateway.cancel.append(attempt(job))
        await gateway.wake()
        await eventually(lambda: holding.cancelled)
    assert gateway.results == []


async def test_a_sync_handler_sees_that_it_is_cancelled() -> None:
    loop, begun, seen, pause = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event(), threading.Event()
    worker = Worker(concurrency=2)

    @worker.register("act")
    def act(payload: Any, context: Context) -> str:
        loop.call_soon_threadsafe(begun.set)
        while not context.cancelled:
            pause.wait(0.001)
        loop.call_soon_threadsafe(seen.set)
        return "too late"

    async with Gateway() as gateway, running(worker, gateway):
        job = await gateway.give("act")
        await begun.wait()
        gateway.cancel.append(attempt(job))
        await gateway.wake()
        await asyncio.wait_for(seen.wait(), 5)
    assert gateway.results == []


async def test_a_handler_that_was_cancelled_but_goes_on_is_not_reported() -> None:
    worker = Worker(concurrency=2)
    done = asyncio.Event()

    @worker.register("act")
    async def act(payload: Any) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            done.set()
        return "all the same"

    async with Gateway() as gateway, running(worker, gateway):
        job = await gateway.give("act")
        await gateway.until(lambda: gateway.waiting and gateway.in_hand)
        gateway.cancel.append(attempt(job))
        await gateway.wake()
        await asyncio.wait_for(done.wait(), 5)
    assert gateway.results == []


async def test_a_forgotten_worker_registers_again_and_beats_on() -> None:
    holding = Holding(concurrency=1)
    async with Gateway(heartbeat=0.02) as gateway, running(holding.worker, gateway):
        job = await gateway.give("hold")
        await gateway.until(lambda: gateway.heartbeats)
        heard = len(gateway.heartbeats)
        gateway.answer_heartbeat.append(lambda: problem(404, "worker-not-found", "No such worker"))
        await gateway.until(lambda: len(gateway.registrations) == 2 and len(gateway.heartbeats) > heard)
        assert gateway.heartbeats[-1][0]["jobId"] == job["jobId"]
        holding.go_on.set()
