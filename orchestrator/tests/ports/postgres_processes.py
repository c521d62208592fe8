"""Several processes over one PostgreSQL database, and what becomes of their connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import asyncpg

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.model.errors import Contended
from orchestrator.model.run import RunId, RunState
from orchestrator.ports.store import RunChange, Store
from tests.ports import postgres_server
from tests.ports.places import Opened, PostgresDatabase

T = TypeVar("T")


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


async def read(store: Store, *ids: RunId) -> dict[RunId, RunState]:
    """Read runs in a transaction."""
    async with store.transaction() as tx:
        return await tx.runs(ids)


def careful(*places: Opened) -> None:
    """Let processes be as they are when others were in their way: they lock what they read."""
    for place in places:
        assert isinstance(place.store, PostgresStore)
        place.store._careful = 1_000


async def until_current(attempt: Callable[[], Awaitable[T]]) -> T:
    """Do what the pipeline does: decide again where another process was faster."""
    for _ in range(20):
        with suppress(Contended):
            return await attempt()
    raise AssertionError("others were faster twenty times")


async def blocked(postgres: PostgresDatabase, count: int = 1) -> None:
    """Wait until so many connections wait for a lock."""
    connection = await asyncpg.connect(postgres.url)
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while await connection.fetchval(sql) != count:
            await asyncio.sleep(0.005)
    await connection.close()
