"""The orchestrator goes away, forgets, comes back."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from tests.gateway import Gateway, problem
from tests.running import eventually, running
from workersdk import Context, RegistrationError, Worker


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setattr("random.uniform", lambda low, high: min(high, 0.02))
    with caplog.at_level(logging.INFO, "workersdk"):
        yield


def lines(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def echo() -> Worker:
    worker = Worker(worker_id="w-1")
    worker.register("act", lambda payload: payload)
    return worker


async def told(caplog: pytest.LogCaptureFixture, text: str, count: int) -> None:
    await eventually(lambda: len(lines(caplog, text)) == count)


async def test_it_starts_before_the_orchestrator_does(caplog: pytest.LogCaptureFixture) -> None:
    async with Gateway() as gateway:
        await gateway.down()
        async with running(echo(), gateway):
            await eventually(lambda: lines(caplog, "cannot reach the orchestrator"))
            await gateway.up()
            assert (await gateway.result_of(await gateway.give("act", 1)))["result"] == 1
    assert len(lines(caplog, "cannot reach the orchestrator")) == 1
    assert len(lines(caplog, "worker w-1 connected to")) == 1
    assert not lines(caplog, "connected again")


async def test_it_comes_back_by_itself_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async with Gateway() as gateway, running(echo(), gateway):
        await gateway.until(lambda: gateway.waiting)
        for outage in (1, 2):
            await gateway.down()
            await told(caplog, "lost the orchestrator at", outage)
            await gateway.up()
            assert (await gateway.result_of(await gateway.give("act", outage)))["result"] == outage
    assert len(lines(caplog, "lost the orchestrator at")) == 2
    assert "connection refused" in lines(caplog, "lost the orchestrator at")[0]
    assert len(lines(caplog, "connected again to")) == 2


async def test_results_survive_an_outage() -> None:
    finish = asyncio.Event()
    worker = Worker(concurrency=3)

    @worker.register("act")
    async def act(payload: Any) -> Any:
        await finish.wait()
        return payload

    async with Gateway() as gateway:
        jobs = [gateway.add("act", number) for number in range(3)]
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.in_hand) == 3)
            await gateway.down()
            finish.set()
            await gateway.up()
            assert [(await gateway.result_of(job))["result"] for job in jobs] == [0, 1, 2]


async def test_a_report_that_failed_is_sent_again_although_another_call_waits() -> None:
    finish = asyncio.Event()
    worker = Worker(concurrency=2)

    @worker.register("act")
    async def act(payload: Any) -> None:
        await finish.wait()

    async with Gateway() as gateway, running(worker, gateway):
        job = await gateway.give("act")
        await gateway.until(lambda: gateway.in_hand and gateway.waiting)
        gateway.answer_exchange = [lambda body: web.Response(status=503) for _ in range(3)]
        finish.set()
        await gateway.result_of(job)
        assert gateway.waiting == 1


@pytest.mark.parametrize(
    ("code", "level"),
    [("already-recorded", None), ("run-finished", "INFO"), ("attempt-superseded", "WARNING"), ("news", "WARNING"),
     ("result-invalid", "ERROR")],
)  # fmt: skip
async def test_a_rejected_result_is_told_and_not_sent_again(
    code: str, level: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with Gateway() as gateway, running(echo(), gateway):
        rejection = {"jobId": "run-0:0", "attempt": 1, "code": code, "reason": f"because of {code}"}
        gateway.refuse = lambda body: web.json_response({"rejected": [rejection]}) if body.get("results") else None
        await gateway.give("act")
        await gateway.until(lambda: gateway.waiting and any(call.get("results") for call in gateway.exchanges))
        assert sum(len(call.get("results", ())) for call in gateway.exchanges) == 1
    assert gateway.results == []
    told = [record for record in caplog.records if f"because of {code}" in record.getMessage()]
    assert [record.levelname for record in told] == ([level] if level else [])


async def test_a_result_whose_answer_was_lost_is_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    async with Gateway() as gateway:
        gateway.lose_answers = 1
        async with running(echo(), gateway):
            job = await gateway.give("act", "once")
            await gateway.until(lambda: gateway.rejected)
    assert [result["result"] for result in gateway.results] == ["once"]
    assert not lines(caplog, "was not used")
    assert gateway.rejected[:1] == [
        {"jobId": job["jobId"], "attempt": 1, "code": "already-recorded", "reason": "before"}
    ]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 403, 404, 200])
async def test_a_strange_answer_is_an_outage_and_loses_nothing(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Two of them: the first failure is tried again at once and not told."""
    async with Gateway() as gateway, running(echo(), gateway):
        await gateway.until(lambda: gateway.waiting)
        gateway.answer_exchange = [lambda body: web.Response(status=status, text="<html>") for _ in range(2)]
        assert (await gateway.result_of(await gateway.give("act", 1)))["result"] == 1
        await eventually(lambda: lines(caplog, "connected again"))
    assert len(lines(caplog, "lost the orchestrator at")) == 1


async def test_a_worker_that_was_forgotten_registers_again_and_keeps_its_jobs() -> None:
    finish = asyncio.Event()
    worker = Worker()

    @worker.register("act")
    async def act(payload: Any) -> Any:
        await finish.wait()
        return payload

    async with Gateway() as gateway, running(worker, gateway):
        job = await gateway.give("act", 1)
        await gateway.until(lambda: gateway.waiting and gateway.in_hand)
        gateway.workers.clear()
        finish.set()
        assert (await gateway.result_of(job))["result"] == 1
        await gateway.until(lambda: len(gateway.registrations) == 2)
    assert gateway.registrations[0] == gateway.registrations[1]
    assert gateway.left == [worker.worker_id]


async def test_what_it_says_when_it_registers() -> None:
    worker = Worker(concurrency=7, worker_id="w-7", lease=45)
    worker.register("b", str)
    worker.register("a", str)
    async with Gateway() as gateway, running(worker, gateway):
        await gateway.until(lambda: gateway.registrations)
    (said,) = gateway.registrations
    assert {key: said[key] for key in ("workerId", "actions", "concurrency", "lease", "sdk", "version")} == {
        "workerId": "w-7", "actions": ["b", "a"], "concurrency": 7, "lease": 45,
        "sdk": "workersdk-python", "version": "0.1.0",
    }  # fmt: skip
    assert said["pid"] > 0
    assert said["host"]


async def test_a_refused_registration_is_an_error_with_its_reason() -> None:
    async with Gateway() as gateway:
        gateway.refuse_registration = problem(422, "registration-invalid", "Not valid", "actions[0]: no spaces")
        with pytest.raises(RegistrationError, match=r"422 Not valid\): actions\[0\]: no spaces") as caught:
            await echo().run(gateway.url)
    assert (caught.value.status, caught.value.detail) == (422, "actions[0]: no spaces")


async def test_a_refusal_in_the_middle_ends_the_worker() -> None:
    async with Gateway() as gateway:
        task = asyncio.create_task(echo().run(gateway.url))
        await gateway.until(lambda: gateway.waiting)
        gateway.refuse_registration = problem(400, "registration-invalid", "Not valid", "no more")
        gateway.workers.clear()
        gateway.answer_exchange.append(lambda body: problem(404, "worker-not-found", "No such worker"))
        await gateway.give("act")
        with pytest.raises(RegistrationError, match="no more"):
            await asyncio.wait_for(task, 5)


async def test_jobs_are_fenced_when_nobody_was_heard_for_the_lease(caplog: pytest.LogCaptureFixture) -> None:
    """The async handler is cancelled, the sync one sees the flag: both jobs are given back, whatever came of them."""
    sync_saw, pause = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    worker = Worker()

    @worker.register("async")
    async def later(payload: Any, context: Context) -> None:
        await asyncio.Event().wait()

    @worker.register("sync")
    def sync(payload: Any, context: Context) -> bool:
        while not context.cancelled:
            pause.wait(0.001)
        loop.call_soon_threadsafe(sync_saw.set)
        return context.cancelled

    async with Gateway(lease=0.3, heartbeat=0.1) as gateway:
        first, second = gateway.add("async"), gateway.add("sync")
        async with running(worker, gateway):
            await gateway.until(lambda: len(gateway.in_hand) == 2)
            await gateway.down()
            await asyncio.wait_for(sync_saw.wait(), 5)
            await gateway.up()
            assert (await gateway.result_of(first))["status"] == "released"
            assert (await gateway.result_of(second))["status"] == "released"
    assert len(lines(caplog, "could not be reached for longer than the lease")) == 2


async def test_it_can_be_stopped_while_nobody_is_there() -> None:
    async with Gateway() as gateway:
        await gateway.down()
        worker = echo()
        task = asyncio.create_task(worker.run(gateway.url))
        await asyncio.sleep(0)
        worker.stop()
        await asyncio.wait_for(task, 5)
