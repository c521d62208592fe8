"""Which PostgreSQL it is: all processes agree, and after it may have lost something it is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.adapters.postgres.store import PostgresStore
from stack.ports import free_port
from stack.postgres import Postgres
from tests.ports.places import PostgresDatabase
from tests.ports.postgres_server import execute
from tests.real import Real


async def incarnation(url: str) -> bytes:
    """Ask as a process does that has just started."""
    database = await Database.open(url)
    try:
        return await PostgresStore(database).incarnation()
    finally:
        await database.close()


async def test_all_processes_know_the_same_one(postgres: PostgresDatabase) -> None:
    assert len({await incarnation(postgres.url) for _ in range(3)}) == 1


def test_a_copy_is_another_one(real: Real, fresh_database: Callable[..., str]) -> None:
    template = real.postgres().template("schema", lambda url: asyncio.run(migrate(url)))
    copies = [fresh_database(template=template) for _ in range(2)]
    assert len({asyncio.run(incarnation(url)) for url in copies}) == 2


async def test_tables_that_are_put_back_make_another_one(postgres: PostgresDatabase) -> None:
    before = await incarnation(postgres.url)
    await execute("TRUNCATE runs", url=postgres.url)
    between = await incarnation(postgres.url)
    await execute("TRUNCATE idempotency", url=postgres.url)
    assert len({before, between, await incarnation(postgres.url)}) == 3


async def test_a_server_that_was_started_again_is_another_one(tmp_path: Path) -> None:
    """As every server is that was put back to an earlier state, and every standby that takes over."""
    with Postgres(tmp_path / "postgres", free_port(), durable=False).running() as server:
        before = await incarnation(server.url)
        server.restart()
        assert await incarnation(server.url) != before


async def test_nobody_changes_the_secret_by_a_second_one(postgres: PostgresDatabase) -> None:
    before = await incarnation(postgres.url)
    await execute(
        "INSERT INTO installation (secret) VALUES (sha256('x')) ON CONFLICT DO NOTHING",
        url=postgres.url,
    )
    assert await incarnation(postgres.url) == before
