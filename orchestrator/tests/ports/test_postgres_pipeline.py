"""Two orchestrators over one PostgreSQL database, each with a pipeline of its own: who loses a race decides again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.system import SystemChance, SystemClock
from orchestrator.app.command import Define, Record, Trigger
from orchestrator.app.pipeline import PLENTY, Pipeline, Point
from orchestrator.app.plans import Plans
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import StepDefinition, WorkflowDefinition, digest
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job, Rejection, Report
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.ports.queries import RunFilter
from tests.app.stage import ProcessDied
from tests.ports.places import PostgresDatabase


class Outside:
    """See `app.pipeline.World`: keeps what it is told to do."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def dispatch(self, jobs: list[Job]) -> None:
        self.jobs += jobs

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None: ...

    def reported(self, run_id: RunId, step: int, attempt: int) -> None: ...

    def dead_lettered(self, letters: list[DeadLetter]) -> None:
        pass

    def run_ended(self, run_id: RunId) -> None: ...

    def doubt(self, steps: list[tuple[RunId, int]]) -> None:
        raise AssertionError("a race that was lost leaves no doubt")


class Process:
    """A pipeline and what it hands out."""

    def __init__(self, database: Database) -> None:
        self.queries = PostgresQueries(database)
        self.outside = Outside()
        self.dies_at: Point | None = None
        self.pipeline = Pipeline(
            PostgresStore(database), Plans(), SystemClock(), SystemChance(), Limits(), self.outside, self._reach
        )

    def _reach(self, point: Point) -> None:
        if point == self.dies_at:
            raise ProcessDied


@asynccontextmanager
async def two_processes(postgres: PostgresDatabase) -> AsyncIterator[tuple[Process, Process]]:
    databases = [await Database.open(postgres.url) for _ in range(2)]
    one, two = (Process(database) for database in databases)
    tasks = [asyncio.create_task(process.pipeline.run()) for process in (one, two)]
    try:
        yield one, two
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for database in databases:
            await database.close()


def define(steps: int = 1, workflow_id: str = "flow") -> Define:
    definition = WorkflowDefinition(
        id=workflow_id,
        steps=tuple(StepDefinition(action=f"a{index}", step_index=index) for index in range(steps)),
    )
    return Define(definition, digest(definition))


async def test_one_key_in_two_processes_at_once_is_one_run_and_both_are_told_it(postgres: PostgresDatabase) -> None:
    async with two_processes(postgres) as (one, two):
        await one.pipeline.submit(define())
        for round_ in range(20):
            triggers = [Trigger("flow", Json(b"1"), f"{round_}-{number}", b"same") for number in range(10)]
            first = [one.pipeline.submit(trigger) for trigger in triggers]
            second = [two.pipeline.submit(trigger) for trigger in reversed(triggers)]
            answers = await asyncio.gather(*first, *reversed(second))
            for left, right in zip(answers[:10], answers[10:], strict=True):
                assert left.run_id == right.run_id
                assert [left.created, right.created].count(True) == 1
        records, _ = await one.queries.runs(RunFilter(), 1_000, None, payload_bytes_max=None)
        assert len(records) == 200
        assert len(one.outside.jobs) + len(two.outside.jobs) == 200


async def test_two_processes_that_define_at_once_make_versions_one_after_the_other(
    postgres: PostgresDatabase,
) -> None:
    async with two_processes(postgres) as (one, two):
        for round_ in range(10):
            name = f"flow-{round_}"
            answers = await asyncio.gather(
                *(process.pipeline.submit(define(steps, name)) for steps, process in ((1, one), (2, two), (1, two)))
            )
            versions = await one.queries.versions(name)
            # Two that say the same are one version, unless the other came between.
            assert [version.version for version in versions] in ([2, 1], [3, 2, 1])
            assert all(earlier.digest != later.digest for earlier, later in zip(versions, versions[1:], strict=False))
            found = {version.version: version.digest for version in versions}
            assert all(found[answer.version.version] == answer.version.digest for answer in answers)


async def test_a_plan_of_a_version_that_lost_its_race_is_forgotten(postgres: PostgresDatabase) -> None:
    """The winner's version has the same number: a run must follow the definition that it names."""
    async with two_processes(postgres) as (one, two):
        for round_ in range(10):
            name = f"flow-{round_}"
            # In one batch: the version is used before it is committed.
            defined = [process.pipeline.submit(define(steps, name)) for steps, process in ((2, two), (3, one))]
            started = [process.pipeline.submit(Trigger(name, Json(b"1"))) for process in (two, one)]
            await asyncio.gather(*defined)
            await asyncio.gather(*started)
        for _ in range(3):
            jobs = [*one.outside.jobs, *two.outside.jobs]
            one.outside.jobs, two.outside.jobs = [], []
            reports = [
                Report(run_id=job.run_id, step=job.step, attempt=job.attempt, outcome="completed", result=Json(b"0"))
                for job in jobs
            ]
            assert not any(await two.pipeline.submit(Record(reports)))
        records, _ = await one.queries.runs(RunFilter(), 100, None, payload_bytes_max=None)
        assert {record.status for record in records} == {RunStatus.COMPLETED}
        results = await one.queries.results([record.run_id for record in records])
        for record in records:
            versions = {version.version: version for version in await one.queries.versions(record.workflow_id)}
            assert len(results[record.run_id]) == len(versions[record.version].definition.steps)


async def test_one_result_in_two_processes_at_once_is_recorded_once(postgres: PostgresDatabase) -> None:
    async with two_processes(postgres) as (one, two):
        await one.pipeline.submit(define(5))
        await asyncio.gather(*(one.pipeline.submit(Trigger("flow", Json(b"1"))) for _ in range(30)))
        for _ in range(5):
            jobs = [*one.outside.jobs, *two.outside.jobs]
            assert len(jobs) == 30
            one.outside.jobs, two.outside.jobs = [], []
            answers = await asyncio.gather(
                *(
                    process.pipeline.submit(
                        Record(
                            [
                                Report(
                                    run_id=job.run_id,
                                    step=job.step,
                                    attempt=job.attempt,
                                    outcome="completed",
                                    result=Json(b'"%s"' % name),
                                )
                                for job in order
                            ]
                        )
                    )
                    for process, name, order in ((one, b"one", jobs), (two, b"two", jobs[::-1]))
                )
            )
            for first, second in zip(answers[0], answers[1][::-1], strict=True):
                assert [first, second].count(None) == 1
                assert {first, second} <= {None, Rejection.RECORDED, Rejection.RUN_FINISHED}
        records, _ = await one.queries.runs(RunFilter(), 100, None, payload_bytes_max=None)
        assert {record.status for record in records} == {RunStatus.COMPLETED}


@asynccontextmanager
async def held_up(postgres: PostgresDatabase) -> AsyncIterator[tuple[Process, asyncio.Task[None], asyncio.Future[Any]]]:
    """A pipeline that overlaps, its service, and a request whose transaction waits for the block's end."""
    async with two_processes(postgres) as (_, two):
        await two.pipeline.submit(define())
        held = (await two.pipeline.submit(Trigger("flow", Json(b"1")))).run_id
    database = await Database.open(postgres.url)
    process = Process(database)
    process.pipeline.overlaps = True
    service = asyncio.create_task(process.pipeline.run())
    holder = await asyncpg.connect(postgres.url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE", held)
            report = Report(run_id=held, step=0, attempt=1, outcome="completed", result=Json(b"0"))
            waiting = process.pipeline.submit(Record([report]))
            while process.pipeline.waiting:
                await asyncio.sleep(0)
            yield process, service, waiting
        process.pipeline.close()
        await asyncio.wait([service])
    finally:
        service.cancel()
        await holder.close()
        await database.close()


async def test_what_is_plenty_does_not_wait_for_a_transaction_that_waits(postgres: PostgresDatabase) -> None:
    async with held_up(postgres) as (process, service, waiting):
        few = [process.pipeline.submit(Trigger("flow", Json(b"1"))) for _ in range(PLENTY - 1)]
        done, _ = await asyncio.wait(few, timeout=0.1)
        assert not done
        last = process.pipeline.submit(Trigger("flow", Json(b"1")))
        await asyncio.gather(*few, last)
        assert not waiting.done()
    assert await waiting == [None]
    await service


async def test_a_pipeline_whose_second_transaction_dies_ends_and_answers_all_who_wait(
    postgres: PostgresDatabase,
) -> None:
    async with held_up(postgres) as (process, service, waiting):
        process.dies_at = "batch.written"
        plenty = [process.pipeline.submit(Trigger("flow", Json(b"1"))) for _ in range(PLENTY)]
        answers = await asyncio.wait_for(asyncio.gather(waiting, *plenty, return_exceptions=True), 10)
        assert {type(answer) for answer in answers} == {Unavailable}
        with pytest.raises(BaseExceptionGroup) as died:
            await service
        assert died.group_contains(ProcessDied)
        with pytest.raises(Unavailable):
            await process.pipeline.submit(Trigger("flow", Json(b"1")))
