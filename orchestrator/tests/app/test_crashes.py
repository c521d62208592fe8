"""The crash table of docs/reliability.md: for each failpoint, what a caller sees and what the next process finds."""

from __future__ import annotations

import pytest

from orchestrator.app.pipeline import Point
from orchestrator.model.errors import DeadLetterSettled
from orchestrator.model.run import RunId
from orchestrator.model.wire import JobOut
from orchestrator.ports.queries import LetterFilter
from tests.app.stage import Stage, done, failed, make_stage

BEFORE_COMMIT: tuple[Point, ...] = ("batch.begun", "batch.written")
AFTER_COMMIT: tuple[Point, ...] = ("batch.committed", "batch.published")
NEVER = {"maxRetries": 0}


async def take(stage: Stage, worker_id: str = "w") -> JobOut:
    """Register (again) and take a job."""
    stage.register(worker_id, "one", "two")
    return await stage.take_one(worker_id)


async def nothing_more(stage: Stage, worker_id: str = "w") -> None:
    stage.register(worker_id, "one", "two")
    assert await stage.take(worker_id, 10) == []


# --- a trigger -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", BEFORE_COMMIT)
async def test_a_trigger_before_the_commit_has_never_been(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one")
        await stage.restart_after(stage.trigger(b'"x"', "key"), point)
        assert await stage.runs() == []
        await nothing_more(stage)
        run_id = await stage.trigger(b'"x"', "key")
        assert await stage.runs() == [run_id]


@pytest.mark.parametrize("point", AFTER_COMMIT)
async def test_a_trigger_after_the_commit_has_been_and_its_job_goes_out_once(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one")
        await stage.restart_after(stage.trigger(b'"x"', "key"), point)
        (run_id,) = await stage.runs()
        assert await stage.trigger(b'"x"', "key") == run_id
        job = await take(stage)
        assert (job.workflow_run_id, job.attempt, bytes(job.payload)) == (run_id, 1, b'"x"')
        await nothing_more(stage, "other")


# --- a result ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", BEFORE_COMMIT)
async def test_a_result_before_the_commit_is_recorded_when_it_is_sent_again(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one", "two")
        run_id = await stage.trigger()
        job = await take(stage)
        await stage.restart_after(stage.exchange("w", done(job, "first")), point)
        assert "StepCompleted" not in await stage.kinds(run_id)
        stage.register("w", "one", "two")
        assert (await stage.exchange("w", done(job, "first"))).rejected == []
        following = await take(stage)
        assert (following.step_index, bytes(following.payload)) == (1, b'"first"')


@pytest.mark.parametrize("point", AFTER_COMMIT)
async def test_a_result_after_the_commit_is_recorded_once_and_the_next_step_goes_out(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one", "two")
        run_id = await stage.trigger()
        job = await take(stage)
        await stage.restart_after(stage.exchange("w", done(job, "first")), point)
        following = await take(stage)
        assert (following.step_index, bytes(following.payload)) == (1, b'"first"')
        answer = await stage.exchange("w", done(job, "second"))
        assert [one.code for one in answer.rejected] == ["already-recorded"]
        assert (await stage.kinds(run_id)).count("StepCompleted") == 1
        await nothing_more(stage, "other")


@pytest.mark.parametrize("point", AFTER_COMMIT)
async def test_the_last_result_after_the_commit_has_ended_the_run(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one")
        run_id = await stage.trigger()
        await stage.restart_after(stage.exchange("w", done(await take(stage), 7)), point)
        run = await stage.view(run_id)
        assert (run.status, run.final_output and bytes(run.final_output)) == ("COMPLETED", b"7")
        await nothing_more(stage)


# --- a job in a worker's hands -------------------------------------------------------------------------------------


async def test_a_lease_that_was_written_down_outlives_its_orchestrator() -> None:
    async with make_stage() as stage:
        await stage.define("one")
        await stage.trigger()
        stage.register("w", "one", lease=10)
        job = await stage.take_one("w")
        await stage.wait(1)
        await stage.restart()
        await nothing_more(stage, "other")
        stage.register("w", "one", lease=10)
        assert stage.beat("w", job).unknown == []
        await stage.wait(8)
        assert (await stage.exchange("w", done(job))).rejected == []


async def test_a_worker_that_died_with_its_orchestrator_is_missed_after_a_lease() -> None:
    async with make_stage() as stage:
        await stage.define("one")
        run_id = await stage.trigger()
        stage.register("w", "one")
        await stage.take_one("w")
        await stage.wait(1)
        await stage.restart()
        await stage.wait(29)
        assert "AttemptLost" not in await stage.kinds(run_id)
        await stage.wait(2)
        assert "AttemptLost" in await stage.kinds(run_id)


async def test_a_job_taken_a_moment_ago_goes_out_again_and_the_first_result_wins() -> None:
    """The store learns of a lease only when it lasts: until then both workers have the same attempt."""
    async with make_stage() as stage:
        await stage.define("one", "two")
        run_id = await stage.trigger()
        job = await take(stage, "first")
        await stage.restart()
        again = await take(stage, "second")
        assert (again.job_id, again.attempt) == (job.job_id, job.attempt)
        stage.register("first", "one", "two")
        assert (await stage.exchange("first", done(job, "first"))).rejected == []
        answer = await stage.exchange("second", done(again, "second"))
        assert [one.code for one in answer.rejected] == ["already-recorded"]
        results = (await stage.view(run_id)).step_results
        assert [bytes(one.result) for one in results] == [b'"first"']


async def test_a_result_for_a_job_of_the_last_process_takes_that_job_out_of_the_queue() -> None:
    async with make_stage() as stage:
        await stage.define("one")
        await stage.trigger()
        job = await take(stage)
        await stage.restart()
        assert stage.queue.depths() == {"one": 1}
        stage.register("w", "one", "two")
        assert (await stage.exchange("w", done(job))).rejected == []
        await nothing_more(stage, "other")


# --- a failure, and what a person does about it ----------------------------------------------------------------------


@pytest.mark.parametrize("point", [*BEFORE_COMMIT, *AFTER_COMMIT])
async def test_a_final_failure_makes_one_dead_letter_wherever_the_process_dies(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one", retry=NEVER)
        run_id = await stage.trigger()
        job = await take(stage)
        await stage.restart_after(stage.exchange("w", failed(job)), point)
        stage.register("w", "one", "two")
        await stage.exchange("w", failed(job))
        letters, _ = await stage.orchestrator.dead_letters(LetterFilter(), 10, None)
        assert [letter.id for letter in letters] == [f"{run_id}:0:1"]
        assert (await stage.view(run_id)).status == "FAILED"


@pytest.mark.parametrize("point", BEFORE_COMMIT)
async def test_a_redrive_before_the_commit_has_never_been(point: Point) -> None:
    async with make_stage() as stage:
        run_id = await _failed_run(stage)
        await stage.restart_after(stage.orchestrator.redrive(f"{run_id}:0:1"), point)
        assert (await stage.view(run_id)).status == "FAILED"
        assert (await stage.orchestrator.redrive(f"{run_id}:0:1")).status == "RUNNING"


@pytest.mark.parametrize("point", AFTER_COMMIT)
async def test_a_redrive_after_the_commit_has_been_and_its_job_goes_out(point: Point) -> None:
    async with make_stage() as stage:
        run_id = await _failed_run(stage)
        await stage.restart_after(stage.orchestrator.redrive(f"{run_id}:0:1"), point)
        with pytest.raises(DeadLetterSettled):
            await stage.orchestrator.redrive(f"{run_id}:0:1")
        assert (await take(stage)).attempt == 2


async def _failed_run(stage: Stage) -> RunId:
    await stage.define("one", retry=NEVER)
    run_id = await stage.trigger()
    await stage.exchange("w", failed(await take(stage)))
    return run_id


# --- a cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", BEFORE_COMMIT)
async def test_a_cancel_before_the_commit_has_never_been(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one")
        run_id = await stage.trigger()
        await stage.restart_after(stage.orchestrator.cancel(run_id, b""), point)
        assert (await stage.view(run_id)).status == "RUNNING"
        assert (await stage.orchestrator.cancel(run_id, b"")).status == "CANCELLED"
        await nothing_more(stage)


@pytest.mark.parametrize("point", AFTER_COMMIT)
async def test_a_cancel_after_the_commit_has_been_and_no_job_goes_out(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one")
        run_id = await stage.trigger()
        await stage.restart_after(stage.orchestrator.cancel(run_id, b""), point)
        await nothing_more(stage)
        assert (await stage.orchestrator.cancel(run_id, b"")).status == "CANCELLED"


# --- a timer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [*BEFORE_COMMIT, *AFTER_COMMIT])
async def test_a_retry_starts_once_wherever_the_process_dies(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one", retry={"maxRetries": 1, "delay": 5})
        run_id = await stage.trigger()
        await stage.exchange("w", failed(await take(stage)))
        await stage.wait(4.9)
        await stage.restart_after(stage.wait(1), point)
        await stage.wait(1)
        assert (await stage.kinds(run_id)).count("StepQueued") == 2
        assert (await take(stage)).attempt == 2
        await nothing_more(stage, "other")


@pytest.mark.parametrize("point", [*BEFORE_COMMIT, *AFTER_COMMIT])
async def test_a_run_times_out_once_wherever_the_process_dies(point: Point) -> None:
    async with make_stage() as stage:
        await stage.define("one", timeout=5)
        run_id = await stage.trigger()
        await stage.wait(4.9)
        await stage.restart_after(stage.wait(1), point)
        await stage.wait(1)
        assert (await stage.kinds(run_id)).count("RunTimedOut") == 1
        await nothing_more(stage)
