"""A connection for one transaction: taken when it is needed, and BEGIN said only where one statement is too few."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Any, Final, Self

import asyncpg

from orchestrator.adapters.postgres.database import Connection, Database
from orchestrator.adapters.postgres.faults import FAILURES, translate
from orchestrator.model.errors import InvariantBroken, Unavailable

ROLL_BACK_SECONDS: Final = 2.0
"""How long a connection may take to roll back; beyond it the connection is dropped, which does the same."""


class Writing:
    """Committed when its block ends, taken back when that raises."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = AsyncExitStack()
        self._connection: Connection | None = None
        self._is_begun = False
        self.failure: Unavailable | InvariantBroken | None = None
        """The first failure: the server takes nothing more of a transaction that has had one."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._stack:
            if self._connection is not None and self._is_begun:
                if error is None and self.failure is None:
                    await _commit(self._connection)
                else:
                    await _roll_back(self._connection)
            if error is None and self.failure is not None:
                # The caller went on after it; the server did not.
                raise self.failure

    async def begin(self) -> None:
        """Let all that follows be one transaction, if it is not yet.

        Raises:
            Unavailable: the server cannot be reached.
        """
        if self._is_begun:
            return
        connection = await self._connected()
        try:
            await connection.execute("BEGIN")
        except FAILURES as error:
            _drop(connection)
            self.failure = translate(error)
            raise self.failure from error
        self._is_begun = True

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement that reads, or is one of several.

        Raises:
            Unavailable, InvariantBroken: it failed; see `faults.translate`.
        """
        connection = await self._connected()
        try:
            return await connection.fetch(sql, *arguments)
        except FAILURES as error:
            self.failure = translate(error)
            raise self.failure from error

    async def finish(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run the last statement: where it is the only one that writes, it is the transaction.

        Raises:
            Unavailable: it failed, and may have been committed, unless that is `model.errors.Contended`.
            InvariantBroken: see `faults.translate`.
        """
        if self._is_begun:
            return await self.fetch(sql, *arguments)
        connection = await self._connected()
        try:
            return await connection.fetch(sql, *arguments)
        except FAILURES as error:
            if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.PostgresConnectionError):
                # The server's own word.
                raise translate(error) from error
            _drop(connection)
            raise Unavailable(f"it is not known whether the store has committed: {error}") from error
        except BaseException:
            _drop(connection)
            raise

    async def connect(self) -> None:
        """Have a connection from now on.

        Raises:
            Unavailable: there is none.
        """
        await self._connected()

    async def _connected(self) -> Connection:
        if self.failure is not None:
            raise self.failure
        if self._connection is None:
            self._connection = await self._stack.enter_async_context(self._database.writing())
        return self._connection


def _drop(connection: Connection) -> None:
    """Cut a connection off, if the pool has not yet; the pool makes another."""
    with suppress(*FAILURES):
        connection.terminate()


async def _commit(connection: Connection) -> None:
    try:
        status = await connection.execute("COMMIT")
    except FAILURES as error:
        _drop(connection)
        raise Unavailable(f"it is not known whether the store has committed: {error}") from error
    except BaseException:
        _drop(connection)
        raise
    if status != "COMMIT":
        raise Unavailable(f"the store has taken the transaction back ({status})")


async def _roll_back(connection: Connection) -> None:
    """End a transaction as if it had not been; without its connection the server does that by itself."""
    try:
        async with asyncio.timeout(ROLL_BACK_SECONDS):
            await connection.execute("ROLLBACK")
    except FAILURES:
        _drop(connection)
    except BaseException:
        _drop(connection)
        raise
