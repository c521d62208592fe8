"""What only PostgreSQL shows: several processes over one database, lost connections, what its text cannot hold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from orchestrator.adapters.postgres import database as postgres_database
from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.faults import translate
from orchestrator.adapters.postgres.numbers import BLOCK, RunNumbers
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.postgres.transaction import PostgresTransaction
from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.engine.command import CompleteAttempt, Decision
from orchestrator.model.errors import Contended, InvariantBroken, Unavailable
from orchestrator.model.event import Failure
from orchestrator.model.job import JobState
from orchestrator.model.json import Json
from orchestrator.model.run import OpenStep, RunId, RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import Time
from orchestrator.ports.queries import LetterFilter, RunFilter
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange, Store
from tests.ports import postgres_server
from tests.ports.places import Opened, PostgresDatabase
from tests.ports.scribe import NOW, Scribe, at, make_version


@asynccontextmanager
async def processes(postgres: PostgresDatabase, count: int = 2) -> AsyncIterator[list[Opened]]:
    """Open the database as several processes do."""
    opened = [await Database.open(postgres.url) for _ in range(count)]
    try:
        yield [Opened(PostgresStore(database), PostgresQueries(database)) for database in opened]
    finally:
        for database in opened:
            await database.close()


async def save(store: Store, *changes: RunChange) -> None:
    async with store.transaction() as tx:
        await tx.save(changes)


async def end_connections(postgres: PostgresDatabase) -> None:
    """Do to all connections what a server does that restarts."""
    name = postgres.url.rpartition("/")[2]
    await postgres_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def run(number: int) -> RunId:
    return RunId(f"run-{number:04}")


# --- several processes ------------------------------------------------------------------------------------------------


async def test_a_process_waits_for_a_run_that_another_has_read_and_sees_what_that_made_of_it(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            reading = asyncio.create_task(_read(two.store, run(1)))
            await _blocked(postgres)
            assert not reading.done()
            await tx.save([scribe.complete(run(1))])
        assert await reading == scribe.states


async def _read(store: Store, *ids: RunId) -> dict[RunId, RunState]:
    async with store.transaction() as tx:
        return await tx.runs(ids)


async def _blocked(postgres: PostgresDatabase, count: int = 1) -> None:
    """Wait until so many connections wait for a lock."""
    connection = await asyncpg.connect(postgres.url)
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while await connection.fetchval(sql) != count:
            await asyncio.sleep(0.005)
    await connection.close()


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
                await advance(opened[number % 3].store, ids)

        await asyncio.gather(*(work(number) for number in range(5)))
        states = await _read(opened[0].store, *runs)
        assert sum(state.completed for state in states.values()) == sum(map(len, batches))
        for run_id, state in states.items():
            history = await opened[0].queries.history(run_id)
            assert engine.fold(run_id, plan, history.events) == state
            assert [result.result for result in history.results] == [b"%d" % step for step in range(state.completed)]


async def test_one_key_at_the_same_moment_is_written_once_and_the_loser_is_told(postgres: PostgresDatabase) -> None:
    async with processes(postgres) as (one, two):
        async with one.store.transaction() as tx:
            await tx.remember([_record("a", run(1)), _record("b", run(1))], NOW)
            losing = asyncio.create_task(_remember(two.store, "c", "b"))
            await _blocked(postgres)
        with pytest.raises(Contended):
            await losing
        async with two.store.transaction() as tx:
            found = await tx.idempotency(["a", "b", "c"], NOW)
        assert {key: record.run_id for key, record in found.items()} == {"a": run(1), "b": run(1)}


async def test_a_key_whose_first_writer_was_rolled_back_goes_to_the_second(postgres: PostgresDatabase) -> None:
    async with processes(postgres) as (one, two):
        with suppress(ValueError):
            async with one.store.transaction() as tx:
                await tx.remember([_record("a", run(1))], NOW)
                waiting = asyncio.create_task(_remember(two.store, "a"))
                await _blocked(postgres)
                raise ValueError
        await waiting
        async with one.store.transaction() as tx:
            assert (await tx.idempotency(["a"], NOW))["a"].run_id == run(2)


def _record(key: str, run_id: RunId) -> IdempotencyRecord:
    return IdempotencyRecord(key, b"print", run_id, at(60))


async def _remember(store: Store, *keys: str) -> None:
    async with store.transaction() as tx:
        await tx.remember([_record(key, run(2)) for key in keys], NOW)


async def test_one_version_at_the_same_moment_is_written_once_and_the_loser_is_told(
    postgres: PostgresDatabase,
) -> None:
    scribe, other = Scribe(make_version(steps=1)), Scribe(make_version(steps=2))
    async with processes(postgres) as (one, two):
        async with one.store.transaction() as tx:
            await tx.add_definition(scribe.versions[0])
            losing = asyncio.create_task(other.define(two.store))
            await _blocked(postgres)
        with pytest.raises(Contended):
            await losing
        for opened in (one, two):
            async with opened.store.transaction() as tx:
                assert (await tx.definitions(["order"]))["order"] == scribe.versions[0]


async def test_a_version_that_another_process_wrote_is_the_latest_at_once(postgres: PostgresDatabase) -> None:
    """Nobody trusts what it has in memory."""
    versions = [make_version("order", number, steps=number) for number in (1, 2, 3)]
    async with processes(postgres) as opened:
        for number, version in enumerate(versions):
            await Scribe(version).define(opened[number % 2].store)
            for each in opened:
                async with each.store.transaction() as tx:
                    assert (await tx.definitions(["order"]))["order"] == version


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


async def test_a_run_that_is_decided_about_is_not_removed_meanwhile(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start(), scribe.cancel(run(1)))
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            assert await two.store.retain(at(9), 10) == 0
        assert await two.store.retain(at(9), 10) == 1


# --- connections that are lost ---------------------------------------------------------------------------------------


async def test_a_restart_of_the_server_takes_back_what_was_under_way_and_the_next_transaction_works(
    postgres: PostgresDatabase,
) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        lost = _start_and_lose(opened.store, Scribe(*scribe.versions), postgres)
        with pytest.raises(Unavailable) as failed:
            await lost
        assert not isinstance(failed.value, Contended)
        await save(opened.store, scribe.start(b'"kept"'))
        assert await opened.store.payloads([PayloadRef(run(1), None)]) == {PayloadRef(run(1), None): b'"kept"'}


async def _start_and_lose(store: Store, scribe: Scribe, postgres: PostgresDatabase) -> None:
    async with store.transaction() as tx:
        await tx.save([scribe.start()])
        await end_connections(postgres)


async def test_a_server_that_restarts_between_two_calls_is_not_noticed(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        for _ in range(3):
            await end_connections(postgres)
            # As long as the news takes to come.
            await asyncio.sleep(0.05)
            await save(opened.store, scribe.start())
            assert await opened.queries.run(run(1)) is not None


async def test_a_read_that_loses_its_connection_is_unavailable(postgres: PostgresDatabase) -> None:
    database = await Database.open(postgres.url)
    reading = asyncio.create_task(database.fetch("SELECT pg_sleep(10)"))
    connection = await asyncpg.connect(postgres.url)
    async with asyncio.timeout(5):
        while not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0.005)
    await end_connections(postgres)
    with pytest.raises(Unavailable):
        await reading
    await database.close()


async def test_a_transaction_that_was_cancelled_leaves_its_connection_usable(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            for _ in range(2 * postgres_database.TRANSACTIONS_MAX):
                waiting = asyncio.create_task(_read(two.store, run(1)))
                await _blocked(postgres)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
                await _blocked(postgres, 0)
            async with asyncio.timeout(5):
                assert await _read(two.store, run(2)) == {}
        assert await _read(two.store, run(1)) == scribe.states


async def test_what_waits_too_long_for_a_lock_is_unavailable(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_database._SESSION, "lock_timeout", "100")
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            waiting = _read(two.store, run(1))
            with pytest.raises(Unavailable, match="lock timeout"):
                await waiting
        assert await _read(two.store, run(1)) == scribe.states


async def test_a_process_that_was_stopped_loses_its_locks(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe = Scribe()
    async with processes(postgres, 1) as (one,):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
    monkeypatch.setitem(postgres_database._SESSION, "idle_in_transaction_session_timeout", "200")
    async with processes(postgres) as (one, two):
        stopped = _read_and_wait(one.store, two.store, run(1))
        with pytest.raises(Unavailable):
            await stopped


async def _read_and_wait(store: Store, other: Store, run_id: RunId) -> None:
    async with store.transaction() as tx:
        await tx.runs([run_id])
        assert list(await _read(other, run_id)) == [run_id]


async def test_more_transactions_than_connections_wait_for_one_and_not_for_ever(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "FREE_SECONDS", 0.1)
    database = await Database.open(postgres.url, transactions_max=1)
    store = PostgresStore(database)
    async with store.transaction():
        waiting = _read(store)
        with pytest.raises(Unavailable, match="in time"):
            await waiting
    assert await _read(store) == {}
    await database.close()


async def test_a_database_that_takes_no_writes_is_unavailable(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    name = postgres.url.rpartition("/")[2]
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await postgres_server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await end_connections(postgres)
        await asyncio.sleep(0.05)
        writing = save(opened.store, Scribe(*scribe.versions).start())
        with pytest.raises(Unavailable, match="read-only"):
            await writing
        await postgres_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await end_connections(postgres)
        await asyncio.sleep(0.05)
        await save(opened.store, scribe.start())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.TooManyConnectionsError("too many clients"), Unavailable),
        (asyncpg.CannotConnectNowError("the database system is starting up"), Unavailable),
        (asyncpg.AdminShutdownError("terminating connection"), Unavailable),
        (asyncpg.CrashShutdownError("terminating connection"), Unavailable),
        (asyncpg.DiskFullError("No space left on device"), Unavailable),
        (asyncpg.LockNotAvailableError("lock timeout"), Unavailable),
        (asyncpg.QueryCanceledError("statement timeout"), Unavailable),
        (asyncpg.ConnectionDoesNotExistError("closed"), Unavailable),
        (asyncpg.InterfaceError("the connection is closed"), Unavailable),
        (ConnectionRefusedError(), Unavailable),
        (TimeoutError(), Unavailable),
        (asyncpg.DeadlockDetectedError("deadlock"), Contended),
        (asyncpg.SerializationError("could not serialize"), Contended),
        (asyncpg.UniqueViolationError("twice"), InvariantBroken),
        (asyncpg.CheckViolationError("check"), InvariantBroken),
        (asyncpg.CharacterNotInRepertoireError("0x00"), InvariantBroken),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
def test_what_the_driver_says_is_put_in_the_words_of_the_model(error: Exception, kind: type[Exception]) -> None:
    assert type(translate(error)) is kind
    assert str(translate(error))


async def test_a_commit_whose_answer_is_lost_is_unavailable_and_may_have_been(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never `Contended`: what is decided again at once must not have been recorded."""
    scribe = Scribe()
    real = asyncpg.Connection.execute

    async def execute(connection: asyncpg.Connection, sql: str, *arguments: object, **more: object) -> str:
        answer = str(await real(connection, sql, *arguments))
        if sql == "COMMIT":
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return answer

    async with postgres.open() as opened:
        await scribe.define(opened.store)
        monkeypatch.setattr(asyncpg.Connection, "execute", execute)
        writing = save(opened.store, scribe.start())
        with pytest.raises(Unavailable, match="not known whether") as failed:
            await writing
        assert not isinstance(failed.value, Contended)
        monkeypatch.undo()
        assert await _read(opened.store, run(1)) == scribe.states


# --- transactions that had a failure ---------------------------------------------------------------------------------


async def test_a_failure_that_the_caller_does_not_look_at_is_not_committed_over(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        writing = _carry_on(opened.store, scribe)
        with pytest.raises(Contended):
            await writing
        assert await _read(opened.store, run(1)) == {}


async def _carry_on(store: Store, scribe: Scribe) -> None:
    async with store.transaction() as tx:
        await tx.save([scribe.start()])
        with pytest.raises(Contended):
            await tx.add_definition(scribe.versions[0])
        with pytest.raises(Contended):
            await tx.runs([run(1), run(2)])


async def test_a_result_is_recorded_once_by_the_rules_of_the_database(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        change = scribe.complete(run(1))
        await save(opened.store, change)
        again = save(opened.store, change)
        with pytest.raises(InvariantBroken, match="history_by_run"):
            await again


# --- what its text cannot hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["\0", "run-0001\0", "\ud800", "a\udfffb"])
async def test_what_is_no_text_is_not_there_and_spoils_nothing(postgres: PostgresDatabase, odd: str) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        async with opened.store.transaction() as tx:
            assert await tx.runs([RunId(odd), run(1)]) == scribe.states
            assert list(await tx.definitions([odd, "order"])) == ["order"]
            assert await tx.idempotency([odd], NOW) == {}
            assert await tx.dead_letters([odd]) == {}
        queries = opened.queries
        assert await opened.store.definition(odd, 1) is None
        assert await queries.run(RunId(odd)) is None
        assert (await queries.history(RunId(odd))).events == []
        assert list((await queries.results([RunId(odd), run(1)])).values()) == [[], []]
        assert await queries.versions(odd) == []
        assert await queries.dead_letter(odd) is None
        assert await queries.details(RunId(odd)) == {}
        assert await queries.runs(RunFilter(workflow_id=odd), 9, None, payload_bytes_max=None) == ([], False)
        for filters in ((odd, None, None), (None, odd, None), (None, None, odd)):
            workflow_id, action, after = filters
            assert await queries.dead_letters(LetterFilter(workflow_id=workflow_id, action=action), 9, after) == (
                [],
                False,
            )


@pytest.mark.parametrize("payload", [rb'"\u0000"', rb'"\ud800"', b"1e400", b"9" * 1_000, b'"' + b"x" * 2**20 + b'"'])
async def test_any_json_is_kept_as_it_came(postgres: PostgresDatabase, payload: bytes) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(payload), scribe.complete(run(1), payload))
        record = await opened.queries.run(run(1))
        assert record is not None
        assert record.input == payload
        refs = [PayloadRef(run(1), None), PayloadRef(run(1), 0)]
        assert list((await opened.store.payloads(refs)).values()) == [payload, payload]


# --- the state of a run ----------------------------------------------------------------------------------------------


def _state(**more: object) -> RunState:
    fields = {
        "run_id": run(1),
        "workflow_id": "order",
        "version": 1,
        "status": RunStatus.RUNNING,
        "started_at": NOW,
        "open": {0: OpenStep(StepStatus.QUEUED, 1)},
        "joins": {},
        "halted": {},
    }
    return RunState(**{**fields, **more})  # type: ignore[arg-type]


def _round_trip(state: RunState) -> RunState:
    failure = None if state.failure is None else rows.encode(state.failure)
    return rows.state(
        (
            *(1, state.run_id, state.workflow_id, state.version, str(state.status), state.started_at),
            *(state.deadline, state.current_step, state.ended_at, failure, rows.encode_state(state)),
        )
    )


def _states() -> Iterable[RunState]:
    broke = Failure("Broke", "ä\0", "x.py:1")
    suspect = OpenStep(StepStatus.BACKING_OFF, 7, 2, 1, at(9), broke, alone=True)
    yield _state()
    yield _state(done=2**1_000 - 1)
    yield _state(done=1 << 999, open={2**31 - 1: suspect, 5: OpenStep(StepStatus.RUNNING, 2)}, joins={7: 2, 900: 1})
    yield _state(status=RunStatus.FAILED, open={}, halted={3: suspect}, failure=broke, ended_at=at(1))
    yield _state(deadline=at(60), current_step=999, open={})


@pytest.mark.parametrize("state", list(_states()))
def test_a_state_comes_back_as_it_was_written(state: RunState) -> None:
    assert _round_trip(state) == state


def test_what_earlier_versions_wrote_is_still_read() -> None:
    """Frozen: the state of runs that were open when the version changed."""
    written = bytes.fromhex(
        "94 81 03 97 ab4241434b494e475f4f4646 02 01 00 cf0006651728e4cb40 93a542726f6b65 a27e7e a0 c3"
        "81 05 02 80 c4 02 0702"
    )
    row = (1, "r", "w", 1, "WAITING", NOW, None, 3, None, None, written)
    state = rows.state(row)
    assert state.open == {
        3: OpenStep(StepStatus.BACKING_OFF, 2, 1, 0, Time(0x00066517_28E4CB40), Failure("Broke", "~~"), alone=True)
    }
    assert (state.joins, state.halted, state.done) == ({5: 2}, {}, 0x0207)


async def test_a_run_of_a_thousand_steps_is_its_history(postgres: PostgresDatabase) -> None:
    scribe = Scribe(make_version(steps=1_000))
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        for _ in range(20):
            await save(opened.store, *(scribe.complete(run(1), b'"done"') for _ in range(49)))
            assert await _read(opened.store, run(1)) == scribe.states
        history = await opened.queries.history(run(1))
        assert engine.fold(run(1), scribe.plan_of(run(1)), history.events) == scribe.states[run(1)]
        assert scribe.states[run(1)].completed == 980


# --- what a batch costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 300])
async def test_a_batch_of_results_is_four_round_trips_whatever_its_size(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    scribe = Scribe(make_version(steps=3, max_retries=1))
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(size)))
        trips: list[str] = []
        for name in ("fetch", "execute"):
            _overhear(monkeypatch, name, trips)
        async with opened.store.transaction() as tx:
            await tx.runs(scribe.states)
            await tx.save([change for run_id in list(scribe.states) for change in _take_and(scribe, run_id)])
        assert [trip.split(maxsplit=1)[0] for trip in trips] == ["BEGIN", "SELECT", "WITH", "COMMIT"]
        monkeypatch.undo()
        assert await _read(opened.store, *scribe.states) == scribe.states


def _overhear(monkeypatch: pytest.MonkeyPatch, name: str, trips: list[str]) -> None:
    real = getattr(asyncpg.Connection, name)

    async def call(connection: object, sql: str, *arguments: object, **more: object) -> object:
        trips.append(sql)
        return await real(connection, sql, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, name, call)


def _take_and(scribe: Scribe, run_id: RunId) -> list[RunChange]:
    return [scribe.take(run_id), scribe.fail(run_id) if run_id.endswith("3") else scribe.complete(run_id)]


async def test_a_step_writes_no_index_of_its_run(postgres: PostgresDatabase) -> None:
    """Although every run of a page moves on at once, and again before anything was vacuumed."""
    scribe = Scribe(make_version(steps=10))
    counts = """SELECT pg_stat_get_xact_tuples_updated('runs'::regclass),
        pg_stat_get_xact_tuples_hot_updated('runs'::regclass)"""
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(500)))
        for _ in range(5):
            async with opened.store.transaction() as tx:
                assert isinstance(tx, PostgresTransaction)
                ((before, _),) = await tx._fetch(counts)
                await tx.runs(scribe.states)
                await tx.save([scribe.complete(run_id) for run_id in scribe.states])
                ((updated, in_place),) = await tx._fetch(counts)
            assert updated - before == 500
            assert in_place == updated
