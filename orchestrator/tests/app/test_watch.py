"""A run that one process ends and another waits for: by a hint at once, without one soon, and never too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.app import watch as watching
from orchestrator.app.waits import Waits, until
from orchestrator.app.watch import Watch
from orchestrator.model.errors import Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from tests.app.stage import Stage, make_stage
from tests.ports.memory_hints import Board, MemoryHints

LIMITS = Limits()


class Counted(SqliteQueries):
    """Queries that count."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.looks: list[int] = []
        self.is_there = True

    async def ended(self, run_ids: Collection[RunId]) -> list[RunId]:
        if not self.is_there:
            raise Unavailable("the store does not answer")
        self.looks.append(len(run_ids))
        return await super().ended(run_ids)


class Elsewhere:
    """A process that reads the database of a stage, and hears what it tells where there are hints."""

    def __init__(self, stage: Stage, *, hints: bool) -> None:
        self.stage = stage
        self.waits = Waits(LIMITS)
        self.queries = Counted(stage.database)
        board = Board(stage.clock)
        self.near, self.far = MemoryHints(board), MemoryHints(board)
        self.watch = Watch(self.waits, self.queries, LIMITS, self.far if hints else None)
        if hints:
            stage.orchestrator.life.waits.tell = lambda run_id: self.near.tell((run_id,))

    async def wait_for(self, run_id: RunId, seconds: float = 30) -> tuple[bool, float]:
        """Wait for a run; give whether it has ended, and how long that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with self.waits.waiting(run_id) as woken:
            return await until(woken, seconds, None), loop.time() - began


@asynccontextmanager
async def make_elsewhere(*, hints: bool) -> AsyncIterator[Elsewhere]:
    async with make_stage() as stage:
        await stage.define("calm")
        elsewhere = Elsewhere(stage, hints=hints)
        services = (elsewhere.watch.run(), elsewhere.near.run(), elsewhere.far.run())
        tasks = [asyncio.create_task(service) for service in services]
        await asyncio.sleep(0)
        yield elsewhere
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def ended_after(elsewhere: Elsewhere, seconds: float, *run_ids: RunId) -> None:
    await asyncio.sleep(seconds)
    for run_id in run_ids:
        await elsewhere.stage.orchestrator.cancel(run_id, b"")


async def test_who_waits_elsewhere_is_told_at_once() -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        run_id = await elsewhere.stage.trigger()
        ending = asyncio.create_task(ended_after(elsewhere, 0.1, run_id))
        has_ended, took = await elsewhere.wait_for(run_id)
        assert (has_ended, round(took, 3)) == (True, 0.1)
        assert elsewhere.queries.looks == [1]
        await ending


async def test_who_waits_elsewhere_finds_out_without_being_told() -> None:
    async with make_elsewhere(hints=False) as elsewhere:
        run_id = await elsewhere.stage.trigger()
        ending = asyncio.create_task(ended_after(elsewhere, 5, run_id))
        has_ended, took = await elsewhere.wait_for(run_id)
        assert has_ended
        assert 5 <= took <= 5 + 2 * LIMITS.watch_seconds
        await ending


async def test_what_the_hint_did_not_tell_is_found_out_a_little_later() -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        elsewhere.stage.orchestrator.life.waits.tell = lambda run_id: None
        run_id = await elsewhere.stage.trigger()
        ending = asyncio.create_task(ended_after(elsewhere, 5, run_id))
        has_ended, took = await elsewhere.wait_for(run_id)
        assert has_ended
        assert 5 <= took <= 5 + 2 * LIMITS.watch_told_seconds
        await ending


async def test_hints_that_stop_are_made_up_for_as_if_there_had_been_none() -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        run_id = await elsewhere.stage.trigger()
        elsewhere.stage.orchestrator.life.waits.tell = lambda run_id: None
        elsewhere.far.report.is_listening = False
        ending = asyncio.create_task(ended_after(elsewhere, 5, run_id))
        has_ended, took = await elsewhere.wait_for(run_id)
        assert has_ended
        assert took <= 5 + 2 * LIMITS.watch_seconds
        await ending


async def test_a_false_hint_wakes_nobody() -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        run_id = await elsewhere.stage.trigger()
        asyncio.get_running_loop().call_later(0.1, elsewhere.near.tell, [run_id, RunId("nobody's")])
        assert await elsewhere.wait_for(run_id, seconds=0.5) == (False, 0.5)


async def test_what_nobody_waits_for_is_not_looked_at() -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        runs = [await elsewhere.stage.trigger() for _ in range(3)]
        for run_id in runs:
            await elsewhere.stage.orchestrator.cancel(run_id, b"")
        await asyncio.sleep(10)
        assert elsewhere.queries.looks == []


async def test_a_short_wait_costs_no_look() -> None:
    async with make_elsewhere(hints=False) as elsewhere:
        for _ in range(20):
            run_id = await elsewhere.stage.trigger()
            await elsewhere.wait_for(run_id, seconds=LIMITS.watch_seconds * 0.9)
        assert elsewhere.queries.looks == []


async def test_many_are_looked_at_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "WATCHED_MAX", 3)
    async with make_elsewhere(hints=False) as elsewhere:
        runs = [await elsewhere.stage.trigger() for _ in range(10)]
        waiting = [asyncio.create_task(elsewhere.wait_for(run_id)) for run_id in runs]
        await ended_after(elsewhere, 3, *runs)
        found = await asyncio.gather(*waiting)
        assert all(has_ended and took < 3 + 6 * LIMITS.watch_seconds for has_ended, took in found)
        assert max(elsewhere.queries.looks) == 3


async def test_a_store_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async with make_elsewhere(hints=True) as elsewhere:
        run_id = await elsewhere.stage.trigger()
        elsewhere.queries.is_there = False
        waiting = asyncio.create_task(elsewhere.wait_for(run_id))
        await ended_after(elsewhere, 3, run_id)
        await asyncio.sleep(3)
        assert not waiting.done()
        elsewhere.queries.is_there = True
        assert (await waiting)[0]
        assert caplog.text.count("wait for the store") == 1
