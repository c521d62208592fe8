"""Results from a broker: the next are handed over before the last are recorded, and offsets follow in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.app.incoming import Incoming
from orchestrator.model.errors import Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.times import Time
from orchestrator.ports.broker import Incoming as Record_


class Desk:
    """Broker, inbox and pipeline in one: gives what it is told to, and answers when it is told to."""

    rest = 0.0

    def __init__(self) -> None:
        self.results = self.heartbeats = self
        self.records: asyncio.Queue[list[Record_]] = asyncio.Queue()
        self.asked: list[tuple[list[str], asyncio.Future[list[None]]]] = []
        self.done_ = 0
        self.refused: list[str] = []

    async def take(self) -> list[Record_]:
        return await self.records.get()

    def done(self) -> None:
        self.done_ += 1

    async def refuse(self, record: Record_, reason: str) -> None:
        self.refused.append(reason)

    def submit(self, request: Any, *, refusable: bool) -> asyncio.Future[list[None]]:
        assert not refusable
        answer: asyncio.Future[list[None]] = asyncio.get_running_loop().create_future()
        self.asked.append(([report.run_id for report in request.reports], answer))
        return answer

    def give(self, *runs: str) -> None:
        self.records.put_nowait(
            [
                Record_(
                    value=b'{"workflowRunId":"%s","action":"act","result":1}' % run.encode() if run else b"no result",
                    produced_at=Time(0),
                    partition=0,
                    offset=0,
                    key=None,
                )
                for run in runs
            ]
        )

    async def until_asked(self, count: int) -> None:
        while len(self.asked) < count:
            await asyncio.sleep(0.1)

    def answer(self, number: int) -> None:
        runs, answer = self.asked[number]
        answer.set_result([None] * len(runs))


class NoSigns:
    async def renew(self, beats: object) -> list[Any]:
        return []


@asynccontextmanager
async def at_work() -> AsyncIterator[Desk]:
    desk = Desk()
    service = Incoming(desk, NoSigns(), desk, Limits())  # type: ignore[arg-type]
    task = asyncio.create_task(service._take_results())
    yield desk
    task.cancel()
    await asyncio.wait([task])


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_results_are_handed_over_while_the_last_are_recorded() -> None:
    async with at_work() as desk:
        desk.give("run-1")
        desk.give("run-2")
        await desk.until_asked(2)
        assert [runs for runs, _ in desk.asked] == [["run-1"], ["run-2"]]
        assert desk.done_ == 0


async def test_later_results_that_are_recorded_first_are_not_done_before_the_earlier() -> None:
    async with at_work() as desk:
        desk.give("run-1")
        desk.give("run-2")
        await desk.until_asked(2)
        desk.answer(1)
        await settled()
        assert desk.done_ == 0
        desk.answer(0)
        await settled()
        assert desk.done_ == 2


async def test_results_that_were_not_recorded_are_handed_over_until_they_are() -> None:
    async with at_work() as desk:
        desk.give("run-1")
        desk.give("run-2")
        await desk.until_asked(2)
        desk.answer(1)
        desk.asked[0][1].set_exception(Unavailable("the store is away"))
        await desk.until_asked(3)
        assert desk.asked[2][0] == ["run-1"]
        assert desk.done_ == 0
        desk.answer(2)
        await settled()
        assert desk.done_ == 2


async def test_what_waits_at_once_is_bounded() -> None:
    async with at_work() as desk:
        for number in range(10):
            desk.give(f"run-{number}")
        await desk.until_asked(3)
        await settled()
        assert len(desk.asked) == 3
        desk.answer(0)
        await desk.until_asked(4)


async def test_what_cannot_be_read_is_refused_and_done() -> None:
    async with at_work() as desk:
        desk.give("")
        await settled()
        assert len(desk.refused) == 1
        assert desk.done_ == 1
