"""Processes with one role each do together what one with all of them does."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from orchestrator.app.duties import NoDuty
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.role import Duty
from orchestrator.model.run import RunId
from tests.broker.site import RawWorker, Site, define, eventually, trigger


async def test_three_processes_with_one_role_each_are_an_orchestrator(site: Site, raw: RawWorker) -> None:
    async with AsyncExitStack() as stack:
        api, engine, timers = [
            await stack.enter_async_context(site.process(roles=role)) for role in ("api", "engine", "timers")
        ]
        assert (api.incoming, api.life.broker_leases) == (None, None)
        assert (timers.incoming, engine.life.broker_leases) == (None, None)
        assert isinstance(api.timers.duties, NoDuty)
        assert isinstance(engine.timers.duties, NoDuty)
        await define(api, {"action": "step1", "timeout": 1, "retry": {"delay": "0.1s"}}, {"action": "step2"})
        run_id = await trigger(api)
        # Nobody answers the first: the process with the timers ends it, and starts the next attempt.
        assert (await raw.job())["attempt"] == 1
        raw.commit()
        again = await raw.job()
        assert again["attempt"] == 2
        raw.answer(again, "one")
        # The process with the engine took the answer, and sends the next job.
        second = await raw.job()
        assert second["action"] == "step2"
        raw.answer(second, "two")
        await eventually(lambda: _is_completed(api, run_id))


async def test_timers_fire_elsewhere_when_the_process_that_had_them_goes(site: Site, raw: RawWorker) -> None:
    async with site.process() as stays:
        async with site.process() as goes:
            await eventually(lambda: _is(_has_timers(stays) != _has_timers(goes)))
            await define(goes, {"action": "step1", "timeout": 1, "retry": {"delay": "0.1s"}})
            run_id = await trigger(goes)
            await raw.job()
            raw.commit()
        await eventually(lambda: _is(_has_timers(stays)))
        again = await raw.job()
        assert again["attempt"] == 2
        raw.answer(again, "done")
        await eventually(lambda: _is_completed(stays, run_id))


async def _is_completed(process: Orchestrator, run_id: RunId) -> bool:
    return (await process.run(run_id)).status == "COMPLETED"


async def _is(value: bool) -> bool:
    return await asyncio.sleep(0, value)


def _has_timers(process: Orchestrator) -> bool:
    return process.timers.duties.has(Duty.TIMERS)
