"""Callers that wait for a run: told at its end, once, and never forgotten."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.app.waits import Waits
from orchestrator.model.errors import Busy, Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from tests.app.stage import Stage, answer_of, caller_that_leaves, done, failed, make_stage, waiting

MINUTE = Duration(60 * MICROS)


async def started(stage: Stage) -> RunId:
    await stage.define("calm", retry={"maxRetries": 0}, timeout=30)
    stage.register("w", "calm")
    return await stage.trigger()


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"])
async def test_everybody_who_waits_is_told_when_the_run_ends(end: str) -> None:
    async with make_stage() as stage:
        run_id = await started(stage)
        callers = [await waiting(stage.orchestrator.run(run_id, MINUTE)) for _ in range(3)]
        if end == "COMPLETED":
            await stage.exchange("w", done(await stage.take_one("w")))
        elif end == "FAILED":
            await stage.exchange("w", failed(await stage.take_one("w")))
        elif end == "CANCELLED":
            await stage.orchestrator.cancel(run_id, b"")
        else:
            await stage.wait(31)
        assert [(await answer_of(caller)).status for caller in callers] == [end] * 3


async def test_a_run_that_has_ended_is_not_waited_for() -> None:
    async with make_stage() as stage:
        run_id = await started(stage)
        await stage.orchestrator.cancel(run_id, b"")
        assert (await answer_of(stage.orchestrator.run(run_id, MINUTE), within=0.001)).status == "CANCELLED"


async def test_a_wait_ends_with_its_time() -> None:
    async with make_stage() as stage:
        run_id = await started(stage)
        began = asyncio.get_running_loop().time()
        assert (await stage.orchestrator.run(run_id, Duration(5 * MICROS))).status == "RUNNING"
        assert asyncio.get_running_loop().time() - began == 5


async def test_a_caller_that_leaves_ends_its_wait() -> None:
    async with make_stage() as stage:
        run_id = await started(stage)
        await answer_of(stage.orchestrator.run(run_id, MINUTE, caller_that_leaves(2)), within=2.1)


async def test_a_process_that_goes_down_answers_everybody() -> None:
    async with make_stage() as stage:
        run_id = await started(stage)
        caller = await waiting(stage.orchestrator.run(run_id, MINUTE))
        stage.orchestrator.life.shut()
        assert (await answer_of(caller)).status == "RUNNING"
        assert (await answer_of(stage.orchestrator.run(run_id, MINUTE))).status == "RUNNING"


async def test_too_many_are_refused_and_those_who_leave_make_room() -> None:
    waits = Waits(Limits(waits_open_max=2))
    with waits.waiting(RunId("a")):
        with waits.waiting(RunId("a")), pytest.raises(Busy), waits.waiting(RunId("b")):
            pass
        with waits.waiting(RunId("b")):
            assert list(waits._waiting) == ["a", "b"]
    assert waits._waiting == {}


async def test_a_wait_that_the_store_ends_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with make_stage(waits_open_max=1) as stage:
        run_id = await started(stage)
        with monkeypatch.context() as patch:
            patch.setattr(type(stage.orchestrator._queries), "run", _unavailable)
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await stage.orchestrator.run(run_id, MINUTE)
        await stage.orchestrator.cancel(run_id, b"")
        assert (await stage.orchestrator.run(run_id, MINUTE)).status == "CANCELLED"


async def _unavailable(*arguments: object) -> None:
    raise Unavailable("the store does not answer")
