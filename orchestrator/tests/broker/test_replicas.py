"""Two processes over one PostgreSQL and one Kafka, with and without a Redis beside them: who waits is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.ports.hints import HintsReport
from orchestrator.settings import Settings
from stack.ports import free_port
from stack.redis import Redis
from tests.broker.site import PATIENCE_SECONDS, Site, define, eventually, trigger

pytestmark = pytest.mark.timeout(300)

# A machine that is busy with other tests is no reason to call Redis slow.
PATIENT = Limits(redis_seconds_max=5.0, redis_rest_seconds=0.2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own."""
    with Redis(tmp_path / "redis", free_port()).running() as started:
        yield started


@asynccontextmanager
async def process(site: Site, url: str = "") -> AsyncIterator[Orchestrator]:
    """Run an orchestrator while the block runs; with a Redis, from when it hears what others tell."""
    settings = Settings(
        database=site.database,
        kafka=site.kafka,
        kafka_prefix=site.prefix,
        partitions=3,
        redis=url,
        redis_prefix=site.prefix,
        limits=PATIENT,
    )
    async with open_orchestrator(settings) as orchestrator:
        if url:
            await eventually(lambda: _hears(orchestrator))
        yield orchestrator


async def _hears(orchestrator: Orchestrator) -> bool:
    return report_of(orchestrator).is_listening


def report_of(orchestrator: Orchestrator) -> HintsReport:
    assert orchestrator.life.hints is not None
    return orchestrator.life.hints.report


@pytest.mark.parametrize("with_redis", [False, True])
async def test_who_waits_at_one_process_is_told_of_an_end_at_another(
    site: Site, request: pytest.FixtureRequest, with_redis: bool
) -> None:
    url = request.getfixturevalue("server").url if with_redis else ""
    async with process(site, url) as one, process(site, url) as other:
        await define(one, {"action": "step1"})
        run_id = await trigger(one)
        # Twice as long as anybody has patience: an answer at all shows that somebody told.
        wait = Duration(round(2 * PATIENCE_SECONDS * MICROS))
        waiting = [asyncio.create_task(other.run(run_id, wait)) for _ in range(3)]
        await eventually(lambda: _awaits(other, run_id))
        await one.cancel(run_id, b"")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert [(await task).status for task in waiting] == ["CANCELLED"] * 3
        if with_redis:
            assert report_of(one).told >= 1
            await eventually(lambda: _heard(other))


async def _awaits(orchestrator: Orchestrator, run_id: RunId) -> bool:
    return orchestrator.life.waits.is_awaited(run_id)


async def _heard(orchestrator: Orchestrator) -> bool:
    return report_of(orchestrator).heard >= 1


async def test_who_waits_is_told_also_when_redis_dies_meanwhile(site: Site, server: Redis) -> None:
    async with process(site, server.url) as one, process(site, server.url) as other:
        await define(one, {"action": "step1"})
        run_id = await trigger(one)
        waiting = asyncio.create_task(other.run(run_id, Duration(round(2 * PATIENCE_SECONDS * MICROS))))
        await eventually(lambda: _awaits(other, run_id))
        server.kill()
        await one.cancel(run_id, b"")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert (await waiting).status == "CANCELLED"
