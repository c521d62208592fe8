"""How a process gets at its database: it waits, looks, migrates, or says why it cannot."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from orchestrator.adapters.postgres import connect as connecting
from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.connect import connect
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.migrate import LOCK_KEY, MIGRATIONS, migrate
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.model.errors import StoreNotUsable
from orchestrator.model.event import Failure
from orchestrator.model.run import RunId
from tests.ports import postgres_server
from tests.ports.places import PostgresDatabase
from tests.ports.scribe import Scribe

ROOT = Path(__file__).parents[2]
NEXT = """-- A synthetic next version.
-- depends: 0001-first-schema

-- migrate: apply
ALTER TABLE runs ADD COLUMN priority integer NOT NULL DEFAULT 3;
CREATE TABLE visits (at bigint NOT NULL);
INSERT INTO visits VALUES (1);

-- migrate: rollback
"""
BROKEN = NEXT.replace("INSERT INTO visits VALUES (1);", "INSERT INTO nowhere VALUES (1);")
MIGRATE = """
import asyncio, sys
from pathlib import Path
from orchestrator.adapters.postgres.migrate import migrate
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(migrate(sys.argv[1], Path(sys.argv[2])))
"""


pytestmark = pytest.mark.usefixtures("postgres_server_url")


@pytest.fixture
def empty() -> Iterator[str]:
    """The address of a database without a schema."""
    with postgres_server.database() as name:
        yield postgres_server.url_of(name)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """A folder of migrations with one more than there is."""
    return folder_with(tmp_path, NEXT)


def folder_with(folder: Path, script: str) -> Path:
    for path in MIGRATIONS.iterdir():
        (folder / path.name).write_text(path.read_text("utf-8"), "utf-8")
    (folder / "9999-next.sql").write_text(script, "utf-8")
    return folder


async def value(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


# --- migrations ------------------------------------------------------------------------------------------------------


async def test_data_of_the_previous_version_is_there_after_a_migration(postgres: PostgresDatabase, later: Path) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        async with opened.store.transaction() as tx:
            await tx.save([scribe.start(), scribe.complete(RunId("run-0001"), b'"half"')])
        # A process of the previous version may still be at work.
        await migrate(postgres.url, later)
        async with opened.store.transaction() as tx:
            assert await tx.runs([RunId("run-0001")]) == scribe.states
            await tx.save([scribe.start(), scribe.complete(RunId("run-0001"), b'"done"')])
        assert await opened.queries.run(RunId("run-0001")) is not None
    assert await value(postgres.url, "SELECT sum(priority) FROM runs") == 6


async def test_older_dead_letters_are_known_by_their_error_after_a_migration(empty: str, tmp_path: Path) -> None:
    for path in MIGRATIONS.iterdir():
        if path.name < "0005":
            (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    await migrate(empty, tmp_path)
    failures = {
        "a": rows.encode(Failure("CardDeclined", "no", "")),
        "b": rows.encode(Failure("x" * 300, "", "")),
        "c": rows.encode(Failure('odd "type"\0', "a\0b", "")),
        "d": b"nonsense",
    }
    connection = await asyncpg.connect(empty)
    for letter_id, failure in failures.items():
        await connection.execute(
            """INSERT INTO dead_letters (id, run_id, workflow_id, step, action, attempt, attempts, failure, payload,
                created_at, state) VALUES ($1, $1, 'flow', 0, 'act', 1, 1, $2, '1', 1, 'OPEN')""",
            letter_id,
            failure,
        )
    await migrate(empty, MIGRATIONS)
    found = {row["id"]: row["error_type"] for row in await connection.fetch("SELECT id, error_type FROM dead_letters")}
    await connection.close()
    assert (found["a"], found["b"], found["d"]) == ("CardDeclined", "x" * 200, "")
    assert found["c"].startswith("odd ")


async def test_a_migration_is_applied_once_however_often_it_is_asked_for(empty: str, later: Path) -> None:
    for _ in range(3):
        await migrate(empty, later)
    assert await value(empty, "SELECT count(*) FROM visits") == 1


async def test_migrations_are_said_as_information(empty: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "orchestrator.adapters.postgres"):
        await migrate(empty)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "Applying 0001-first-schema") in said
    assert {level for level, _ in said} == {"INFO"}


def start_migrating(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE, url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


async def test_processes_that_migrate_at_once_do_it_once(empty: str, later: Path) -> None:
    started = [start_migrating(empty, later) for _ in range(2)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 30) for process in started))
    assert [process.returncode for process in started] == [0, 0], answers
    assert await value(empty, "SELECT count(*) FROM visits") == 1


async def test_many_replicas_may_start_at_once(empty: str) -> None:
    databases = await asyncio.gather(*(Database.open(empty) for _ in range(5)))
    for database in databases:
        assert await PostgresQueries(database).workflows() == []
        await database.close()


async def test_a_process_waits_while_another_migrates(empty: str) -> None:
    other = await asyncpg.connect(empty)
    await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
    migrating = asyncio.create_task(migrate(empty))
    done, _ = await asyncio.wait([migrating], timeout=0.5)
    assert not done
    await other.close()
    async with asyncio.timeout(10):
        await migrating


async def test_a_schema_of_a_newer_version_is_refused(empty: str, later: Path) -> None:
    await migrate(empty, later)
    opening = Database.open(empty)
    with pytest.raises(StoreNotUsable, match=r"newer version.*9999-next"):
        await opening


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(postgres: PostgresDatabase, tmp_path: Path) -> None:
    migrating = migrate(postgres.url, folder_with(tmp_path, BROKEN))
    with pytest.raises(StoreNotUsable, match="nowhere"):
        await migrating
    assert await value(postgres.url, "SELECT to_regclass('visits')") is None
    async with postgres.open() as opened:
        assert await opened.queries.workflows() == []


# --- what it is given -------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_waited_for_and_named() -> None:
    opening = connect("postgresql://orchestrator@127.0.0.1:1/orchestrator", wait_seconds=0.3)
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreNotUsable, match=r"not there within 0 s.*127.0.0.1"):
        await opening
    assert asyncio.get_running_loop().time() - began >= 0.3


async def test_a_server_that_comes_while_it_is_waited_for_is_taken() -> None:
    real = urlsplit(postgres_server.SERVER_URL)
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    url = real._replace(netloc=f"{real.username}:{real.password}@127.0.0.1:{port}").geturl()
    opening = asyncio.create_task(connect(url))
    await asyncio.sleep(0.3)
    forward = await asyncio.start_server(_forward(real.hostname or "", real.port or 5432), "127.0.0.1", port)
    connection = await opening
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()
    forward.close()


def _forward(host: str, port: int):  # type: ignore[no-untyped-def]
    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, to_server[1]), copy(to_server[0], writer))

    return serve


async def test_a_server_that_is_too_old_is_refused(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "VERSION_MIN", 990_000)
    opening = Database.open(empty)
    with pytest.raises(StoreNotUsable, match="too old; 99 or later"):
        await opening


async def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    options = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    name = f"pgtest_ascii_{os.getpid()}"
    await postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template0 {options}")
    try:
        opening = Database.open(postgres_server.url_of(name))
        with pytest.raises(StoreNotUsable, match=r"SQL_ASCII.*UTF8"):
            await opening
    finally:
        await postgres_server.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "/nowhere"}, "nowhere"),
        ({"netloc": "orchestrator:wrong@{host}"}, "password"),
        ({"scheme": "mysql"}, "let us in"),
    ],
)
async def test_what_no_waiting_mends_is_said_at_once(change: dict[str, str], message: str) -> None:
    real = urlsplit(postgres_server.SERVER_URL)
    parts = {name: text.format(host=f"{real.hostname}:{real.port}") for name, text in change.items()}
    opening = connect(real._replace(**parts).geturl())
    async with asyncio.timeout(5):
        with pytest.raises(StoreNotUsable, match=message):
            await opening


async def test_a_session_says_who_it_is_and_keeps_to_its_times(postgres: PostgresDatabase) -> None:
    database = await Database.open(postgres.url)
    names = (
        "application_name",
        "statement_timeout",
        "lock_timeout",
        "idle_in_transaction_session_timeout",
        "synchronous_commit",
    )
    found = [(await database.fetch(f"SHOW {name}"))[0][0] for name in names]
    assert found == ["orchestrator", "30s", "10s", "30s", "on"]
    await database.close()
