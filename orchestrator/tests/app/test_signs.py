"""Signs of life of attempts that nobody knows: what becomes of their starts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.app.signs import Signs
from orchestrator.model.errors import Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.times import Duration, Time
from orchestrator.ports.outbox import Beat

BEATS = [Beat(RunId(f"run-{number}"), 0, 1, "w", Duration(1)) for number in range(3)]


class Desk:
    """Outbox, clock and pipeline in one: knows no attempt, and records no start."""

    async def renew(self, beats: Sequence[Beat], now: Time) -> list[bool]:
        return [False] * len(beats)

    def now(self) -> Time:
        return Time(0)

    def submit(self, request: Any, *, refusable: bool) -> asyncio.Future[bool]:
        assert not refusable
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.set_exception(Unavailable(f"{request.run_id} was not recorded"))
        return answer


async def test_starts_that_are_not_recorded_together_are_told_once() -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    desk = Desk()
    with pytest.raises(Unavailable, match="run-0"):
        await Signs(desk, desk, desk).renew(BEATS)  # type: ignore[arg-type]
    gc.collect()
    await asyncio.sleep(0)
    assert told == []
