"""The way of every change: shared transactions, no word before the commit, and nobody pays for another's fault."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.app.command import Direct, Trigger
from orchestrator.app.pipeline import CONTENDED_MAX, GATHER_SECONDS, LARGE, REST_SECONDS, Point
from orchestrator.engine import run as engine
from orchestrator.engine.command import CancelRun
from orchestrator.model.errors import Busy, Contended, DeadLetterSettled, RunFinished, Unavailable, WorkflowNotFound
from orchestrator.model.job import Rejection
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from tests.app.stage import Stage, answer_of, done, failed, make_stage, released, waiting


def committed(stage: Stage) -> int:
    return stage.reached.count("batch.committed")


# --- batches -------------------------------------------------------------------------------------------------------


async def test_requests_that_come_together_share_a_transaction() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        before = committed(stage)
        await asyncio.gather(*(stage.trigger() for _ in range(100)))
        assert committed(stage) == before + 1


async def test_a_batch_is_no_larger_than_its_limit() -> None:
    async with make_stage(batch_commands_max=10) as stage:
        await stage.define("calm")
        before = committed(stage)
        await asyncio.gather(*(stage.trigger() for _ in range(35)))
        assert committed(stage) == before + 4


async def test_an_idle_pipeline_processes_at_once_and_a_busy_one_gathers() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await asyncio.sleep(1)
        began, before = asyncio.get_running_loop().time(), committed(stage)
        await stage.trigger()
        assert asyncio.get_running_loop().time() == began
        # One that arrives as a batch is done waits a moment for company.
        first = stage.orchestrator.pipeline.submit(Trigger("flow", Json(b"1")))
        await asyncio.gather(first, *(_later(stage, moment) for moment in (0.0005, 0.001)))
        assert committed(stage) == before + 2
        assert asyncio.get_running_loop().time() == began + GATHER_SECONDS


async def test_with_a_broker_the_pipeline_rests_after_a_large_batch_and_not_after_a_small_one() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        pipeline = stage.orchestrator.pipeline
        pipeline.rest_seconds = REST_SECONDS
        loop = asyncio.get_running_loop()
        for size, rest in ((LARGE - 1, 0.0), (LARGE, REST_SECONDS)):
            await asyncio.sleep(1)
            await asyncio.gather(*(stage.trigger() for _ in range(size)))
            began = loop.time()
            await stage.trigger()
            assert loop.time() == pytest.approx(began + rest)


async def _later(stage: Stage, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await stage.trigger()


async def test_nothing_is_answered_or_done_before_the_commit() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        poll = await waiting(stage.exchange("w", capacity=1, wait=20))
        seen: list[tuple[bool, dict[str, int]]] = []
        stage.before_commit = lambda: seen.append((poll.done(), stage.queue.depths()))
        await stage.trigger()
        assert seen == [(False, {})]
        assert len((await answer_of(poll)).jobs) == 1


async def test_the_failpoints_are_reached_in_order() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.reached.clear()
        await stage.trigger()
        expected: list[Point] = ["batch.begun", "batch.written", "batch.committed", "batch.published"]
        assert stage.reached == expected


async def test_what_a_batch_decides_the_rest_of_the_batch_sees() -> None:
    """The second cancel finds the run cancelled; the result finds it ended."""
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        run_id = await stage.trigger()
        job = await stage.take_one("w")
        answers = await asyncio.gather(
            stage.orchestrator.pipeline.submit(Direct(run_id, CancelRun())),
            stage.orchestrator.pipeline.submit(Direct(run_id, CancelRun())),
            stage.exchange("w", done(job)),
        )
        assert (answers[0], answers[1]) == (True, False)
        assert [one.code for one in answers[2].rejected] == ["run-finished"]


async def test_a_job_that_its_own_batch_withdraws_never_goes_out() -> None:
    """The result of the first step and the cancel of the run share a transaction."""
    async with make_stage() as stage:
        await stage.define("calm", "next")
        stage.register("w", "calm", "next")
        run_id = await stage.trigger()
        job = await stage.take_one("w")
        answer, _ = await asyncio.gather(
            stage.exchange("w", done(job), capacity=1), stage.orchestrator.cancel(run_id, b"")
        )
        assert (answer.jobs, await stage.take("w"), stage.queue.depths()) == ([], [], {})


async def test_a_dead_letter_is_settled_once_in_a_batch_too() -> None:
    async with make_stage() as stage:
        await stage.define("calm", retry={"maxRetries": 0})
        stage.register("w", "calm")
        run_id = await stage.trigger()
        await stage.exchange("w", failed(await stage.take_one("w")))
        letter = f"{run_id}:0:1"
        answers = await asyncio.gather(
            stage.orchestrator.redrive(letter), stage.orchestrator.discard(letter), return_exceptions=True
        )
        assert isinstance(answers[1], DeadLetterSettled)
        assert (await stage.orchestrator.dead_letter(letter)).state == "REDRIVEN"


# --- faults --------------------------------------------------------------------------------------------------------


async def test_a_request_that_is_refused_costs_its_neighbours_nothing() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        before = committed(stage)
        answers = await asyncio.gather(
            stage.trigger(), stage.trigger(workflow_id="nothing"), stage.trigger(), return_exceptions=True
        )
        assert isinstance(answers[1], WorkflowNotFound)
        assert await stage.runs() == [answers[0], answers[2]]
        assert committed(stage) == before + 1


async def test_a_request_with_a_fault_in_it_fails_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug that one request meets may cost that request, not those that share its transaction."""
    decide = engine.decide

    def faulty(plan: Any, state: Any, command: Any, now: Any) -> object:
        if command == CancelRun("fault"):
            raise KeyError("a bug")
        return decide(plan, state, command, now)

    async with make_stage() as stage:
        await stage.define("calm")
        first = await stage.trigger()
        monkeypatch.setattr(engine, "decide", faulty)
        answers = await asyncio.gather(
            stage.trigger(b"1", "k"),
            stage.orchestrator.cancel(first, b'{"reason": "fault"}'),
            stage.trigger(b"2"),
            stage.orchestrator.cancel(first, b'{"reason": "sound"}'),
            return_exceptions=True,
        )
        assert isinstance(answers[1], Unavailable)
        assert [type(answer).__name__ for answer in answers] == ["str", "Unavailable", "str", "RunView"]
        assert len(await stage.runs()) == 3
    assert "a request failed" in caplog.text


async def test_a_commit_that_fails_fails_everybody_in_it_and_the_next_one_works() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")

        def fail() -> None:
            stage.before_commit = lambda: None
            raise sqlite3.OperationalError("disk I/O error")

        stage.before_commit = fail
        answers = await asyncio.gather(stage.trigger(), stage.trigger(), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
        assert (await stage.runs(), stage.queue.depths()) == ([], {})
        assert len({await stage.trigger(), await stage.trigger()}) == 2
        assert len(await stage.take("w", 10)) == 2


async def test_a_version_that_was_taken_back_leaves_no_plan_behind() -> None:
    """The workflow is defined and triggered in one transaction, which fails; then its first version is another one."""
    async with make_stage() as stage:

        def fail() -> None:
            stage.before_commit = lambda: None
            raise sqlite3.OperationalError("disk I/O error")

        stage.before_commit = fail
        await asyncio.gather(stage.define("wrong"), stage.trigger(), return_exceptions=True)
        await stage.define("right", "after")
        stage.register("w", "right", "wrong")
        await stage.trigger()
        assert [job.action for job in await stage.take("w", 10)] == ["right"]


async def test_a_commit_in_doubt_is_looked_up_in_the_store() -> None:
    """It was reported as failed and has been: its run is not answered, and goes on all the same."""
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        with in_doubt(stage), pytest.raises(Unavailable):
            await stage.trigger(b"1", "k")
        assert await stage.take("w") == []
        await stage.wait(0.2)
        (job,) = await stage.take("w")
        assert await stage.trigger(b"1", "k") == job.workflow_run_id


async def test_the_next_attempt_of_a_job_given_back_in_doubt_does_not_wait_for_the_lease_of_the_last() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm", lease=3_600)
        await stage.trigger()
        job = await stage.take_one("w")
        with in_doubt(stage), pytest.raises(Unavailable):
            await stage.exchange("w", released(job))
        await stage.wait(0.2)
        stage.register("other", "calm")
        assert (await stage.take_one("other")).attempt == 2


async def test_a_cancel_in_doubt_lets_no_job_out() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        run_id = await stage.trigger()
        with in_doubt(stage), pytest.raises(Unavailable):
            await stage.orchestrator.cancel(run_id, b"")
        assert (await stage.orchestrator.cancel(run_id, b"")).status == "CANCELLED"
        assert await stage.take("w") == []


@contextmanager
def in_doubt(stage: Stage) -> Iterator[None]:
    """Let commits be done and reported as failed."""
    stage.orchestrator.pipeline._store = _Doubtful(stage)  # type: ignore[assignment]
    yield
    stage.orchestrator.pipeline._store = stage.store


class _Doubtful:
    """The store, behind a connection that breaks as the commit is answered."""

    def __init__(self, stage: Stage) -> None:
        self._store = stage.store

    def transaction(self) -> _Doubtful:
        self._open = self._store.transaction()
        return self

    async def __aenter__(self) -> object:
        return await self._open.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self._open.__aexit__(*error)  # type: ignore[arg-type]
        raise Unavailable("the connection was lost")


# --- limits and the end --------------------------------------------------------------------------------------------


async def test_requests_beyond_the_limit_are_refused_and_those_that_wait_are_done() -> None:
    async with make_stage(commands_waiting_max=3) as stage:
        await stage.define("calm")
        answers = await asyncio.gather(*(stage.trigger() for _ in range(5)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [str, str, str, Busy, Busy]
        assert len(await stage.runs()) == 3
        await stage.trigger()


async def test_a_pipeline_that_closes_does_what_waits_and_takes_nothing_more() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        waits = [stage.orchestrator.pipeline.submit(Trigger("flow", Json(b"1"))) for _ in range(3)]
        stage.orchestrator.pipeline.close()
        with pytest.raises(Unavailable):
            await stage.trigger()
        assert len({(await answer).run_id for answer in waits}) == 3


async def test_who_waits_for_a_pipeline_that_dies_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with make_stage(batch_commands_max=1) as stage:
        await stage.define("calm")
        stage.dies_at = "batch.committed"
        answers = await answer_of(
            asyncio.gather(*(stage.trigger() for _ in range(3)), return_exceptions=True), within=1
        )
        assert [type(answer) for answer in answers] == [Unavailable] * 3
        with pytest.raises(Unavailable):
            await stage.trigger()
        assert len(await stage.runs()) == 1


async def test_a_process_whose_pipeline_has_died_still_goes_down() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger()
        stage.register("w", "calm")
        await stage.take_one("w")
        await stage.die()
        stage._build()
        stage.register("w", "calm")

        async def serve() -> None:
            async with stage.orchestrator.running():
                await stage.take_one("w")
                stage.dies_at = "batch.begun"
                with pytest.raises(Unavailable):
                    await stage.trigger()
                with pytest.raises(Unavailable, match="pipeline"):
                    await stage.orchestrator.life.check_ready()

        await answer_of(serve())
        for service in stage.orchestrator.life.services:
            if not service.cancelled():
                service.exception()
        stage._build()
        await stage.open()


async def test_a_command_for_a_run_that_is_not_there_is_answered() -> None:
    async with make_stage() as stage:
        answer = await stage.orchestrator.pipeline.submit(Direct(RunId("nobody"), CancelRun()))
        assert answer is Rejection.UNKNOWN


async def test_only_a_failed_run_is_redriven() -> None:
    async with make_stage() as stage:
        await stage.define("calm", retry={"maxRetries": 0})
        stage.register("w", "calm")
        run_id = await stage.trigger()
        await stage.exchange("w", failed(await stage.take_one("w")))
        await stage.orchestrator.discard(f"{run_id}:0:1")
        with pytest.raises((DeadLetterSettled, RunFinished)):
            await stage.orchestrator.redrive(f"{run_id}:0:1")


# --- several processes over one store --------------------------------------------------------------------------------


async def test_a_batch_that_another_process_was_faster_than_is_decided_again() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        failures = _contended(stage, 2)
        run_id = await stage.trigger()
        assert failures == []
        assert stage.orchestrator.pipeline.tally.again == 2
        assert await stage.runs() == [run_id]
        assert stage.queue.depths() == {"calm": 1}


async def test_a_batch_that_is_always_too_late_is_refused_after_a_number_of_times_and_the_next_goes_on() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        failures = _contended(stage, CONTENDED_MAX + 1)
        with pytest.raises(Contended):
            await stage.trigger()
        assert failures == []
        assert await stage.runs() == []
        assert stage.queue.depths() == {}
        await stage.trigger()
        assert stage.queue.depths() == {"calm": 1}


def _contended(stage: Stage, times: int) -> list[Contended]:
    """Let that many transactions fail; give those that have not failed yet."""
    failures = [Contended("another process was faster") for _ in range(times)]

    def fail() -> None:
        if failures:
            raise failures.pop()

    stage.before_commit = fail
    return failures
