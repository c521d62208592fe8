"""The contract of `ports.queries.Queries.count`: what is open, and no more than was asked for."""

from __future__ import annotations

from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.job import JobState
from orchestrator.model.status import RunStatus
from orchestrator.ports.queries import PENDING_LOOKED_AT
from orchestrator.ports.store import RunChange
from tests.ports.places import Opened, Place, PostgresDatabase, SqliteFile
from tests.ports.scribe import Scribe, at, make_version

MOST = 1_000


async def save(opened: Opened, *changes: RunChange) -> None:
    async with opened.store.transaction() as tx:
        await tx.save(changes)


async def test_where_nothing_is_open_all_is_zero(place: Place) -> None:
    async with place.open() as opened:
        counts = await opened.queries.count(MOST)
    assert counts.jobs == dict.fromkeys(JobState, 0)
    assert counts.runs == {RunStatus.RUNNING: 0, RunStatus.WAITING: 0}
    assert (counts.oldest_pending, counts.dead_letters) == (None, 0)


async def test_open_jobs_runs_and_letters_are_counted_by_state(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=1), make_version("strict"))
    async with place.open() as opened:
        await scribe.define(opened.store)
        started = [scribe.start(when=at(number)) for number in range(5)]
        first, second, third, fourth, _ = (change.state.run_id for change in started)
        lost = scribe.start(version=1)
        await save(opened, *started, lost)
        await save(opened, scribe.take(first), scribe.fail(second), scribe.cancel(third), scribe.complete(fourth))
        await save(opened, scribe.fail(lost.state.run_id))
        counts = await opened.queries.count(MOST)
        jobs = {JobState.PENDING: 2, JobState.SENT: 0, JobState.LEASED: 1, JobState.BACKOFF: 1}
        assert counts.jobs == jobs
        assert counts.runs == {RunStatus.RUNNING: 3, RunStatus.WAITING: 1}
        assert counts.dead_letters == 1
        await save(opened, scribe.redrive(lost.state.run_id))
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(f"{lost.state.run_id}:0:1", DeadLetterState.REDRIVEN, at(1))
        assert (await opened.queries.count(MOST)).dead_letters == 0


async def test_the_oldest_pending_job_is_as_old_as_what_queued_it(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=1))
    async with place.open() as opened:
        await scribe.define(opened.store)
        old, new = scribe.start(when=at(10)), scribe.start(when=at(20))
        await save(opened, old, new)
        assert (await opened.queries.count(MOST)).oldest_pending == at(10)
        # Its second step waits from the result of the first one on.
        await save(opened, scribe.complete(old.state.run_id, when=at(30)))
        assert (await opened.queries.count(MOST)).oldest_pending == at(20)
        await save(opened, scribe.fail(new.state.run_id, at(40)))
        assert (await opened.queries.count(MOST)).oldest_pending == at(30)
        # A later attempt waits from its own start on, and not from that of the step.
        await save(opened, scribe.retry(new.state.run_id, at(60)), scribe.complete(old.state.run_id, when=at(61)))
        assert (await opened.queries.count(MOST)).oldest_pending == at(60)
        await save(opened, scribe.take(new.state.run_id, at(70)))
        assert (await opened.queries.count(MOST)).oldest_pending is None


async def test_no_more_is_counted_than_was_asked_for(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        started = [scribe.start(when=at(1_000 - number)) for number in range(PENDING_LOOKED_AT + 2)]
        await save(opened, *started)
        await save(opened, *(scribe.fail(change.state.run_id) for change in started[:2]))
        counts = await opened.queries.count(5)
        assert (counts.jobs[JobState.PENDING], counts.runs[RunStatus.RUNNING], counts.dead_letters) == (5, 5, 2)
        counts = await opened.queries.count(1)
        assert (counts.jobs[JobState.PENDING], counts.runs[RunStatus.RUNNING], counts.dead_letters) == (1, 1, 1)
        # Of many that are pending, those of the first runs are looked at.
        await save(opened, scribe.start(when=at(0)))
        assert (await opened.queries.count(MOST)).oldest_pending == at(1_000 - PENDING_LOOKED_AT - 1)


async def test_a_store_says_what_it_takes_or_which_connections_it_has(place: Place) -> None:
    async with place.open() as opened:
        await opened.queries.count(MOST)
        report = opened.queries.report()
    match place:
        case PostgresDatabase():
            assert report.bytes == {}
            assert set(report.connections) == {"transactions", "reads"}
            reads = report.connections["reads"]
            assert (reads.in_use, reads.waiting) == (0, 0)
            assert 1 <= reads.open <= reads.most
        case SqliteFile():
            assert (report.connections, set(report.bytes)) == ({}, {"data", "log"})
            assert report.bytes["data"] > 0
        case _:
            assert (report.connections, report.bytes) == ({}, {})
