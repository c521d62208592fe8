"""Running handlers, without a transport."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.running import eventually
from workersdk import Context, NonRetryableError
from workersdk.execution import Execution
from workersdk.handlers import make_handler
from workersdk.jobs import Job, Stop
from workersdk.outcomes import Outcome

LOGGER = logging.getLogger("workersdk")


class Bench:
    """An execution, and what it delivered."""

    def __init__(self, handler: Callable[..., Any], concurrency: int = 100) -> None:
        self.delivered: list[Outcome] = []
        self.deliveries = 0
        handlers = {"act": make_handler("act", handler)}
        self.execution = Execution(handlers, concurrency, LOGGER, self.deliver, lambda: None)

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        self.delivered.extend(outcomes)
        self.deliveries += 1

    def start(self, count: int) -> list[Job]:
        jobs = [Job({"jobId": f"run:{n}", "attempt": 1, "action": "act", "payload": n}, 0.0) for n in range(count)]
        self.execution.start(jobs)
        return jobs

    async def bodies(self, count: int) -> list[dict[str, Any]]:
        await eventually(lambda: len(self.delivered) == count)
        self.execution.close()
        return [json.loads(outcome.body) for outcome in self.delivered]


async def later(payload: Any) -> Any:
    return payload


@pytest.mark.parametrize("handler", [later, lambda payload: payload], ids=["async", "sync"])
async def test_a_job_that_is_stopped_before_it_has_begun_is_given_back(handler: Any) -> None:
    bench = Bench(handler)
    job = Job({"jobId": "run:0", "attempt": 1, "action": "act"}, 0.0)
    job.stop = Stop.FENCED
    bench.execution.start([job])
    bench.execution.stop(job, Stop.CANCELLED)
    assert await bench.bodies(1) == [{"jobId": "run:0", "attempt": 1, "status": "released"}]
    assert job.stop is Stop.FENCED


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("end", ["returns", "raises", "raises for good"])
async def test_what_comes_of_a_job_that_has_seen_it_is_not_wanted_is_not_used(is_async: bool, end: str) -> None:
    begun, never = threading.Event(), threading.Event()

    def finish(context: Context) -> str:
        while not context.cancelled:
            never.wait(0.001)
        if end == "raises":
            raise ValueError("nobody wants it")
        if end == "raises for good":
            raise NonRetryableError("nobody wants it")
        return "half"

    def sync(payload: Any, context: Context) -> str:
        begun.set()
        return finish(context)

    async def coroutine(payload: Any, context: Context) -> str:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return finish(context)

    bench = Bench(coroutine if is_async else sync)
    (job,) = bench.start(1)
    await eventually(begun.is_set)
    bench.execution.stop(job, Stop.FENCED)
    assert [body["status"] for body in await bench.bodies(1)] == ["released"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_who_runs_a_worker_sees_that_its_handler_fails(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    def sync(payload: Any) -> None:
        raise ValueError("no such account")

    async def coroutine(payload: Any) -> None:
        sync(payload)

    with caplog.at_level(logging.DEBUG, "workersdk"):
        bench = Bench(coroutine if is_async else sync)
        bench.start(1)
        await bench.bodies(1)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["<Job act run:0 attempt 1> failed: ValueError: no such account"]
    assert any("Traceback" in record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG)


async def test_a_result_that_was_done_before_the_stop_was_seen_counts() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def handler(payload: Any, context: Context) -> str:
        assert not context.cancelled
        begun.set()
        go_on.wait(30)
        return "whole"

    bench = Bench(handler)
    (job,) = bench.start(1)
    await eventually(begun.is_set)
    bench.execution.stop(job, Stop.FENCED)
    go_on.set()
    assert (await bench.bodies(1))[0]["result"] == "whole"


async def test_an_async_job_that_is_stopped_at_once_is_not_begun() -> None:
    begun: list[Any] = []

    async def handler(payload: Any) -> None:
        begun.append(payload)

    bench = Bench(handler)
    (job,) = bench.start(1)
    bench.execution.stop(job, Stop.CANCELLED)
    assert [body["status"] for body in await bench.bodies(1)] == ["released"]
    assert begun == []


async def test_short_sync_jobs_share_a_thread_and_a_delivery() -> None:
    names: set[str] = set()

    def handler(payload: Any) -> None:
        names.add(threading.current_thread().name)

    bench = Bench(handler)
    bench.start(100)
    await bench.bodies(100)
    assert len(names) < 10
    assert bench.deliveries < 20


async def test_sync_jobs_that_block_get_threads_up_to_the_limit_and_use_them_again() -> None:
    barrier = threading.Barrier(60)
    names: set[str] = set()

    def handler(payload: Any) -> None:
        names.add(threading.current_thread().name)
        barrier.wait(5)

    bench = Bench(handler, concurrency=60)
    bench.start(60)
    await eventually(lambda: len(bench.delivered) == 60)
    bench.start(60)
    assert len(await bench.bodies(120)) == 120
    assert len(names) == 60
    assert not any("error" in body for body in await bench.bodies(120))


async def test_threads_end_with_the_execution() -> None:
    bench = Bench(lambda payload: payload)
    bench.start(5)
    await bench.bodies(5)
    own = [thread for thread in threading.enumerate() if thread.name.startswith("workersdk-")]
    await eventually(lambda: not any(thread.is_alive() for thread in own))


async def test_what_many_async_handlers_have_done_in_one_turn_of_the_loop_is_delivered_together() -> None:
    bench = Bench(later)
    bench.start(100)
    assert [body["result"] for body in await bench.bodies(100)] == list(range(100))
    assert bench.deliveries == 1
