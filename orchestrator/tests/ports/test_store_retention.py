"""The contract of `ports.store` about what is removed: runs that have ended, whole, and nothing else."""

from __future__ import annotations

from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.queries import RunFilter
from orchestrator.ports.store import PayloadRef, RunChange, Store
from tests.ports.places import Opened, Place
from tests.ports.scribe import NOW, Scribe, at, make_version

FAR = at(10_000)


def run(number: int) -> RunId:
    return RunId(f"run-{number:04}")


async def save(store: Store, *changes: RunChange) -> None:
    async with store.transaction() as tx:
        await tx.save(changes)


async def end_runs(store: Store, scribe: Scribe, *seconds: float) -> None:
    """Start and complete runs, one that ends at each of these seconds."""
    for second in seconds:
        started = scribe.start(when=at(-5))
        run_id = started.state.run_id
        await save(store, started, scribe.complete(run_id), scribe.complete(run_id, when=at(second)))


async def shown(opened: Opened) -> set[RunId]:
    records, more = await opened.queries.runs(RunFilter(), 100, None, payload_bytes_max=1_000_000)
    assert not more
    return {record.run_id for record in records}


async def test_runs_that_ended_before_are_removed_and_later_ones_are_kept(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await end_runs(opened.store, scribe, 1, 2, 3)
        assert await opened.store.retain(at(1), 10) == 0
        assert await opened.store.retain(Time(at(2) + 1), 10) == 2
        assert await opened.store.retain(Time(at(2) + 1), 10) == 0
        assert await shown(opened) == {run(3)}


async def test_those_that_ended_first_go_first_and_no_more_than_the_limit(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await end_runs(opened.store, scribe, 5, 1, 4, 2, 3)
        assert await opened.store.retain(FAR, 2) == 2
        assert await shown(opened) == {run(1), run(3), run(5)}
        assert await opened.store.retain(FAR, 2) == 2
        assert await opened.store.retain(FAR, 2) == 1
        assert await shown(opened) == set()


async def test_a_removed_run_leaves_nothing_behind(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await end_runs(opened.store, scribe, 1)
        assert await opened.store.retain(FAR, 10) == 1
        assert await opened.queries.run(run(1)) is None
        assert (await opened.queries.history(run(1))).events == []
        refs = [PayloadRef(run(1), None), PayloadRef(run(1), 0)]
        assert await opened.store.payloads(refs) == {}
        async with opened.store.transaction() as tx:
            assert await tx.runs([run(1)]) == {}
    async with place.open() as opened:
        # What is written next has nothing to do with what was there.
        await save(opened.store, scribe.start(b'"new"'))
        assert await opened.store.payloads([PayloadRef(run(2), None), *refs]) == {PayloadRef(run(2), None): b'"new"'}


async def test_an_open_run_is_kept_however_old(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=3))
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.start(), scribe.take(run(2)), scribe.fail(run(2)))
        assert await opened.store.retain(FAR, 10) == 0
        assert await shown(opened) == {run(1), run(2)}


async def test_a_run_with_an_open_dead_letter_is_kept_until_it_is_settled(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        for number in (1, 2, 3):
            await save(opened.store, scribe.start(), scribe.fail(run(number), NOW))
        await end_runs(opened.store, scribe, 1)
        letters = [f"{run(number)}:0:1" for number in (1, 2, 3)]
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(letters[1], DeadLetterState.DISCARDED, at(2))
        assert await opened.store.retain(FAR, 10) == 2
        assert await shown(opened) == {run(1), run(3)}
        found = [await opened.queries.dead_letter(letter) for letter in letters]
        assert [letter is not None for letter in found] == [True, False, True]


async def test_a_run_that_was_redriven_is_open_again_and_kept(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.fail(run(1)))
        async with opened.store.transaction() as tx:
            await tx.save([scribe.redrive(run(1), at(1))])
            await tx.settle_dead_letter(f"{run(1)}:0:1", DeadLetterState.REDRIVEN, at(1))
        assert await opened.store.retain(FAR, 10) == 0
        await save(opened.store, scribe.complete(run(1)), scribe.complete(run(1), when=at(2)))
        assert await opened.store.retain(FAR, 10) == 1
        assert await opened.queries.dead_letter(f"{run(1)}:0:1") is None
