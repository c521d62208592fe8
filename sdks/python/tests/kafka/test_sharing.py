"""What workers do to each other: places, long jobs, suspects."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from confluent_kafka import Consumer

from tests.kafka.stage import Stage
from workersdk import Context, Worker
from workersdk.kafka.reader import WAITING_MAX


@pytest.fixture(autouse=True)
def soon_tired_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workersdk.kafka.consumer.SHED_AFTER_S", 0.2)


async def test_a_full_worker_leaves_its_jobs_to_others(stage: Stage) -> None:
    """Two workers of two places; three jobs that last. All short ones are done by the place that is left."""
    act = stage.action("act")
    finish = asyncio.Event()
    at_work: list[str] = []
    workers = [Worker(concurrency=2) for _ in range(2)]

    async def handle(payload: Any, context: Context) -> Any:
        if payload == "long":
            at_work.append(context.job_id)
            await finish.wait()
        return payload

    for worker in workers:
        worker.register(act, handle)
    async with stage.running(*workers):
        await stage.until(lambda: len(stage.heartbeats) >= 2)
        long = [stage.give(act, "long", partition=number % 4) for number in range(3)]
        await stage.until(lambda: len(at_work) == 3)
        short = [stage.give(act, "short", partition=number % 4) for number in range(40)]
        for job in short:
            await stage.result_of(job)
        assert stage.counts() == dict.fromkeys(short, 1)
        finish.set()
        for job in long:
            await stage.result_of(job)
    assert stage.counts() == dict.fromkeys([*long, *short], 1)


async def test_what_nobody_else_can_do_waits_for_a_place(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """A full worker that is alone in its group keeps its jobs, but does not fetch on and on."""
    caplog.set_level(logging.DEBUG, "workersdk")
    act = stage.action("act")
    finish = asyncio.Event()
    worker = Worker(concurrency=1)

    @worker.register(act)
    async def handle(payload: Any) -> Any:
        if payload == "long":
            await finish.wait()
        return payload

    async with stage.running(worker):
        jobs = [stage.give(act, "long", partition=0)]
        await stage.until(lambda: stage.named(jobs[0]))
        jobs += [stage.give(act, "short", partition=number % 4) for number in range(WAITING_MAX + 50)]
        await stage.until(lambda: "fetching no more" in caplog.text)
        jobs += [stage.give(act, "short", partition=number % 4) for number in range(100)]
        assert not stage.counts()
        finish.set()
        for job in jobs:
            await stage.result_of(job)
    assert stage.counts() == dict.fromkeys(jobs, 1)


async def test_a_suspect_runs_alone(stage: Stage) -> None:
    acts = [stage.action("one"), stage.action("two")]
    now = 0
    beside: dict[str, int] = {}
    worker = Worker(concurrency=5)

    async def handle(payload: Any, context: Context) -> Any:
        nonlocal now
        now += 1
        for _ in range(20):
            beside[context.job_id] = max(beside.get(context.job_id, 0), now)
            await asyncio.sleep(0)
        now -= 1
        return payload

    for act in acts:
        worker.register(act, handle)
    jobs = [stage.give(acts[n % 2], n, partition=n % 4) for n in range(100)]
    suspects = [stage.give(acts[n % 2], n, partition=n % 4, attempt=2, alone=True) for n in range(4)]
    jobs += [stage.give(acts[n % 2], n, partition=n % 4) for n in range(100)]
    async with stage.running(worker):
        for job in jobs + suspects:
            await stage.result_of(job)
    assert [beside[job] for job in suspects] == [1, 1, 1, 1]
    assert max(beside.values()) > 1
    assert set(stage.counts().values()) == {1}


async def test_what_has_finished_is_not_lost_with_a_suspect(stage: Stage) -> None:
    act = stage.action("act")
    child = await stage.child(act)
    jobs = [stage.give(act, partition=0)]
    await stage.result_of(jobs[0])
    jobs += [stage.give(act, number, partition=0) for number in range(200)]
    stage.give(act, "die", partition=0, attempt=2, alone=True)
    stage.flush()
    assert await child.ends() == 9
    for job in jobs:
        await stage.result_of(job)
    assert set(stage.counts().values()) == {1}


async def test_a_suspect_does_not_wait_for_the_long_job_of_a_full_worker(stage: Stage) -> None:
    """It cannot be alone beside a job that lasts: the worker leaves it to another one."""
    act, long = stage.action("act"), stage.action("long")
    finish = asyncio.Event()
    busy, other = Worker(concurrency=2), Worker(concurrency=2)

    @busy.register(long)
    async def wait(payload: Any) -> None:
        await finish.wait()

    for worker in (busy, other):
        worker.register(act, lambda payload, context: context.attempt)
    async with stage.running(busy, other):
        await stage.until(lambda: len(stage.heartbeats) >= 2)
        held = stage.give(long)
        await stage.until(lambda: stage.named(held))
        suspects = [stage.give(act, partition=partition, attempt=2, alone=True) for partition in range(4)]
        for job in suspects:
            assert (await stage.result_of(job))["result"] == 2
        finish.set()
        await stage.result_of(held)


async def test_nothing_is_asked_about_topics_while_the_client_calls_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process: the client loses sight of the call that it calls back in, and trips over the next."""
    asked: list[bool] = []

    class Watched(Consumer):
        """Notes for each question about topics whether the client was calling back."""

        is_calling = False

        def subscribe(self, topics: list[str], **callbacks: Any) -> None:  # type: ignore[override]
            def watched(call: Any) -> Any:
                def calling(*values: Any) -> None:
                    self.is_calling = True
                    call(*values)
                    self.is_calling = False

                return calling

            super().subscribe(topics, **{name: watched(call) for name, call in callbacks.items()})

        def list_topics(self, *values: Any, **named: Any) -> Any:
            asked.append(self.is_calling)
            return super().list_topics(*values, **named)

    monkeypatch.setattr("workersdk.kafka.consumer.Consumer", Watched)
    act = stage.action("act")
    finish = asyncio.Event()
    worker = Worker(concurrency=1)

    @worker.register(act)
    async def handle(payload: Any) -> Any:
        await finish.wait()
        return payload

    async with stage.running(worker):
        jobs = [stage.give(act, number, partition=0) for number in range(2)]
        # Full, it looks whether there are others.
        await stage.until(lambda: bool(asked))
        finish.set()
        for job in jobs:
            await stage.result_of(job)
    assert set(asked) == {False}
