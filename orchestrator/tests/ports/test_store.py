"""The contract of `ports.store`: what is committed is there, whole, for ever; what is not has never been."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import pytest

from orchestrator.engine import run as engine
from orchestrator.model.errors import Unavailable
from orchestrator.model.run import RunId, RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import Time
from orchestrator.ports.store import PayloadRef, RunChange, Store
from tests.ports.places import Opened, Place
from tests.ports.scribe import NOW, Scribe, at, make_version


class Interrupted(BaseException):
    """No ordinary error: the process is told to go."""


async def save(store: Store, *changes: RunChange) -> None:
    async with store.transaction() as tx:
        await tx.save(changes)


async def states_of(store: Store, *run_ids: str) -> dict[RunId, RunState]:
    async with store.transaction() as tx:
        return await tx.runs(map(RunId, run_ids))


async def check(opened: Opened, scribe: Scribe) -> None:
    """The store knows what was written, by its own account and by the history."""
    assert await states_of(opened.store, *scribe.states) == scribe.states
    for run_id, state in scribe.states.items():
        history = await opened.queries.history(run_id)
        assert history.events == scribe.histories[run_id]
        assert engine.fold(run_id, scribe.plan_of(run_id), history.events) == state
        assert {result.step: result.result for result in history.results} == scribe.results[run_id]
    refs = [PayloadRef(run_id, None) for run_id in scribe.states]
    refs += [PayloadRef(run_id, step) for run_id, results in scribe.results.items() for step in results]
    found = await opened.store.payloads(refs)
    for ref in refs:
        kept = scribe.inputs[ref.run_id] if ref.input_of is None else scribe.results[ref.run_id][ref.input_of]
        assert found[ref] == kept


# --- one transaction -----------------------------------------------------------------------------------------------


async def test_what_a_transaction_wrote_is_there_for_the_next(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        await check(opened, scribe)


async def test_what_a_transaction_wrote_is_there_after_opening_again(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.start(b'"two"'))
        await save(opened.store, scribe.take(RunId("run-0001")), scribe.complete(RunId("run-0001"), b"[1.50]"))
    async with place.open() as opened:
        await check(opened, scribe)


@pytest.mark.parametrize("kind", [ValueError, Interrupted, asyncio.CancelledError])
async def test_an_exception_in_the_block_takes_everything_back(place: Place, kind: type[BaseException]) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        with suppress(kind):
            async with opened.store.transaction() as tx:
                await tx.add_definition(scribe.versions[0])
                await tx.save([scribe.start()])
                raise kind
        async with opened.store.transaction() as tx:
            assert await tx.definitions(["order"]) == {}
            assert await tx.runs([RunId("run-0001")]) == {}
        assert await opened.store.pending((0, 0), 10) == ([], None)
        assert (await opened.queries.history(RunId("run-0001"))).events == []


async def test_after_a_rollback_runs_are_what_they_were_before(place: Place) -> None:
    """Nothing that a failed transaction read or decided may stay in a cache."""
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        run_id = RunId("run-0001")
        before = scribe.states[run_id]
        with suppress(ValueError):
            async with opened.store.transaction() as tx:
                await tx.runs([run_id])
                await tx.save([scribe.take(run_id), scribe.complete(run_id)])
                raise ValueError
        assert await states_of(opened.store, run_id) == {run_id: before}
        assert (await opened.store.pending((0, 0), 10))[0][0].step == 0


async def test_after_a_rollback_the_same_can_be_written_again(place: Place) -> None:
    async with place.open() as opened:
        lost, scribe = Scribe(), Scribe()
        await scribe.define(opened.store)
        with suppress(ValueError):
            async with opened.store.transaction() as tx:
                await tx.save([lost.start(), lost.start()])
                raise ValueError
        await save(opened.store, scribe.start(b'"kept"'))
        await check(opened, scribe)
        assert await states_of(opened.store, "run-0002") == {}


async def test_a_transaction_sees_what_it_wrote(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=0))
    async with place.open() as opened, opened.store.transaction() as tx:
        await tx.add_definition(scribe.versions[0])
        assert (await tx.definitions(["order"]))["order"] == scribe.versions[0]
        await tx.save([scribe.start(b'"in"')])
        run_id = RunId("run-0001")
        assert await tx.runs([run_id]) == scribe.states
        await tx.save(
            [scribe.take(run_id), scribe.complete(run_id, b'"out"'), scribe.take(run_id), scribe.fail(run_id)]
        )
        assert await tx.runs([run_id]) == scribe.states
        refs = [PayloadRef(run_id, None), PayloadRef(run_id, 0)]
        assert await tx.payloads(refs) == {refs[0]: b'"in"', refs[1]: b'"out"'}
        (letter,) = (await tx.dead_letters([f"{run_id}:1:1"])).values()
        assert letter.payload == b'"out"'


async def test_the_changes_of_one_run_in_one_save_are_all_made_in_order(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=1))
    async with place.open() as opened:
        await scribe.define(opened.store)
        changes = [scribe.start()]
        run_id = RunId("run-0001")
        changes += [scribe.take(run_id), scribe.fail(run_id), scribe.retry(run_id, at(5)), scribe.take(run_id)]
        changes += [scribe.complete(run_id), scribe.take(run_id), scribe.fail(run_id), scribe.retry(run_id, at(10))]
        changes += [scribe.take(run_id), scribe.complete(run_id, b'"done"', at(11))]
        await save(opened.store, *changes)
        await check(opened, scribe)
        assert await opened.store.pending((0, 0), 10) == ([], None)
        assert await opened.store.leased() == []
        record = await opened.queries.run(run_id)
        assert record is not None
        assert (record.status, record.output, record.ended_at) == (RunStatus.COMPLETED, b'"done"', at(11))


async def test_a_run_that_was_read_is_read_by_no_other_transaction_until_the_commit(place: Place) -> None:
    """No other transaction may change a run between the moment it is read and the commit."""
    scribe = Scribe()
    order: list[str] = []

    async def write(store: Store, name: str) -> None:
        async with store.transaction() as tx:
            await tx.runs([RunId("run-0001")])
            order.append(f"{name} has read")
            for _ in range(3):
                await asyncio.sleep(0)
            order.append(f"{name} commits")

    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        await asyncio.gather(write(opened.store, "one"), write(opened.store, "two"))
    first, second = ("one", "two") if order[0].startswith("one") else ("two", "one")
    assert order == [f"{first} has read", f"{first} commits", f"{second} has read", f"{second} commits"]


async def test_what_is_not_there_is_left_out(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        nobody = RunId("nobody")
        async with opened.store.transaction() as tx:
            assert list(await tx.runs([nobody, RunId("run-0001")])) == ["run-0001"]
            assert list(await tx.definitions(["nobody", "order"])) == ["order"]
            assert await tx.dead_letters(["nobody"]) == {}
            assert await tx.idempotency(["nobody"], NOW) == {}
        refs = [PayloadRef(nobody, None), PayloadRef(RunId("run-0001"), 0), PayloadRef(RunId("run-0001"), None)]
        assert list(await opened.store.payloads(refs)) == refs[2:]
        assert await opened.store.definition("order", 2) is None
        assert await opened.store.definition("nobody", 1) is None


async def test_an_empty_transaction_is_a_transaction(place: Place) -> None:
    async with place.open() as opened:
        async with opened.store.transaction() as tx:
            await tx.save([])
        assert await states_of(opened.store) == {}


async def test_what_is_written_to_try_is_taken_back(place: Place) -> None:
    async with place.open() as opened:
        for _ in range(2):
            await opened.store.try_write()
        async with opened.store.transaction() as tx:
            assert await tx.idempotency([""], Time(-1)) == {}


# --- definitions -----------------------------------------------------------------------------------------------------


async def test_the_latest_version_is_what_a_transaction_reads(place: Place) -> None:
    versions = [make_version("order", number) for number in (1, 2, 10)]
    async with place.open() as opened:
        for version in versions:
            async with opened.store.transaction() as tx:
                await tx.add_definition(version)
                assert (await tx.definitions(["order"]))["order"] == version
        for version in versions:
            assert await opened.store.definition("order", version.version) == version


async def test_a_version_that_exists_is_not_written_again(place: Place) -> None:
    async with place.open() as opened:
        writing = Scribe(make_version(steps=1), make_version(steps=2)).define(opened.store)
        with pytest.raises(Unavailable):
            await writing
        assert await opened.store.definition("order", 1) is None


# --- many runs, at random --------------------------------------------------------------------------------------------


def _step(scribe: Scribe, draw: random.Random, now: Time) -> RunChange:
    """Do something possible to some run."""
    run_id = draw.choice(list(scribe.states))
    state = scribe.states[run_id]
    if state.status is RunStatus.FAILED and draw.random() < 0.5:
        return scribe.redrive(run_id, now)
    if not state.is_open or draw.random() < 0.1:
        return scribe.start(b'{"n": %d}' % draw.getrandbits(20), when=now, version=draw.randrange(2))
    if draw.random() < 0.05:
        return scribe.cancel(run_id, now)
    (step,) = state.open.values()
    if step.status is StepStatus.QUEUED:
        return scribe.take(run_id, now)
    if step.status is StepStatus.BACKING_OFF:
        return scribe.retry(run_id, Time(max(now, step.retry_at or 0)))
    finish: Callable[..., RunChange] = draw.choice((scribe.complete, scribe.complete, scribe.fail))
    return finish(run_id, when=now)


async def test_a_run_that_is_redriven_and_fails_again_in_one_save_has_its_new_end(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        run_id = RunId("run-0001")
        await save(opened.store, scribe.start(), scribe.fail(run_id, at(1)))
        await save(opened.store, scribe.redrive(run_id, at(2)), scribe.fail(run_id, at(3)))
        await check(opened, scribe)
        record = await opened.queries.run(run_id)
        assert record is not None
        assert (record.status, record.ended_at) == (RunStatus.FAILED, at(3))


@pytest.mark.parametrize("cached", [1, 2, 1_000])
@pytest.mark.parametrize("seed", range(6))
async def test_histories_fold_to_the_states_that_were_written(place: Place, seed: int, cached: int) -> None:
    """Whatever is evicted from memory, taken back or opened again: a run is its history."""
    draw = random.Random(seed)
    scribe = Scribe(make_version(max_retries=1), make_version("cake", steps=3, timeout=60))
    async with place.open(cached) as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
    for _ in range(3):
        async with place.open(cached) as opened:
            for number in range(12):
                changes = [_step(scribe, draw, at(number)) for _ in range(draw.randint(1, 6))]
                with suppress(ValueError):
                    async with opened.store.transaction() as tx:
                        await tx.runs(draw.sample(list(scribe.states), 1))
                        raise ValueError
                await save(opened.store, *changes)
            await check(opened, scribe)
    async with place.open(cached) as opened:
        await check(opened, scribe)
        rows, _ = await opened.store.pending((0, 0), 10_000)
        leased = await opened.store.leased()
        due = await opened.store.due(Time(2**62), 10_000)
        found = {(row.run_id, row.step): (row.attempt, row.state) for row in [*rows, *leased, *due.retries]}
        assert found == _rows_of(scribe)
        assert set(due.runs) == {
            run_id for run_id, state in scribe.states.items() if state.is_open and state.deadline is not None
        }


_ROW_STATES: Final = {
    StepStatus.QUEUED: "pending",
    StepStatus.RUNNING: "leased",
    StepStatus.BACKING_OFF: "backoff",
}


def _rows_of(scribe: Scribe) -> dict[tuple[RunId, int], tuple[int, str]]:
    """There is a row for each open step of an open run, and no other."""
    return {
        (run_id, index): (step.attempt, _ROW_STATES[step.status])
        for run_id, state in scribe.states.items()
        if state.is_open
        for index, step in state.open.items()
    }


async def test_history_is_only_ever_appended_to(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=2))
    async with place.open() as opened:
        await scribe.define(opened.store)
        run_id = RunId("run-0001")
        moves: list[Callable[[], RunChange]] = [
            scribe.start,
            lambda: scribe.take(run_id),
            lambda: scribe.fail(run_id),
            lambda: scribe.retry(run_id, at(5)),
            lambda: scribe.cancel(run_id),
        ]
        before: list[object] = []
        for move in moves:
            await save(opened.store, move())
            events = (await opened.queries.history(run_id)).events
            assert events[: len(before)] == before
            assert len(events) > len(before)
            before = list(events)


async def test_a_failing_caller_leaves_no_lock_behind(place: Place) -> None:
    async with place.open() as opened:
        acts: list[Awaitable[dict[RunId, RunState]]] = []
        for _ in range(3):
            with suppress(ValueError):
                async with opened.store.transaction():
                    raise ValueError
            acts.append(states_of(opened.store))
        async with asyncio.timeout(5):
            assert await asyncio.gather(*acts) == [{}, {}, {}]


# --- which store it is ----------------------------------------------------------------------------------------------


async def test_a_store_has_a_secret_that_stays_as_long_as_nothing_is_lost(place: Place) -> None:
    async with place.open() as opened:
        secret = await opened.store.incarnation()
        assert len(secret) >= 32
        assert len(set(secret)) > 8
        scribe = Scribe()
        await scribe.define(opened.store)
        async with opened.store.transaction() as tx:
            await tx.save([scribe.start()])
        assert await opened.store.incarnation() == secret
