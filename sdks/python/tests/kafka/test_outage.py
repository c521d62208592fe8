"""A broker that goes away: a private one, since the others are still needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.conftest import stack
from tests.kafka.stage import Stage
from workersdk import Worker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Any]:
    """A `stack.kafka.Kafka` that is not started yet."""
    kafka_of, free_port = stack()
    broker = kafka_of(tmp_path, free_port())
    yield broker
    broker.stop()


async def test_a_broker_that_comes_late_and_restarts(
    broker: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker says each outage once, and goes on by itself.

    A job in hand is told to stop when nobody has heard of it for a lease; the result that it has all the same arrives.
    """
    caplog.set_level(logging.INFO, "workersdk")
    stage = Stage(broker.url)
    for variable, value in stage.environment.items():
        monkeypatch.setenv(variable, value)
    act = stage.action("act")
    fenced: list[bool] = []
    worker = Worker(lease=3)

    @worker.register(act)
    async def handle(payload: object) -> object:
        if payload == "long":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                fenced.append(True)
        return payload

    def told(text: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if text in record.getMessage()]

    task = asyncio.create_task(worker.run(stage.servers))
    await stage.until(lambda: told("cannot reach"))
    broker.start()
    with stage:
        await stage.until(lambda: told("connected to"))
        long = stage.give(act, "long")
        await stage.until(lambda: stage.named(long))
        broker.kill()
        await stage.until(lambda: told("lost kafka://"))
        await stage.until(lambda: fenced)
        broker.start()
        assert (await stage.result_of(long))["status"] == "completed"
        await stage.until(lambda: told("connected again"))
        for number in range(8):
            assert (await stage.result_of(stage.give(act, number, partition=number % 4)))["result"] == number
        assert not task.done()
        worker.stop()
        await asyncio.wait_for(task, 10)
    assert set(stage.counts().values()) == {1}
    assert fenced == [True]
    assert [len(told(text)) for text in ("cannot reach", "connected to", "lost", "connected again")] == [1, 1, 1, 1]
