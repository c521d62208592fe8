"""The connections of one process: a few that write, a few that read, each made again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from orchestrator.adapters.postgres.connect import CONNECT_SECONDS, START_SECONDS
from orchestrator.adapters.postgres.faults import FAILURES, translate
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.ports.queries import Connections

Connection = PoolConnectionProxy

TRANSACTIONS_MAX: Final = 4
"""Transactions that one process may have open at a time."""
READS_MAX: Final = 4
"""Reads outside of transactions that one process may have under way; pages never keep a transaction waiting."""
FREE_SECONDS: Final = 10.0
"""How long a caller waits for a free connection."""
STATEMENT_SECONDS: Final = 30.0
"""How long the server works on one statement before it gives up."""
LOCK_SECONDS: Final = 10.0
"""How long a statement waits for a lock before it gives up."""
IDLE_SECONDS: Final = 30.0
"""How long the server keeps a transaction whose process says nothing, such as one that was stopped: its locks go."""
SILENCE_SECONDS: Final = STATEMENT_SECONDS + 5
"""How long an answer may stay away before the connection counts as lost."""
CLOSE_SECONDS: Final = 2.0
"""How long connections may take to come back and be closed when the process goes."""
_STATEMENTS_KEPT: Final = 300
"""Prepared statements of a connection: more than there are."""

_SESSION: Final = {
    "application_name": "orchestrator",
    "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS * 1000:.0f}",
    "default_transaction_isolation": "read committed",
    # One plan for each statement, made once, before it is known how many rows a page or an array has. Every statement
    # is a walk along one index that looks the rest up row by row: what a planner takes for a guess of a tenth of a
    # table, or of one that was empty, must not make it read tables from end to end.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}


class _Lane:
    """Connections for one use."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self._waiting = 0

    @property
    def connections(self) -> Connections:
        size = self.pool.get_size()
        return Connections(size, size - self.pool.get_idle_size(), self.pool.get_max_size(), self._waiting)

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Connection]:
        """Give a connection that nobody else uses while the block runs."""
        self._waiting += 1
        try:
            # A time-out costs a task of its own; where a connection is free there is nothing to wait for.
            is_free = self.pool.get_idle_size() > 0
            connection = await self.pool.acquire(timeout=None if is_free else FREE_SECONDS)
        except FAILURES as error:
            raise translate(error) from error
        finally:
            self._waiting -= 1
        try:
            yield connection
        finally:
            # What was done is done; a connection that cannot be given back is replaced by the pool.
            with suppress(*FAILURES):
                await self.pool.release(connection)


class _News:
    """Who wants to know of a connection that was made."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] = lambda: None

    async def tell(self, connection: asyncpg.Connection) -> None:
        self.listener()


class Database:
    """The server as this process sees it. Every failure comes out as `model.errors.Unavailable`."""

    def __init__(self, writers: asyncpg.Pool, readers: asyncpg.Pool, news: _News) -> None:
        self._writers = _Lane(writers)
        self._readers = _Lane(readers)
        self._news = news

    @property
    def connections(self) -> dict[str, Connections]:
        """Say what is in use."""
        return {"transactions": self._writers.connections, "reads": self._readers.connections}

    @classmethod
    async def open(
        cls,
        url: str,
        transactions_max: int = TRANSACTIONS_MAX,
        reads_max: int = READS_MAX,
        start_seconds: float = START_SECONDS,
    ) -> Self:
        """Wait for the server, migrate the schema, and connect.

        Args:
            url: ``postgresql://user:password@host:port/database``.
            transactions_max: transactions that may be open at a time.
            reads_max: reads outside of them that may be under way.
            start_seconds: how long to wait for the server.

        Raises:
            StoreNotUsable: there is no database that can be worked with.
            Unavailable: it was there, and was lost again.
        """
        await migrate(url, start_seconds=start_seconds)
        news = _News()
        pools = [_pool(url, most, news) for most in (transactions_max, reads_max)]
        try:
            writers, readers = [await pool for pool in pools]
            return cls(writers, readers, news)
        except FAILURES as error:
            for pool in pools:
                pool.terminate()
            raise translate(error) from error

    async def close(self) -> None:
        """Take leave of the server; connections that are still in use after a while are cut off."""
        for pool in (self._writers.pool, self._readers.pool):
            try:
                async with asyncio.timeout(CLOSE_SECONDS):
                    await pool.close()
            except FAILURES:
                pool.terminate()

    def on_connection(self, listener: Callable[[], None]) -> None:
        """Call this whenever a connection was made: the server may have become another one, or an earlier one."""
        self._news.listener = listener

    def writing(self) -> AbstractAsyncContextManager[Connection]:
        """Give a connection for a transaction that nobody else uses while the block runs."""
        return self._writers.taken()

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Read committed rows."""
        async with self._readers.taken() as connection:
            try:
                return await connection.fetch(sql, *arguments)
            except FAILURES as error:
                raise translate(error) from error


def _pool(url: str, most: int, news: _News) -> asyncpg.Pool:
    return asyncpg.create_pool(
        url,
        init=news.tell,
        min_size=1,
        max_size=most,
        # Sessions are never changed, so there is nothing to set back after each use.
        reset=_nothing,
        timeout=CONNECT_SECONDS,
        command_timeout=SILENCE_SECONDS,
        statement_cache_size=_STATEMENTS_KEPT,
        max_cached_statement_lifetime=0,
        server_settings=_SESSION,
    )


async def _nothing(connection: asyncpg.Connection) -> None:
    pass
