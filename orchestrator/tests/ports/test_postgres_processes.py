"""Several processes over one PostgreSQL: who waits for whom, and what each sees of the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import asyncpg
import pytest

from orchestrator.adapters.postgres.numbers import BLOCK, RunNumbers
from orchestrator.adapters.postgres.recent import Known, Recent
from orchestrator.adapters.postgres.store import CAREFUL, PostgresStore
from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.engine.command import CompleteAttempt, Decision
from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import Contended
from orchestrator.model.job import JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.ports.queries import LetterFilter, RunFilter
from orchestrator.ports.store import IdempotencyRecord, RunChange, Store
from tests.ports.places import PostgresDatabase
from tests.ports.postgres_processes import blocked, careful, end_connections, processes, read, run, save, until_current
from tests.ports.scribe import NOW, Scribe, at, make_version

# --- several processes ------------------------------------------------------------------------------------------------


async def test_what_was_decided_from_something_else_than_is_there_is_taken_back_as_a_whole(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start(), scribe.start())
        other = deepcopy(scribe)
        # The first has both in memory; the second reads them.
        await read(one.store, run(1), run(2))
        await read(two.store, run(2))
        await save(two.store, other.complete(run(2)))
        with pytest.raises(Contended):
            await save(one.store, scribe.complete(run(1)), scribe.fail(run(2)))
        assert await read(one.store, run(1), run(2)) == other.states
        assert [job.step for job in (await one.store.pending((0, 0), 10))[0]] == [0, 1]


async def test_a_decision_that_changes_nothing_is_not_made_from_what_is_no_longer_there(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        await save(two.store, scribe.complete(run(1)))
        with pytest.raises(Contended):
            await read(one.store, run(1))
        assert await read(one.store, run(1)) == scribe.states


async def test_what_is_in_memory_is_what_was_committed_and_nothing_is_asked_for_it(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe = Scribe(make_version(steps=4))
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        asked: list[str] = []
        fetch = asyncpg.Connection.fetch

        async def overhear(connection: Any, sql: str, *arguments: Any) -> Any:
            asked.append(sql)
            return await fetch(connection, sql, *arguments)

        monkeypatch.setattr(asyncpg.Connection, "fetch", overhear)
        for _ in range(3):
            async with one.store.transaction() as tx:
                assert await tx.runs([run(1)]) == scribe.states
                await tx.save([scribe.complete(run(1))])
        assert len(asked) == 3
        assert await read(two.store, run(1)) == scribe.states


async def test_a_server_that_was_connected_to_anew_is_asked_again(postgres: PostgresDatabase) -> None:
    """It may be a standby, which gives out the numbers of transactions that it never saw once more."""
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        await save(two.store, scribe.complete(run(1)))
        assert isinstance(one.store, PostgresStore)
        await end_connections(postgres)
        async with asyncio.timeout(10):
            while one.store._database.connections["transactions"].open:
                await asyncio.sleep(0)
        assert await until_current(partial(read, one.store, run(1))) == scribe.states
        assert one.store._careful == 0


async def test_after_a_failure_nothing_of_it_is_in_memory(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres, 1) as (one,):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        before = dict(scribe.states)
        with suppress(ValueError):
            async with one.store.transaction() as tx:
                await tx.runs([run(1)])
                await tx.save([scribe.complete(run(1))])
                raise ValueError
        assert await read(one.store, run(1)) == before


async def test_no_more_runs_are_in_memory_than_may_be(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent = Recent(3)
    over = asyncio.get_running_loop().create_future()
    scribe = Scribe()
    for _ in range(5):
        scribe.start()
    recent.remember(Known(number, state, 7) for number, state in enumerate(scribe.states.values()))
    assert list(await recent.hold([run(number) for number in range(1, 6)], over)) == [run(3), run(4), run(5)]


async def test_a_process_that_is_careful_waits_for_a_run_that_another_has_read_and_sees_what_that_made_of_it(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        careful(one, two)
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            reading = asyncio.create_task(read(two.store, run(1)))
            await blocked(postgres)
            assert not reading.done()
            await tx.save([scribe.complete(run(1))])
        assert await reading == scribe.states


async def test_a_process_whose_way_was_crossed_is_careful_for_a_while(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        await save(two.store, scribe.complete(run(1)))
        with pytest.raises(Contended):
            await read(one.store, run(1))
        for is_careful in (*[True] * CAREFUL, False):
            careful(two)
            async with one.store.transaction() as tx:
                await tx.runs([run(1)])
                reading = asyncio.create_task(read(two.store, run(1)))
                if is_careful:
                    await blocked(postgres)
                else:
                    await reading
            await reading


async def test_two_processes_number_their_runs_apart(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        for _ in range(3):
            await save(one.store, *(scribe.start() for _ in range(BLOCK // 2)))
            await save(two.store, *(scribe.start() for _ in range(BLOCK // 2)))
        records, more = await one.queries.runs(RunFilter(), 10 * BLOCK, None, payload_bytes_max=None)
        assert {record.run_id for record in records} == set(scribe.states)
        assert not more


async def test_numbers_come_in_order_and_blocks_are_asked_for_once() -> None:
    asked: list[int] = []

    async def fetch(sql: str, count: int) -> list[tuple[int]]:
        asked.append(count)
        return [(sum(asked) - left,) for left in reversed(range(count))]

    numbers = RunNumbers()
    taken: list[int] = []
    for count in (1, BLOCK, 3 * BLOCK, 0, BLOCK - 1):
        await numbers.reserve(fetch, count)
        taken += [numbers.take() for _ in range(count)]
    assert taken == list(range(BLOCK, BLOCK + len(taken)))
    assert asked == [1, 1, 3]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(3))
async def test_batches_in_any_order_never_wait_for_each_other_in_a_circle_and_lose_nothing(
    postgres: PostgresDatabase, seed: int
) -> None:
    draw = random.Random(seed)
    version = make_version(steps=400)
    scribe = Scribe(version)
    runs = [run(number) for number in range(1, 13)]
    async with processes(postgres, 3) as opened:
        await scribe.define(opened[0].store)
        await save(opened[0].store, *(scribe.start() for _ in runs))
        plans = Plans()
        plan = plans.of(version)

        async def advance(store: Store, ids: list[RunId]) -> None:
            async with store.transaction() as tx:
                states = await tx.runs(ids)
                changes = []
                for state in states.values():
                    ((step, opened_step),) = state.open.items()
                    command = CompleteAttempt(step, opened_step.attempt, "w", NOW)
                    decision = engine.decide(plan, state, command, NOW)
                    assert isinstance(decision, Decision)
                    after = engine.fold(state.run_id, plan, decision.events, state)
                    changes.append(
                        RunChange(
                            state=after,
                            events=decision.events,
                            result=(step, Json(b"%d" % step)),
                            output_of=plan.output_of,
                            settled=(step,),
                            jobs=(scribe._row(plan, state.run_id, step + 1, 1, JobState.PENDING, None, None),),
                        )
                    )
                await tx.save(changes)

        batches = [draw.sample(runs, draw.randint(1, len(runs))) for _ in range(200)]
        share = len(batches) // 5

        async def work(number: int) -> None:
            for ids in batches[number * share : (number + 1) * share]:
                await until_current(partial(advance, opened[number % 3].store, ids))

        await asyncio.gather(*(work(number) for number in range(5)))
        states = await read(opened[0].store, *runs)
        assert sum(state.completed for state in states.values()) == sum(map(len, batches))
        for run_id, state in states.items():
            history = await opened[0].queries.history(run_id)
            assert engine.fold(run_id, plan, history.events) == state
            assert [result.result for result in history.results] == [b"%d" % step for step in range(state.completed)]


async def test_one_key_at_the_same_moment_is_written_once_and_the_loser_is_told(postgres: PostgresDatabase) -> None:
    async with processes(postgres) as (one, two):
        losing = _remember(one.store, "a", "b", meanwhile=partial(_remember, two.store, "c", "b"))
        with pytest.raises(Contended):
            await losing
        async with two.store.transaction() as tx:
            found = await tx.idempotency(["a", "b", "c"], NOW)
        assert {key: record.run_id for key, record in found.items()} == {"b": run(2), "c": run(2)}


async def test_a_key_that_is_not_committed_yet_is_waited_for(postgres: PostgresDatabase) -> None:
    async with processes(postgres) as (one, two):
        with suppress(ValueError):
            async with one.store.transaction() as tx:
                await tx.remember([_record("a", run(1))], NOW)
                # What was written is seen by what follows, so that it is there now, and held.
                assert (await tx.idempotency(["a"], NOW))["a"].run_id == run(1)
                waiting = asyncio.create_task(_remember(two.store, "a"))
                await blocked(postgres)
                raise ValueError
        await waiting
        async with one.store.transaction() as tx:
            assert (await tx.idempotency(["a"], NOW))["a"].run_id == run(2)


def _record(key: str, run_id: RunId) -> IdempotencyRecord:
    return IdempotencyRecord(key, b"print", run_id, at(60))


async def _remember(store: Store, *keys: str, meanwhile: Callable[[], Awaitable[None]] | None = None) -> None:
    async with store.transaction() as tx:
        await tx.remember([_record(key, run(2)) for key in keys], NOW)
        if meanwhile is not None:
            await meanwhile()


async def test_one_version_at_the_same_moment_is_written_once_and_the_loser_is_told(
    postgres: PostgresDatabase,
) -> None:
    scribe, other = Scribe(make_version(steps=1)), Scribe(make_version(steps=2))
    async with processes(postgres) as (one, two):
        async with one.store.transaction() as tx:
            await tx.add_definition(scribe.versions[0])
            losing = asyncio.create_task(other.define(two.store))
            await blocked(postgres)
        with pytest.raises(Contended):
            await losing
        for opened in (one, two):
            async with opened.store.transaction() as tx:
                assert (await tx.definitions(["order"]))["order"] == scribe.versions[0]


async def test_a_version_that_another_process_wrote_is_the_latest_at_once(postgres: PostgresDatabase) -> None:
    """What is in memory is not trusted beyond the decision."""
    versions = [make_version("order", number, steps=number) for number in (1, 2, 3)]
    async with processes(postgres) as opened:
        for number, version in enumerate(versions):
            await Scribe(version).define(opened[number % 2].store)
            for each in opened:
                assert await until_current(partial(_latest, each.store)) == version


async def _latest(store: Store) -> DefinitionVersion:
    async with store.transaction() as tx:
        found = await tx.definitions(["order"])
    return found["order"]


async def test_processes_that_remove_runs_at_once_share_the_work(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres, 3) as opened:
        await scribe.define(opened[0].store)
        changes = [scribe.start() for _ in range(60)]
        changes += [scribe.cancel(run(number)) for number in range(1, 61)]
        await save(opened[0].store, *changes)
        counts = await asyncio.gather(*(each.store.retain(at(9), 7) for each in opened for _ in range(5)))
        left = 60 - sum(counts)
        records, _ = await opened[0].queries.runs(RunFilter(), 100, None, payload_bytes_max=None)
        assert len(records) == left
        assert await opened[1].store.retain(at(9), 100) == left


async def test_a_run_that_is_decided_about_is_not_removed_meanwhile_or_the_decision_is_not_made(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe(make_version(max_retries=0))
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start(), scribe.fail(run(1)))
        letters = [letter.id for letter in (await one.queries.dead_letters(LetterFilter(), 10, None))[0]]
        async with one.store.transaction() as tx:
            await tx.settle_dead_letter(letters[0], DeadLetterState.DISCARDED, NOW)
        deciding = _redrive_while_it_is_removed(one.store, two.store, scribe)
        with pytest.raises(Contended):
            await deciding
        assert await read(one.store, run(1)) == {}
        await save(one.store, scribe.start(), scribe.cancel(run(2)))
        careful(one)
        async with one.store.transaction() as tx:
            await tx.runs([run(2)])
            assert await two.store.retain(at(99), 10) == 0
        assert await two.store.retain(at(99), 10) == 1


async def _redrive_while_it_is_removed(store: Store, other: Store, scribe: Scribe) -> None:
    async with store.transaction() as tx:
        await tx.runs([run(1)])
        assert await other.retain(at(99), 10) == 1
        await tx.save([scribe.redrive(run(1))])
