"""Where stores keep what they were told, so that one suite can open, close and open again whatever adapter there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.adapters.postgres import database as postgres
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.app.plans import Plans
from orchestrator.ports.queries import Queries
from orchestrator.ports.store import Store

CACHED_MAX = 1_000


@dataclass
class Opened:
    """A store and the queries that belong to it, as one process sees them."""

    store: Store
    queries: Queries


class Place(Protocol):
    """Something durable."""

    def open(self, runs_cached_max: int = CACHED_MAX) -> AbstractAsyncContextManager[Opened]:
        """Open it as a process does that has nothing in memory yet."""
        ...


class SqliteFile:
    """A data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, runs_cached_max: int = CACHED_MAX) -> AbstractAsyncContextManager[Opened]:
        return self._open(runs_cached_max)

    @asynccontextmanager
    async def _open(self, runs_cached_max: int) -> AsyncIterator[Opened]:
        database = Database(self.folder)
        try:
            yield opened_over(database, runs_cached_max)
        finally:
            await database.close()


class SqliteMemory:
    """A database in memory: what is opened anew are the caches over it."""

    def __init__(self) -> None:
        self._database = Database(None)

    def open(self, runs_cached_max: int = CACHED_MAX) -> AbstractAsyncContextManager[Opened]:
        return self._open(runs_cached_max)

    @asynccontextmanager
    async def _open(self, runs_cached_max: int) -> AsyncIterator[Opened]:
        yield opened_over(self._database, runs_cached_max)

    def close(self) -> None:
        asyncio.run(self._database.close())


class PostgresDatabase:
    """A database of a server, with its schema."""

    def __init__(self, url: str) -> None:
        self.url = url

    def open(self, runs_cached_max: int = CACHED_MAX) -> AbstractAsyncContextManager[Opened]:
        return self._open(runs_cached_max)

    @asynccontextmanager
    async def _open(self, runs_cached_max: int) -> AsyncIterator[Opened]:
        database = await postgres.Database.open(self.url)
        try:
            yield Opened(PostgresStore(database, runs_cached_max), PostgresQueries(database))
        finally:
            await database.close()


def opened_over(database: Database, runs_cached_max: int) -> Opened:
    """Make the two adapters over one database."""
    return Opened(SqliteStore(database, Plans().fold, runs_cached_max), SqliteQueries(database))
