"""A PostgreSQL that is away, full, or takes something back: what a process makes of it."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from orchestrator.adapters.postgres import database as postgres_database
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.faults import translate
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.model.errors import Contended, InvariantBroken, NotWritable, Unavailable
from orchestrator.model.run import RunId
from orchestrator.ports.store import PayloadRef, RunChange, Store
from tests.ports import postgres_server
from tests.ports.places import PostgresDatabase
from tests.ports.postgres_processes import blocked, careful, end_connections, processes, read, run, save
from tests.ports.scribe import Scribe, make_version

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
        careful(one, two)
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            for _ in range(2 * postgres_database.TRANSACTIONS_MAX):
                waiting = asyncio.create_task(read(two.store, run(1)))
                await blocked(postgres)
                waiting.cancel()
                await asyncio.wait([waiting])
                assert waiting.cancelled()
                await blocked(postgres, 0)
            async with asyncio.timeout(5):
                assert await read(two.store, run(2)) == {}
        assert await read(two.store, run(1)) == scribe.states


async def test_what_waits_too_long_for_a_lock_is_unavailable(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres_database._SESSION, "lock_timeout", "100")
    scribe = Scribe()
    async with processes(postgres) as (one, two):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
        careful(one, two)
        async with one.store.transaction() as tx:
            await tx.runs([run(1)])
            waiting = read(two.store, run(1))
            with pytest.raises(Unavailable, match="lock timeout"):
                await waiting
        assert await read(two.store, run(1)) == scribe.states


async def test_a_process_that_was_stopped_loses_its_locks(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    scribe = Scribe()
    async with processes(postgres, 1) as (one,):
        await scribe.define(one.store)
        await save(one.store, scribe.start())
    monkeypatch.setitem(postgres_database._SESSION, "idle_in_transaction_session_timeout", "200")
    async with processes(postgres) as (one, two):
        careful(one, two)
        stopped = _read_and_wait(one.store, two.store, run(1))
        with pytest.raises(Unavailable):
            await stopped


async def _read_and_wait(store: Store, other: Store, run_id: RunId) -> None:
    async with store.transaction() as tx:
        await tx.runs([run_id])
        assert list(await read(other, run_id)) == [run_id]


async def test_more_transactions_than_connections_wait_for_one_and_not_for_ever(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_database, "FREE_SECONDS", 0.1)
    database = await Database.open(postgres.url, transactions_max=1)
    store = PostgresStore(database)
    async with store.transaction() as tx:
        await tx.definitions(["order"])
        waiting = read(store, run(1))
        with pytest.raises(Unavailable, match="in time"):
            await waiting
    assert await read(store, run(1)) == {}
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
        with pytest.raises(NotWritable, match="read-only"):
            await writing
        with pytest.raises(NotWritable, match="read-only"):
            await opened.store.try_write()
        await postgres_server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await end_connections(postgres)
        await asyncio.sleep(0.05)
        await opened.store.try_write()
        await save(opened.store, scribe.start())


async def test_a_full_disk_takes_nothing_until_it_has_room(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await postgres_server.execute(
            """CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
            CREATE TRIGGER fill BEFORE INSERT ON history EXECUTE FUNCTION fill();
            CREATE TRIGGER fill BEFORE INSERT ON idempotency EXECUTE FUNCTION fill()""",
            url=postgres.url,
        )
        with pytest.raises(NotWritable, match="No space left"):
            await save(opened.store, Scribe(*scribe.versions).start())
        with pytest.raises(NotWritable, match="No space left"):
            await opened.store.try_write()
        assert len(await opened.queries.workflows()) == 1
        await postgres_server.execute("DROP FUNCTION fill CASCADE", url=postgres.url)
        await opened.store.try_write()
        await save(opened.store, scribe.start())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (asyncpg.TooManyConnectionsError("too many clients"), Unavailable),
        (asyncpg.CannotConnectNowError("the database system is starting up"), Unavailable),
        (asyncpg.AdminShutdownError("terminating connection"), Unavailable),
        (asyncpg.CrashShutdownError("terminating connection"), Unavailable),
        (asyncpg.DiskFullError("No space left on device"), NotWritable),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT"), NotWritable),
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


@pytest.mark.parametrize("statements", [1, 2])
async def test_a_commit_whose_answer_is_lost_is_unavailable_and_may_have_been(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, statements: int
) -> None:
    """Never `Contended`: what is decided again at once must not have been recorded."""
    scribe = Scribe(make_version(steps=4))
    name, beginning = ("fetch", "WITH") if statements == 1 else ("execute", "COMMIT")
    real = getattr(asyncpg.Connection, name)

    async def call(connection: asyncpg.Connection, sql: str, *arguments: object, **more: object) -> object:
        answer = await real(connection, sql, *arguments)
        if sql.startswith(beginning):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return answer

    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        monkeypatch.setattr(asyncpg.Connection, name, call)
        writing = _save_in_parts(opened.store, *([scribe.complete(run(1))] for _ in range(statements)))
        with pytest.raises(Unavailable, match="not known whether") as failed:
            await writing
        assert not isinstance(failed.value, Contended)
        monkeypatch.undo()
        assert await read(opened.store, run(1)) == scribe.states


async def _save_in_parts(store: Store, *parts: list[RunChange]) -> None:
    async with store.transaction() as tx:
        for part in parts:
            await tx.save(part)


# --- transactions that had a failure ---------------------------------------------------------------------------------


async def test_a_failure_that_the_caller_does_not_look_at_is_not_committed_over(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        writing = _carry_on(opened.store, scribe)
        with pytest.raises(Contended):
            await writing
        assert await read(opened.store, run(1)) == {}


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
