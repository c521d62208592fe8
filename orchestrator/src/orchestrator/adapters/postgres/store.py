"""The `Store` port on PostgreSQL.

Any number of processes share the database. What one of them keeps in memory may be untrue a moment later, so whatever a
transaction was decided from is compared by the statement that writes it. A run's row carries its state, so that no
history is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.numbers import RunNumbers
from orchestrator.adapters.postgres.recent import RECENT_MAX, Recent
from orchestrator.adapters.postgres.statements import key_is
from orchestrator.adapters.postgres.transaction import PAYLOADS, PostgresTransaction, payloads_of, places_of
from orchestrator.adapters.postgres.writing import Writing
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import Contended
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.store import TRIAL_BYTES, Due, PayloadRef, Transaction

_DEFINITION = f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = $1 AND version = $2"
_PENDING = f"""
    SELECT {rows.JOB_COLUMNS}, jobs.run_seq FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE (jobs.run_seq, step) > ($1, $2) AND jobs.state = 'pending' ORDER BY jobs.run_seq, step LIMIT $3"""
_LEASED = f"SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq WHERE jobs.state = 'leased'"
_BACKING_OFF = f"""
    SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE jobs.state = 'backoff' AND due_at <= $1 ORDER BY due_at LIMIT $2"""
_OVERDUE = """
    SELECT run_id FROM runs WHERE deadline <= $1 AND deadline IS NOT NULL AND ended_at IS NULL
    ORDER BY deadline LIMIT $2"""
# What another process has in hand is left to it: cleaning waits for nobody, and nobody waits for it.
_FORGET = """
    DELETE FROM idempotency WHERE key = ANY(ARRAY(
        SELECT key FROM idempotency WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING 1"""
_RETAIN = f"""
    WITH gone AS MATERIALIZED (
        SELECT seq, run_id FROM runs WHERE ended_at < $1 AND ended_at IS NOT NULL AND (
            SELECT id FROM dead_letters
            WHERE dead_letters.run_id = runs.run_id AND state || '' = 'OPEN' LIMIT 1) IS NULL
        ORDER BY ended_at LIMIT $2 FOR UPDATE SKIP LOCKED),
    told AS (DELETE FROM history USING gone WHERE {key_is("history.run_seq", "gone.seq")}),
    settled AS (DELETE FROM dead_letters USING gone WHERE {key_is("dead_letters.run_id", "gone.run_id")})
    DELETE FROM runs USING gone WHERE {key_is("runs.seq", "gone.seq")} RETURNING 1"""

# Nobody can use an empty key; the rows are gone with the statements, whatever becomes of the process.
_TRY_WRITE = """
    INSERT INTO idempotency (key, fingerprint, run_id, expires_at) VALUES ('', $1, '', 0)
    ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint"""
_TAKE_BACK = "DELETE FROM idempotency WHERE key = ''"

_INCARNATION = """
    SELECT encode(secret, 'hex'), extract(epoch FROM pg_postmaster_start_time())::text,
        (SELECT oid FROM pg_database WHERE datname = current_database()),
        pg_relation_filenode('idempotency'), pg_relation_filenode('runs')
    FROM installation"""

CAREFUL: Final = 50
"""Transactions that lock what they read before they decide, after one that did not found another process faster."""

_LATEST_MAX: Final = 1_000
"""Definitions kept in memory; beyond it all are forgotten, and read again as they are used."""


class PostgresStore:
    """See `ports.store.Store`."""

    def __init__(self, database: Database, runs_cached_max: int = RECENT_MAX) -> None:
        self._database = database
        self._numbers = RunNumbers()
        self._recent = Recent(runs_cached_max)
        # A server that has lost something gives numbers of transactions out once more.
        database.on_connection(self._recent.forget)
        self._latest: dict[str, DefinitionVersion] = {}
        self._careful = 0
        """How many of the next transactions are careful."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See `ports.store.Store.transaction`."""
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        writing = Writing(self._database)
        is_careful = self._careful > 0
        self._careful -= is_careful
        transaction = PostgresTransaction(writing, self._numbers, self._latest, self._recent, is_careful=is_careful)
        try:
            async with writing:
                yield transaction
                await transaction.complete()
            transaction.keep()
        except Contended:
            self._careful = CAREFUL
            raise
        finally:
            transaction.close()
        if len(self._latest) > _LATEST_MAX:
            self._latest.clear()
        self._latest.update(transaction.defined)

    async def definition(self, workflow_id: str, version: int) -> DefinitionVersion | None:
        """See `ports.store.Store.definition`."""
        if not rows.is_text(workflow_id):
            return None
        found = await self._database.fetch(_DEFINITION, workflow_id, version)
        return rows.definition(found[0]) if found else None

    async def due(self, now: Time, limit: int) -> Due:
        """See `ports.store.Store.due`."""
        return Due(
            retries=[rows.job(row) for row in await self._database.fetch(_BACKING_OFF, now, limit)],
            runs=[RunId(row[0]) for row in await self._database.fetch(_OVERDUE, now, limit)],
        )

    async def pending(self, after: tuple[int, int], limit: int) -> tuple[list[JobRow], tuple[int, int] | None]:
        """See `ports.store.Store.pending`."""
        found = await self._database.fetch(_PENDING, *after, limit)
        following = (found[-1][-1], found[-1][3]) if len(found) == limit else None
        return [rows.job(row) for row in found], following

    async def leased(self) -> list[JobRow]:
        """See `ports.store.Store.leased`."""
        return [rows.job(row) for row in await self._database.fetch(_LEASED)]

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """See `ports.store.Store.payloads`."""
        wanted = list(refs)
        if not wanted:
            return {}
        return payloads_of(wanted, await self._database.fetch(PAYLOADS, *places_of(wanted)))

    async def incarnation(self) -> bytes:
        """See `ports.store.Store.incarnation`.

        To put a server back to an earlier state, or another one into its place, needs a start of a server; to put
        tables back needs new files for them.
        """
        (row,) = await self._database.fetch(_INCARNATION)
        return hashlib.sha256(b"\0".join(str(value).encode() for value in row)).digest()

    async def try_write(self) -> None:
        """See `ports.store.Store.try_write`."""
        async with Writing(self._database) as writing:
            await writing.begin()
            await writing.fetch(_TRY_WRITE, os.urandom(TRIAL_BYTES))
            await writing.fetch(_TAKE_BACK)

    async def forget(self, now: Time, limit: int) -> int:
        """See `ports.store.Store.forget`."""
        return len(await self._database.fetch(_FORGET, now, limit))

    async def retain(self, before: Time, limit: int) -> int:
        """See `ports.store.Store.retain`."""
        return len(await self._database.fetch(_RETAIN, before, limit))
