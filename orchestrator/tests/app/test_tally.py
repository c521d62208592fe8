"""What is counted of attempts: how they ended, and whether another follows."""

from __future__ import annotations

from orchestrator.model.event import AttemptFailed, AttemptLost, AttemptReleased, StepCompleted
from tests.app.stage import done, failed, make_stage, released


async def test_attempts_that_failed_timed_out_and_were_lost_are_told_apart() -> None:
    async with make_stage() as stage:
        tally = stage.orchestrator.pipeline.tally
        await stage.orchestrator.define(
            b'{"id": "flow", "retry": {"maxRetries": 1, "delay": 1}, "steps": [{"action": "act", "timeout": 5}]}'
        )
        await stage.trigger()
        stage.register("w", "act", lease=2)
        await stage.take_one("w")
        await stage.wait(2.2)
        assert (tally.events[AttemptLost], tally.timed_out, tally.retries) == (1, 0, 1)
        await stage.wait(1.2)
        job = await stage.take_one("w")
        for _ in range(4):
            stage.beat("w", job)
            await stage.wait(1.3)
        assert (tally.events[AttemptFailed], tally.timed_out, tally.retries) == (1, 1, 2)
        await stage.wait(1.2)
        await stage.exchange("w", released(await stage.take_one("w")))
        await stage.exchange("w", failed(await stage.take_one("w")))
        assert (tally.events[AttemptReleased], tally.events[AttemptFailed]) == (1, 2)
        # The last one: nothing follows it.
        assert (tally.timed_out, tally.retries) == (1, 2)
        await stage.trigger()
        await stage.exchange("w", done(await stage.take_one("w")))
        assert tally.events[StepCompleted] == 1
