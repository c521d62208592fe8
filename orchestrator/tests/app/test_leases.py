"""How long a job stays a worker's: signs of life, timeouts, and what is written down."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import Raw

from orchestrator.model.errors import Unavailable, WorkerNotFound
from orchestrator.model.event import AttemptFailed, AttemptLost, AttemptReleased
from orchestrator.model.run import RunId
from orchestrator.model.wire import JobOut
from tests.app.stage import Stage, done, failed, make_stage, released


async def take(stage: Stage, *, lease: float = 10, **step: float) -> tuple[RunId, JobOut]:
    await stage.orchestrator.define(_definition(step))
    run_id = await stage.trigger()
    stage.register("w", "calm", lease=lease)
    return run_id, await stage.take_one("w")


def _definition(step: dict[str, float]) -> bytes:
    more = "".join(f', "{name}": {value}' for name, value in step.items())
    return b'{"id": "flow", "retry": {"delay": 3600}, "steps": [{"action": "calm"%s}]}' % more.encode()


async def lost(stage: Stage, run_id: RunId) -> list[str]:
    return [event.failure.message for event in await stage.events(run_id) if isinstance(event, AttemptLost)]


# --- signs of life -------------------------------------------------------------------------------------------------


async def test_a_silent_worker_loses_its_job_when_the_lease_ends_and_not_before() -> None:
    async with make_stage() as stage:
        run_id, _ = await take(stage)
        await stage.wait(9.8)
        assert await lost(stage, run_id) == []
        await stage.wait(0.4)
        assert await lost(stage, run_id) == ["worker w gave no sign of life for 10 s"]


async def test_a_heartbeat_that_names_the_job_renews_its_lease() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        for _ in range(5):
            await stage.wait(9)
            assert stage.beat("w", job).unknown == []
        assert await lost(stage, run_id) == []
        await stage.wait(10.2)
        assert len(await lost(stage, run_id)) == 1


async def test_to_ask_for_jobs_is_no_sign_of_life_about_those_in_hand() -> None:
    async with make_stage() as stage:
        run_id, _ = await take(stage)
        for _ in range(3):
            await stage.wait(4)
            await stage.exchange("w", capacity=1)
        assert len(await lost(stage, run_id)) == 1


async def test_a_job_missing_from_two_heartbeats_in_a_row_was_lost_on_the_way() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        stage.beat("w")
        await stage.wait(1)
        stage.beat("w", job)
        stage.beat("w")
        await stage.wait(1)
        assert await lost(stage, run_id) == []
        stage.beat("w")
        await stage.wait(0.2)
        assert await lost(stage, run_id) == ["worker w does not know of the job: it was lost on the way"]


async def test_a_heartbeat_about_another_attempt_is_none_about_this_one() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        job.attempt = 7
        answers = [stage.beat("w", job) for _ in range(2)]
        assert [(ref.job_id, ref.attempt) for ref in answers[0].unknown] == [(job.job_id, 7)]
        await stage.wait(0.2)
        assert len(await lost(stage, run_id)) == 1


async def test_another_workers_heartbeat_is_told_that_the_job_is_not_its_own() -> None:
    async with make_stage() as stage:
        _, job = await take(stage)
        stage.register("other", "calm")
        assert len(stage.beat("other", job).unknown) == 1


async def test_a_step_may_ask_for_more_frequent_signs_of_life() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage, lease=10, heartbeatTimeout=2)
        assert (job.lease, job.heartbeat_timeout) == (2, 2)
        await stage.wait(1.8)
        stage.beat("w", job)
        await stage.wait(1.8)
        assert await lost(stage, run_id) == []
        await stage.wait(0.4)
        assert await lost(stage, run_id) == ["worker w gave no sign of life for 2 s"]


async def test_a_step_cannot_ask_for_rarer_signs_of_life_than_the_worker_gives() -> None:
    async with make_stage() as stage:
        _, job = await take(stage, lease=10, heartbeatTimeout=60)
        assert job.lease == 10


async def test_a_worker_that_lost_its_job_is_told_to_stop() -> None:
    async with make_stage() as stage:
        _, job = await take(stage)
        await stage.wait(10.2)
        assert [(ref.job_id, ref.attempt) for ref in stage.beat("w", job).cancelled] == [(job.job_id, 1)]


async def test_a_zombies_result_changes_nothing() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        await stage.wait(10.2)
        answer = await stage.exchange("w", done(job))
        assert [(one.job_id, one.attempt, one.code) for one in answer.rejected] == [
            (job.job_id, 1, "attempt-superseded")
        ]
        assert "StepCompleted" not in await stage.kinds(run_id)


async def test_signs_of_life_do_not_follow_the_time_of_day() -> None:
    async with make_stage() as stage:
        run_id, _ = await take(stage)
        stage.clock.ahead = 7_200
        await stage.wait(9.8)
        assert await lost(stage, run_id) == []


# --- timeouts ------------------------------------------------------------------------------------------------------


async def test_an_attempt_that_takes_too_long_has_failed_whatever_its_worker_says() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage, timeout=5)
        for _ in range(2):
            await stage.wait(2.4)
            stage.beat("w", job)
        assert "AttemptFailed" not in await stage.kinds(run_id)
        await stage.wait(0.4)
        (event,) = [event for event in await stage.events(run_id) if isinstance(event, AttemptFailed)]
        assert (event.timed_out, event.failure.type) == (True, "StepTimeout")
        assert len(stage.beat("w", job).cancelled) == 1
        assert [one.code for one in (await stage.exchange("w", done(job))).rejected] == ["attempt-superseded"]


async def test_a_timeout_goes_on_through_a_restart() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage, timeout=5)
        await stage.wait(3)
        await stage.restart()
        stage.register("w", "calm")
        stage.beat("w", job)
        await stage.wait(1.8)
        assert "AttemptFailed" not in await stage.kinds(run_id)
        await stage.wait(0.4)
        assert "AttemptFailed" in await stage.kinds(run_id)


# --- what is written down ------------------------------------------------------------------------------------------


async def test_a_short_job_never_costs_a_write_of_its_own() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        before = len(stage.reached)
        await stage.wait(0.4)
        assert len(stage.reached) == before
        await stage.exchange("w", done(job))
        assert await stage.kinds(run_id) == [
            "RunStarted",
            "StepQueued",
            "AttemptStarted",
            "StepCompleted",
            "RunCompleted",
        ]


async def test_a_job_that_lasts_is_written_down_once_with_its_start() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        began = stage.clock.now()
        await stage.wait(3)
        assert (await stage.kinds(run_id)).count("AttemptStarted") == 1
        assert (await stage.events(run_id))[-1].at == began
        await stage.exchange("w", done(job))
        assert (await stage.kinds(run_id)).count("AttemptStarted") == 1


async def test_what_could_not_be_written_down_is_written_later() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)

        def fail() -> None:
            raise Unavailable("the disk is full")

        stage.before_commit = fail
        with pytest.raises(Unavailable):
            await stage.wait(1)
        stage.before_commit = lambda: None
        await stage.wait(0.2)
        assert (await stage.kinds(run_id))[-1] == "AttemptStarted"
        await stage.wait(10)
        assert len(await lost(stage, run_id)) == 1
        assert job.attempt == 1


async def test_a_lease_that_ends_while_the_store_is_away_ends_when_it_is_back() -> None:
    async with make_stage() as stage:
        run_id, _ = await take(stage)
        await stage.wait(1)

        def fail() -> None:
            raise Unavailable("the disk is full")

        stage.before_commit = fail
        await asyncio.sleep(10)
        for _ in range(3):
            with pytest.raises(Unavailable):
                await stage.timers.run_once()
        stage.before_commit = lambda: None
        await stage.timers.run_once()
        assert len(await lost(stage, run_id)) == 1


async def test_more_leases_may_end_at_once_than_requests_may_wait() -> None:
    async with make_stage(commands_waiting_max=2) as stage:
        await stage.define("calm", retry={"maxRetries": 3, "delay": 3_600})
        runs = [await stage.trigger() for _ in range(7)]
        stage.register("w", "calm", lease=10)
        await stage.take("w", 10)
        await stage.wait(10.2)
        assert [len(await lost(stage, run_id)) for run_id in runs] == [1] * 7


@pytest.mark.parametrize(("lease", "heartbeat", "promised"), [(600, None, 600), (2, None, 30), (600, 20, 20)])
async def test_a_lease_lasts_as_long_after_a_restart_as_was_promised(
    lease: float, heartbeat: float | None, promised: float
) -> None:
    """A script that sends no heartbeats asks for as long as its longest job; the others get the time to reconnect."""
    async with make_stage() as stage:
        step = {} if heartbeat is None else {"heartbeatTimeout": heartbeat}
        run_id, _ = await take(stage, lease=lease, **step)
        await stage.wait(1)
        await stage.restart()
        await stage.wait(promised - 0.3)
        assert await lost(stage, run_id) == []
        await stage.wait(0.6)
        assert len(await lost(stage, run_id)) == 1


async def test_a_restart_with_another_time_of_day_changes_no_lease() -> None:
    async with make_stage() as stage:
        run_id, _ = await take(stage, lease=60)
        stage.clock.ahead = 7_200
        await stage.wait(1)
        await stage.restart()
        await stage.wait(59)
        assert await lost(stage, run_id) == []
        await stage.wait(1.5)
        assert len(await lost(stage, run_id)) == 1


# --- giving back ---------------------------------------------------------------------------------------------------


async def test_a_job_that_is_given_back_goes_to_another_worker_and_counts_against_nothing() -> None:
    async with make_stage() as stage:
        run_id, job = await take(stage)
        stage.register("other", "calm")
        await stage.exchange("w", released(job))
        again = await stage.take_one("other")
        assert (again.job_id, again.attempt, again.alone) == (job.job_id, 2, False)
        (event,) = [event for event in await stage.events(run_id) if isinstance(event, AttemptReleased)]
        assert event.attempt == 1


async def test_a_worker_that_leaves_gives_everything_back() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        for _ in range(3):
            await stage.trigger()
        stage.register("w", "calm")
        assert len(await stage.take("w", 10)) == 3
        await stage.gateway.leave("w")
        assert stage.gateway.in_hand("w") == []
        stage.register("other", "calm")
        assert [job.attempt for job in await stage.take("other", 10)] == [2, 2, 2]


async def test_a_worker_that_left_gets_nothing_until_it_registers_again() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger()
        stage.register("w", "calm")
        await stage.gateway.leave("w")
        assert await stage.take("w") == []
        stage.register("w", "calm")
        assert len(await stage.take("w")) == 1


async def test_a_worker_that_registers_again_keeps_its_jobs() -> None:
    async with make_stage() as stage:
        _, job = await take(stage)
        stage.register("w", "calm", lease=10)
        assert stage.beat("w", job).unknown == []
        assert (await stage.exchange("w", done(job))).rejected == []


async def test_what_a_worker_said_last_is_given_to_the_next_attempt() -> None:
    async with make_stage() as stage:
        await stage.define("calm", retry={"maxRetries": 3, "delay": 0})
        await stage.trigger()
        stage.register("w", "calm", lease=10)
        job = await stage.take_one("w")
        stage.beat("w", job, details=b'{"done": 40.0}')
        stage.beat("w", job)
        await stage.wait(10.2)
        again = await stage.take_one("w")
        assert isinstance(again.details, Raw)
        assert bytes(again.details) == b'{"done": 40.0}'
        await stage.exchange("w", {**failed(again), "details": 41})
        await stage.wait(0.2)
        third = await stage.take_one("w")
        assert isinstance(third.details, Raw)
        assert bytes(third.details) == b"41"


async def test_an_unknown_worker_is_asked_to_register() -> None:
    async with make_stage() as stage:
        with pytest.raises(WorkerNotFound, match="POST /workers"):
            await stage.exchange("nobody", capacity=1)
        with pytest.raises(WorkerNotFound):
            stage.beat("nobody")
        with pytest.raises(WorkerNotFound):
            await stage.gateway.leave("nobody")


async def test_a_worker_that_went_away_is_forgotten_after_a_while() -> None:
    async with make_stage(worker_forget_seconds=100) as stage:
        stage.register("w", "calm", lease=10)
        await stage.wait(60)
        assert [view.status for view in await stage.orchestrator.workers()] == ["GONE"]
        await stage.wait(130)
        assert await stage.orchestrator.workers() == []
