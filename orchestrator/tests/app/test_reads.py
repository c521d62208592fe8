"""Many read one run: what each gets is no older than its question, and they cost what one costs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.app import reads as reading
from orchestrator.app.reads import REMEMBERED, Reads
from orchestrator.app.reasons import Reasons
from orchestrator.model.errors import RunNotFound, Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS
from orchestrator.ports.queries import RunRecord
from tests.app.stage import Stage, done, make_stage

STEPS = ("one", "two", "three", "four")


class SlowQueries(SqliteQueries):
    """Queries over a distance: each takes a while, and reads the store somewhere in it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.reads = 0
        self.delay = 0.01
        self.is_there = True
        self.chance = random.Random(1)

    async def run(self, run_id: RunId) -> RunRecord | None:
        self.reads += 1
        before = self.delay * self.chance.random()
        await asyncio.sleep(before)
        if not self.is_there:
            raise Unavailable("the store does not answer")
        found = await super().run(run_id)
        await asyncio.sleep(self.delay - before)
        return found


class Reader:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.queries = SlowQueries(stage.database)
        server = stage.orchestrator
        reasons = Reasons(server.life.roll)
        self.reads = Reads(self.queries, server._plan, stage.gateway, reasons, stage.clock, server.limits)

    async def complete(self, run_id: RunId) -> None:
        for _ in STEPS:
            await self.stage.exchange("w", done(await self.stage.take_one("w"), "result"))
        assert (await self.stage.orchestrator._queries.run(run_id)).status == "COMPLETED"  # type: ignore[union-attr]


@asynccontextmanager
async def make_reader(**limits: float) -> AsyncIterator[Reader]:
    async with make_stage(**limits) as stage:
        await stage.define(*STEPS)
        stage.register("w", *STEPS)
        yield Reader(stage)


async def test_who_asks_at_the_same_time_shares_and_nobody_gets_what_was_read_before_it_asked() -> None:
    async with make_reader() as reader:
        run_id = await reader.stage.trigger()
        first = asyncio.create_task(reader.reads.read(run_id))
        await asyncio.sleep(0.001)
        await reader.stage.exchange("w", done(await reader.stage.take_one("w")))
        others = [asyncio.create_task(reader.reads.read(run_id)) for _ in range(100)]
        await first
        assert [(await other).current_step for other in others] == [1] * 100
        assert reader.queries.reads == 2
        assert reader.reads._under_way == {}


@pytest.mark.parametrize("seed", range(20))
async def test_for_nobody_a_run_goes_backwards_or_lags(seed: int) -> None:
    async with make_reader() as reader:
        chance = random.Random(seed)
        run_id = await reader.stage.trigger()
        done_steps = 0

        async def poll() -> None:
            seen = 0
            while seen < len(STEPS):
                least = done_steps
                await asyncio.sleep(chance.random() * 0.02)
                now = len((await reader.reads.read(run_id)).step_results)
                assert now >= max(seen, least)
                seen = now

        async def work() -> None:
            nonlocal done_steps
            for _ in STEPS:
                await asyncio.sleep(chance.random() * 0.1)
                await reader.stage.exchange("w", done(await reader.stage.take_one("w")))
                done_steps += 1

        await asyncio.gather(work(), *(poll() for _ in range(10)))


async def test_a_completed_run_is_remembered_for_a_moment() -> None:
    async with make_reader() as reader:
        run_id = await reader.stage.trigger()
        await reader.complete(run_id)
        views = [await reader.reads.read(run_id) for _ in range(100)]
        assert views[0].status == "COMPLETED"
        assert all(view is views[0] for view in views)
        assert reader.queries.reads == 1
        await asyncio.sleep(REMEMBERED / MICROS)
        await reader.reads.read(run_id)
        assert reader.queries.reads == 2


@pytest.mark.parametrize("end", ["RUNNING", "FAILED", "CANCELLED"])
async def test_what_may_still_change_is_read_each_time(end: str) -> None:
    async with make_reader() as reader:
        run_id = await reader.stage.trigger()
        if end == "FAILED":
            job = await reader.stage.take_one("w")
            error = {"type": "Broke", "retryable": False}
            await reader.stage.exchange(
                "w", {"jobId": job.job_id, "attempt": job.attempt, "status": "failed", "error": error}
            )
        elif end == "CANCELLED":
            await reader.stage.orchestrator.cancel(run_id, b"")
        for _ in range(3):
            assert (await reader.reads.read(run_id)).status == end
        assert reader.queries.reads == 3


@pytest.mark.parametrize("case", ["large", "removed soon", "many"])
async def test_what_is_remembered_is_little_and_nothing_that_may_go(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases: dict[str, dict[str, float]] = {
        "large": {},
        "removed soon": {"runs_kept_seconds": 9.0},
        "many": {"completed_runs_cached_max": 1},
    }
    if case == "large":
        monkeypatch.setattr(reading, "REMEMBERED_BYTES_MAX", 10)
    async with make_reader(**cases[case]) as reader:
        runs: list[RunId] = []
        for _ in range(2):
            runs.append(await reader.stage.trigger(b'"a long input"'))
            await reader.complete(runs[-1])
        for _ in range(3):
            for run_id in runs:
                await reader.reads.read(run_id)
        assert reader.queries.reads == 6
        assert len(reader.reads._remembered) <= 1


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    async with make_reader() as reader:
        run_id = await reader.stage.trigger()
        asked = [asyncio.create_task(reader.reads.read(run_id)) for _ in range(6)]
        await asyncio.sleep(0.001)
        # The one that reads, and two of those that wait for the next read.
        for task in asked[:3]:
            task.cancel()
        assert [(await task).run_id for task in asked[3:]] == [run_id] * 3
        await asyncio.wait(asked)
        assert reader.reads._under_way == {}
        assert reader.reads._tasks == set()


async def test_everybody_who_asked_is_told_what_went_wrong() -> None:
    async with make_reader() as reader:
        run_id = await reader.stage.trigger()
        reader.queries.is_there = False
        asked = [asyncio.create_task(reader.reads.read(run_id)) for _ in range(5)]
        await asyncio.sleep(0.001)
        asked[3].cancel()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in found] == [Unavailable] * 3 + [asyncio.CancelledError] + [Unavailable]
        nobody = await asyncio.gather(*(reader.reads.read(RunId("nobody")) for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in nobody} == {Unavailable}
        reader.queries.is_there = True
        nobody = await asyncio.gather(*(reader.reads.read(RunId("nobody")) for _ in range(3)), return_exceptions=True)
        assert {type(error) for error in nobody} == {RunNotFound}
        assert (await reader.reads.read(run_id)).status == "RUNNING"
        assert reader.reads._under_way == {}
