"""What happens by itself: retries, the timeout of a run, jobs that wait in the store, keys that expire."""

from __future__ import annotations

import pytest

from orchestrator.adapters.sqlite.transaction import SqliteTransaction
from orchestrator.app import timers
from orchestrator.model.errors import Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.ports.queries import RunFilter
from tests.app.stage import Stage, done, failed, make_stage


async def drained(stage: Stage, most: int = 1_000) -> list[RunId]:
    """Take and do jobs until there are none, while the timers look."""
    stage.register("w", "calm")
    found: list[RunId] = []
    for _ in range(most):
        jobs = await stage.take("w", 2)
        if not jobs:
            break
        found += [RunId(job.workflow_run_id) for job in jobs]
        await stage.exchange("w", *map(done, jobs))
        await stage.wait(0.1)
    return found


# --- retries and timeouts --------------------------------------------------------------------------------------------


async def test_a_retry_starts_when_its_time_has_come_and_not_before() -> None:
    async with make_stage() as stage:
        await stage.define("calm", retry={"maxRetries": 1, "delay": 5})
        await stage.trigger()
        stage.register("w", "calm")
        await stage.exchange("w", failed(await stage.take_one("w")))
        await stage.wait(4.9)
        assert await stage.take("w") == []
        await stage.wait(0.2)
        assert (await stage.take_one("w")).attempt == 2


async def test_a_worker_may_ask_for_another_delay() -> None:
    async with make_stage() as stage:
        await stage.define("calm", retry={"maxRetries": 1, "delay": 5})
        await stage.trigger()
        stage.register("w", "calm")
        await stage.exchange("w", failed(await stage.take_one("w"), retryAfter="8s"))
        await stage.wait(7.9)
        assert await stage.take("w") == []
        await stage.wait(0.2)
        assert (await stage.take_one("w")).attempt == 2


async def test_a_run_times_out_while_its_job_is_in_hand_and_the_worker_is_told() -> None:
    async with make_stage() as stage:
        await stage.define("calm", timeout=5)
        run_id = await stage.trigger()
        stage.register("w", "calm")
        job = await stage.take_one("w")
        await stage.wait(5.2)
        run = await stage.view(run_id)
        assert run.status == "TIMED_OUT"
        assert run.error is not None
        assert (run.error.type, run.error.message) == (
            "RunTimeout",
            "the run was not over within 5 s: it was at step 0 (calm)",
        )
        (summary,), _ = await stage.orchestrator.summaries(RunFilter(), 1, None)
        assert summary.error == run.error
        assert [ref.job_id for ref in stage.beat("w", job).cancelled] == [job.job_id]


async def test_a_job_that_was_to_be_retried_when_its_run_times_out_never_goes_out() -> None:
    """Both timers are due in one look, and share a transaction."""
    async with make_stage() as stage:
        await stage.define("calm", timeout=5, retry={"maxRetries": 1, "delay": 5})
        run_id = await stage.trigger()
        stage.register("w", "calm")
        await stage.exchange("w", failed(await stage.take_one("w")))
        await stage.wait(6)
        assert (await stage.view(run_id)).status == "TIMED_OUT"
        assert stage.queue.depths() == {}
        assert await stage.take("w") == []


async def test_more_timers_than_one_look_takes_fire_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "DUE_MAX", 2)
    async with make_stage() as stage:
        await stage.define("calm", timeout=5)
        runs = [await stage.trigger() for _ in range(5)]
        await stage.wait(5.5)
        assert [(await stage.view(run_id)).status for run_id in runs] == ["TIMED_OUT"] * 5


async def test_timers_go_on_after_the_store_was_away() -> None:
    async with make_stage() as stage:
        await stage.define("calm", timeout=5)
        run_id = await stage.trigger()

        def fail() -> None:
            raise Unavailable("the disk is full")

        stage.before_commit = fail
        with pytest.raises(Unavailable):
            await stage.wait(6)
        stage.before_commit = lambda: None
        await stage.timers.run_once()
        assert (await stage.view(run_id)).status == "TIMED_OUT"


# --- jobs that wait in the store -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [1, 3, 1_000])
@pytest.mark.parametrize("room", [1, 2, 7])
async def test_jobs_beyond_the_size_of_the_queue_all_go_out_once(
    monkeypatch: pytest.MonkeyPatch, room: int, page: int
) -> None:
    monkeypatch.setattr(timers, "SWEEP_MAX", page)
    async with make_stage(ready_jobs_max=room) as stage:
        await stage.define("calm")
        runs = [await stage.trigger() for _ in range(20)]
        assert sum(stage.queue.depths().values()) == room
        found = await drained(stage)
        assert sorted(found) == sorted(runs)


@pytest.mark.parametrize("page", [1, 3, 1_000])
async def test_a_restart_finds_more_jobs_than_the_queue_holds(monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(timers, "SWEEP_MAX", page)
    async with make_stage(ready_jobs_max=4) as stage:
        await stage.define("calm")
        runs = [await stage.trigger() for _ in range(20)]
        await stage.restart()
        assert await drained(stage) == runs


async def test_jobs_too_large_for_the_queue_together_all_go_out() -> None:
    """A page of the sweep may hold more than there is room for."""
    async with make_stage(ready_bytes_max=3_000) as stage:
        await stage.define("calm")
        payload = b'"' + b"x" * 998 + b'"'
        runs = [await stage.trigger(payload) for _ in range(20)]
        assert sorted(await drained(stage)) == sorted(runs)


async def test_a_job_that_overflows_behind_the_place_of_the_sweep_goes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The retry of an old run does not fit while the sweep is at younger ones."""
    monkeypatch.setattr(timers, "SWEEP_MAX", 1)
    async with make_stage(ready_jobs_max=2) as stage:
        await stage.define("calm", retry={"maxRetries": 1, "delay": 1})
        oldest = await stage.trigger()
        stage.register("w", "calm")
        await stage.exchange("w", failed(await stage.take_one("w")))
        runs = [await stage.trigger() for _ in range(6)]
        await stage.wait(1.2)
        assert sorted(await drained(stage)) == sorted([oldest, *runs])


async def test_a_sweep_that_the_store_interrupts_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with make_stage(ready_jobs_max=2) as stage:
        await stage.define("calm")
        runs = [await stage.trigger() for _ in range(6)]
        stage.register("w", "calm")
        jobs = await stage.take("w", 2)
        with monkeypatch.context() as patch:
            patch.setattr(SqliteTransaction, "payloads", _unavailable)
            with pytest.raises(Unavailable):
                await stage.timers.run_once()
        await stage.exchange("w", *map(done, jobs))
        await stage.timers.run_once()
        assert sorted([*(job.workflow_run_id for job in jobs), *await drained(stage)]) == sorted(runs)


async def _unavailable(*arguments: object) -> None:
    raise Unavailable("the store does not answer")


async def test_the_sweep_offers_nothing_that_is_in_a_workers_hands() -> None:
    async with make_stage(ready_jobs_max=2) as stage:
        await stage.define("calm")
        for _ in range(3):
            await stage.trigger()
        stage.register("w", "calm")
        first = await stage.take("w", 2)
        await stage.wait(0.2)
        second = await stage.take("w", 2)
        assert len({job.workflow_run_id for job in [*first, *second]}) == 3
        await stage.wait(2)
        assert await stage.take("w", 2) == []


# --- cleaning --------------------------------------------------------------------------------------------------------


async def test_expired_keys_are_removed_by_and_by() -> None:
    async with make_stage(idempotency_seconds=100) as stage:
        await stage.define("calm")
        await stage.trigger(key="k")
        (kept,) = stage.database.reader.execute("SELECT count(*) FROM idempotency").fetchone()
        assert kept == 1
        await stage.wait(190)
        (kept,) = stage.database.reader.execute("SELECT count(*) FROM idempotency").fetchone()
        assert kept == 0


# --- the service -----------------------------------------------------------------------------------------------------


async def test_the_services_fire_timers_by_themselves_and_end_with_the_block() -> None:
    async with make_stage() as stage:
        await stage.die()
        stage._build()
        async with stage.orchestrator.running():
            await stage.orchestrator.life.check_ready()
            await stage.define("calm", timeout=5)
            run_id = await stage.trigger()
            await stage.orchestrator.wait(run_id, Duration(60 * MICROS))
            assert (await stage.view(run_id)).status == "TIMED_OUT"
        with pytest.raises(Unavailable):
            await stage.trigger()
        with pytest.raises(Unavailable):
            await stage.orchestrator.life.check_ready()
        stage._build()
        await stage.open()


# --- retention -------------------------------------------------------------------------------------------------------


async def test_runs_are_kept_for_ever_when_nothing_else_is_said() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger()
        await drained(stage)
        await stage.wait(3 * stage.limits.cleaning_seconds)
        assert len(await stage.runs()) == 1


async def test_runs_that_were_kept_long_enough_are_removed_and_open_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many there are: a tick takes a few, and the next one goes on."""
    monkeypatch.setattr(timers, "RETAIN_MAX", 2)
    async with make_stage(runs_kept_seconds=100) as stage:
        await stage.define("calm")
        for _ in range(5):
            await stage.trigger()
        await drained(stage)
        open_run = await stage.trigger()
        await stage.wait(stage.limits.cleaning_seconds + 1)
        assert len(await stage.runs()) == 6
        await stage.wait(stage.limits.cleaning_seconds + 1)
        assert await stage.runs() == [open_run]


async def test_keys_that_have_expired_are_removed_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timers, "FORGET_MAX", 2)
    async with make_stage(idempotency_seconds=100, cleaning_seconds=20) as stage:
        await stage.define("calm")
        for number in range(5):
            await stage.trigger(key=f"key-{number}")
        await stage.wait(90)
        last = await stage.trigger(key="key-5")
        await stage.wait(31)
        assert stage.keys() == ["key-5"]
        assert await stage.trigger(key="key-5") == last
