"""The contract of `ports.store` about what waits: jobs, timers, keys and dead letters."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.errors import Contended
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange, Store
from tests.ports.places import Place
from tests.ports.scribe import BROKE, NOW, Scribe, at, make_version


async def save(store: Store, *changes: RunChange) -> None:
    async with store.transaction() as tx:
        await tx.save(changes)


def run(number: int) -> RunId:
    return RunId(f"run-{number:04}")


async def everything_pending(store: Store, limit: int) -> list[JobRow]:
    found: list[JobRow] = []
    place: tuple[int, int] | None = (0, 0)
    while place is not None:
        page, place = await store.pending(place, limit)
        assert len(page) <= limit
        found += page
    return found


# --- pending --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
async def test_pending_rows_are_paged_through_with_the_oldest_runs_first(place: Place, limit: int) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start(when=at(-number)) for number in range(8)))
        await save(opened.store, scribe.take(run(3)))
        found = await everything_pending(opened.store, limit)
        assert [row.run_id for row in found] == [run(number) for number in (1, 2, 4, 5, 6, 7, 8)]


async def test_a_page_goes_on_where_the_last_one_ended_while_rows_come_and_go(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(6)))
        first, following = await opened.store.pending((0, 0), 2)
        assert following is not None
        await save(opened.store, scribe.take(run(1)), scribe.take(run(3)), scribe.start())
        second, _ = await opened.store.pending(following, 100)
    assert [row.run_id for row in first] == [run(1), run(2)]
    assert [row.run_id for row in second] == [run(4), run(5), run(6), run(7)]


async def test_pending_is_empty_where_nothing_waits(place: Place) -> None:
    async with place.open() as opened:
        assert await opened.store.pending((0, 0), 10) == ([], None)


async def test_a_row_comes_back_as_it_was_written(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=9))
    async with place.open() as opened:
        await scribe.define(opened.store)
        pending = scribe.start()
        taken = scribe.take(run(1), at(1), "w-7", details=b'{"done": 1.50}')
        await save(opened.store, pending, taken)
        assert await opened.store.leased() == list(taken.jobs)
        failed = scribe.fail(run(1), at(2), retry_after=3, details=b'"half"')
        await save(opened.store, failed)
        assert (await opened.store.due(at(5), 10)).retries == list(failed.jobs)
        again = scribe.retry(run(1), at(5))
        await save(opened.store, again)
        assert await opened.store.pending((0, 0), 10) == (list(again.jobs), None)
        for number in (2, 3):
            await save(opened.store, scribe.take(run(1)), scribe.fail(run(1)), scribe.retry(run(1), at(5 * number)))
        ((alone,), _) = await opened.store.pending((0, 0), 10)
        assert (alone.alone, alone.attempt) == (True, 4)


async def test_a_row_replaces_the_one_of_its_step(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=9))
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        await save(opened.store, scribe.take(run(1)))
        assert await opened.store.pending((0, 0), 10) == ([], None)
        await save(opened.store, scribe.fail(run(1)))
        assert await opened.store.leased() == []
        await save(opened.store, scribe.retry(run(1), at(5)))
        assert (await opened.store.due(at(1_000), 10)).retries == []


async def test_a_settled_step_has_no_row(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.start())
        await save(opened.store, scribe.cancel(run(1)), scribe.take(run(2)), scribe.complete(run(2)))
        found = await everything_pending(opened.store, 10)
        assert [(row.run_id, row.step, row.input_of) for row in found] == [(run(2), 1, 0)]


async def test_the_leases_of_the_last_process_are_known_to_the_next(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(3)))
        await save(opened.store, scribe.take(run(2), worker="w-2"), scribe.take(run(3), worker="w-3"))
    async with place.open() as opened:
        leased = {row.run_id: row for row in await opened.store.leased()}
    assert {run_id: row.worker for run_id, row in leased.items()} == {run(2): "w-2", run(3): "w-3"}
    assert {row.state for row in leased.values()} == {JobState.LEASED}


# --- timers ---------------------------------------------------------------------------------------------------------


async def test_retries_are_due_when_their_time_has_come_and_the_longest_overdue_come_first(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=9))
    delays = [5, 1, 4, 2, 3]
    async with place.open() as opened:
        await scribe.define(opened.store)
        for number, delay in enumerate(delays, 1):
            await save(
                opened.store, scribe.start(), scribe.take(run(number)), scribe.fail(run(number), retry_after=delay)
            )
        assert (await opened.store.due(Time(at(1) - 1), 10)).retries == []
        assert [row.run_id for row in (await opened.store.due(at(1), 10)).retries] == [run(2)]
        due = await opened.store.due(at(4.5), 10)
        assert [row.run_id for row in due.retries] == [run(2), run(4), run(5), run(3)]
        assert [row.run_id for row in (await opened.store.due(at(9), 2)).retries] == [run(2), run(4)]


async def test_open_runs_past_their_deadline_are_due(place: Place) -> None:
    scribe = Scribe(make_version(timeout=10))
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start(when=at(when)) for when in (3, 1, 2, 0)))
        assert (await opened.store.due(Time(at(10) - 1), 10)).runs == []
        assert (await opened.store.due(at(10), 10)).runs == [run(4)]
        assert (await opened.store.due(at(60), 10)).runs == [run(4), run(2), run(3), run(1)]
        assert (await opened.store.due(at(60), 3)).runs == [run(4), run(2), run(3)]
        await save(opened.store, scribe.cancel(run(4)))
        assert (await opened.store.due(at(60), 10)).runs == [run(2), run(3), run(1)]


async def test_the_limit_counts_for_each_kind_of_timer(place: Place) -> None:
    scribe = Scribe(make_version(max_retries=9, timeout=10))
    async with place.open() as opened:
        await scribe.define(opened.store)
        for number in (1, 2, 3):
            await save(opened.store, scribe.start(), scribe.take(run(number)), scribe.fail(run(number)))
        due = await opened.store.due(at(60), 2)
        assert (len(due.retries), len(due.runs)) == (2, 2)


async def test_a_redriven_run_has_its_new_deadline(place: Place) -> None:
    scribe = Scribe(make_version(timeout=10))
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.take(run(1)), scribe.fail(run(1)))
        assert (await opened.store.due(at(60), 10)).runs == []
        await save(opened.store, scribe.redrive(run(1), at(100)))
        assert (await opened.store.due(at(105), 10)).runs == []
        assert (await opened.store.due(at(110), 10)).runs == [run(1)]


# --- idempotency keys -----------------------------------------------------------------------------------------------


def record(key: str, expires_at: Time = NOW, run_id: RunId | None = None) -> IdempotencyRecord:
    return IdempotencyRecord(key, key.encode() + b"\x00\xff", run_id or run(1), expires_at)


async def test_a_key_is_known_until_it_expires(place: Place) -> None:
    async with place.open() as opened:
        async with opened.store.transaction() as tx:
            await tx.remember([record("a", at(1)), record("b", at(2))], NOW)
            assert await tx.idempotency(["a", "b"], NOW) == {"a": record("a", at(1)), "b": record("b", at(2))}
        async with opened.store.transaction() as tx:
            assert list(await tx.idempotency(["a", "b"], Time(at(1) - 1))) == ["a", "b"]
            assert list(await tx.idempotency(["a", "b"], at(1))) == ["b"]


async def test_an_expired_key_can_be_used_again(place: Place) -> None:
    async with place.open() as opened:
        async with opened.store.transaction() as tx:
            await tx.remember([record("a", at(1))], NOW)
        async with opened.store.transaction() as tx:
            await tx.remember([record("a", at(9), run(2))], at(1))
            assert (await tx.idempotency(["a"], at(5)))["a"].run_id == run(2)


async def test_a_key_that_is_in_use_is_not_written_again(place: Place) -> None:
    """Neither is anything else of the transaction, nor of what the caller does after it was told."""
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        async with opened.store.transaction() as tx:
            await tx.remember([record("a", at(1))], NOW)
        writing = _start_with_keys(opened.store, scribe, "b", "a")
        with pytest.raises(Contended):
            await writing
        async with opened.store.transaction() as tx:
            assert await tx.idempotency(["a", "b"], NOW) == {"a": record("a", at(1))}
            assert await tx.runs([run(1)]) == {}


async def _start_with_keys(store: Store, scribe: Scribe, *keys: str) -> None:
    async with store.transaction() as tx:
        await tx.save([scribe.start()])
        await tx.remember([record(key, at(9), run(2)) for key in keys], Time(at(1) - 1))


async def test_expired_keys_are_forgotten_a_few_at_a_time(place: Place) -> None:
    async with place.open() as opened:
        async with opened.store.transaction() as tx:
            await tx.remember([record(f"k{second}", at(second)) for second in range(6)], NOW)
        assert await opened.store.forget(Time(NOW - 1), 10) == 0
        assert await opened.store.forget(at(3), 2) == 2
        assert await opened.store.forget(at(3), 10) == 2
        assert await opened.store.forget(at(3), 10) == 0
        async with opened.store.transaction() as tx:
            kept = await tx.idempotency([f"k{second}" for second in range(6)], Time(0))
        assert list(kept) == ["k4", "k5"]


# --- dead letters ---------------------------------------------------------------------------------------------------


async def fail_runs(store: Store, scribe: Scribe, count: int) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    for _ in range(count):
        started = scribe.start()
        run_id = started.state.run_id
        failed = [scribe.take(run_id), scribe.fail(run_id, at(len(letters)))]
        await save(store, started, *failed)
        assert failed[-1].dead_letter is not None
        letters.append(failed[-1].dead_letter)
    return letters


async def test_a_dead_letter_comes_back_as_it_was_written(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        (letter,) = await fail_runs(opened.store, scribe, 1)
    async with place.open() as opened, opened.store.transaction() as tx:
        assert await tx.dead_letters([letter.id]) == {letter.id: letter}
    assert (letter.failure, letter.payload, letter.worker) == (BROKE, b'{"n": 1}', "w-1")


@pytest.mark.parametrize("state", [DeadLetterState.REDRIVEN, DeadLetterState.DISCARDED])
async def test_a_settled_dead_letter_says_how_and_when(place: Place, state: DeadLetterState) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        letter, other = await fail_runs(opened.store, scribe, 2)
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(letter.id, state, at(7))
            seen = (await tx.dead_letters([letter.id]))[letter.id]
            assert (seen.state, seen.settled_at) == (state, at(7))
        async with opened.store.transaction() as tx:
            assert await tx.dead_letters([letter.id, other.id]) == {letter.id: seen, other.id: other}


async def test_settling_is_taken_back_with_its_transaction(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        (letter,) = await fail_runs(opened.store, scribe, 1)
        try:
            async with opened.store.transaction() as tx:
                await tx.settle_dead_letter(letter.id, DeadLetterState.DISCARDED, at(7))
                raise ValueError
        except ValueError:
            pass
        async with opened.store.transaction() as tx:
            assert (await tx.dead_letters([letter.id]))[letter.id] == letter


# --- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [b"null", b'"\xc3\xa4"', b"1.50", b"12345678901234567890123", b'{"b":1, "a" : 2}', b'""', b"[" * 60 + b"]" * 60],
)
async def test_payloads_come_back_byte_by_byte(place: Place, payload: bytes) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(payload), scribe.take(run(1)), scribe.complete(run(1), payload + b" "))
        refs = [PayloadRef(run(1), None), PayloadRef(run(1), 0)]
        assert await opened.store.payloads(refs) == {refs[0]: payload, refs[1]: payload + b" "}


async def test_payloads_that_were_not_committed_are_not_there(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        try:
            async with opened.store.transaction() as tx:
                await tx.save([scribe.start()])
                raise ValueError
        except ValueError:
            pass
        assert await opened.store.payloads([PayloadRef(run(1), None)]) == {}


async def test_a_step_that_is_redriven_keeps_the_results_before_it(place: Place) -> None:
    scribe = Scribe(make_version(steps=3))
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(), scribe.take(run(1)), scribe.complete(run(1), b'"first"'))
        await save(opened.store, scribe.take(run(1)), scribe.fail(run(1)), scribe.redrive(run(1)))
        await save(opened.store, scribe.take(run(1)), scribe.complete(run(1), b'"second"'))
        found = await opened.store.payloads([PayloadRef(run(1), step) for step in (None, 0, 1, 2)])
        assert list(found.values()) == [Json(b'{"n": 1}'), Json(b'"first"'), Json(b'"second"')]


async def test_rows_of_many_runs_keep_their_order(place: Place) -> None:
    scribe = Scribe()
    async with place.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start(run_id=f"{-number:06}") for number in range(300)))
        found = await everything_pending(opened.store, 37)
    assert [row.run_id for row in found] == list(scribe.states)
    assert len({row.run_id for row in found}) == 300
    assert all(one is not two for one, two in pairwise(found))
