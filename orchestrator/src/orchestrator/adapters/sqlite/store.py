"""The `Store` port on SQLite.

A run's state is not stored: it is the fold of its history, kept in memory while the run is open. This process is the
only writer (the data folder's lock sees to it), so what is in memory is true.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final

from orchestrator.adapters.sqlite import rows
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.faults import translate
from orchestrator.adapters.sqlite.transaction import Known, SqliteTransaction, read_payloads
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.event import Event
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import Time
from orchestrator.ports.store import TRIAL_BYTES, Due, PayloadRef, Transaction

Fold = Callable[[RunId, DefinitionVersion, Iterable[Event]], RunState]
"""Makes a state of a history; the engine's, handed in by the composition root."""

_PENDING = f"""
    SELECT {rows.JOB_COLUMNS}, jobs.run_seq FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE (jobs.run_seq, step) > (?, ?) AND state = 'pending' ORDER BY jobs.run_seq, step LIMIT ?"""
_LEASED = f"SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq WHERE state = 'leased'"
_BACKING_OFF = f"""
    SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE state = 'backoff' AND due_at <= ? ORDER BY due_at LIMIT ?"""
_OVERDUE = """
    SELECT run_id FROM runs WHERE deadline <= ? AND deadline IS NOT NULL AND ended_at IS NULL
    ORDER BY deadline LIMIT ?"""

# Nobody can use an empty key; a process that dies in between leaves one that is over, and is forgotten like any other.
_TRY_WRITE = "INSERT OR REPLACE INTO idempotency (key, fingerprint, run_id, expires_at) VALUES ('', ?, '', 0)"
_TAKE_BACK = "DELETE FROM idempotency WHERE key = ''"
_ENDED = """
    SELECT seq, run_id FROM runs WHERE ended_at < ? AND ended_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM dead_letters WHERE dead_letters.run_id = runs.run_id AND dead_letters.state = 'OPEN')
    ORDER BY ended_at LIMIT ?"""
_REMOVE = (
    "DELETE FROM history WHERE run_seq = :seq",
    "DELETE FROM dead_letters WHERE run_id = :run_id",
    "DELETE FROM runs WHERE seq = :seq",
)

_LATEST_MAX: Final = 1_000
"""Definitions kept in memory; beyond it all are forgotten, and read again as they are used."""


class SqliteStore:
    """See `ports.store.Store`."""

    def __init__(self, database: Database, fold: Fold, runs_cached_max: int) -> None:
        self._database = database
        self._fold = fold
        self._runs_cached_max = runs_cached_max
        self._known: OrderedDict[RunId, Known] = OrderedDict()
        self._latest: dict[str, DefinitionVersion] = {}
        self._lock = asyncio.Lock()
        writer = database.writer
        (self._next_seq,) = writer.execute("SELECT coalesce(max(seq), 0) + 1 FROM runs").fetchone()
        (self._next_id,) = writer.execute("SELECT coalesce(max(id), 0) + 1 FROM history").fetchone()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """See `ports.store.Store.transaction`."""
        return _Scope(self)

    async def begin(self) -> SqliteTransaction:
        """Wait for the turn to write, and begin."""
        await self._lock.acquire()
        writer = self._database.writer
        try:
            writer.execute("BEGIN IMMEDIATE")
        except BaseException as error:
            self._lock.release()
            if isinstance(error, sqlite3.Error):
                raise translate(error) from error
            raise
        return SqliteTransaction(writer, self._known, self._latest, self._fold, self._next_seq, self._next_id)

    def end(self, transaction: SqliteTransaction, error: BaseException | None) -> None:
        """Commit, or roll back what failed, and let the next one write."""
        writer = self._database.writer
        try:
            if error is None:
                writer.execute("COMMIT")
        except sqlite3.Error as failure:
            error = failure
        try:
            if error is not None:
                _roll_back(writer)
            else:
                self._committed(transaction)
        finally:
            self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise translate(error) from error

    def _committed(self, transaction: SqliteTransaction) -> None:
        self._next_seq, self._next_id = transaction.next_seq, transaction.next_id
        self._remember(transaction.touched)
        if transaction.defined:
            if len(self._latest) > _LATEST_MAX:
                self._latest.clear()
            self._latest.update(transaction.defined)
        self._database.committed(transaction.payload_bytes)

    def _remember(self, touched: dict[RunId, Known]) -> None:
        """Keep open runs, the one unused for longest first to go; hardly anything is asked of a run that has ended."""
        known = self._known
        for run_id, run in touched.items():
            known.pop(run_id, None)
            if run.state.is_open:
                known[run_id] = run
        while len(known) > self._runs_cached_max:
            known.popitem(last=False)

    async def definition(self, workflow_id: str, version: int) -> DefinitionVersion | None:
        """See `ports.store.Store.definition`."""
        row = self._one(
            f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = ? AND version = ?",
            (workflow_id, version),
        )
        return None if row is None else rows.definition(row)

    async def due(self, now: Time, limit: int) -> Due:
        """See `ports.store.Store.due`."""
        return Due(
            retries=[rows.job(row) for row in self._all(_BACKING_OFF, (now, limit))],
            runs=[RunId(run_id) for (run_id,) in self._all(_OVERDUE, (now, limit))],
        )

    async def pending(self, after: tuple[int, int], limit: int) -> tuple[list[JobRow], tuple[int, int] | None]:
        """See `ports.store.Store.pending`."""
        found = self._all(_PENDING, (*after, limit))
        following = (found[-1][-1], found[-1][3]) if len(found) == limit else None
        return [rows.job(row) for row in found], following

    async def leased(self) -> list[JobRow]:
        """See `ports.store.Store.leased`."""
        return [rows.job(row) for row in self._all(_LEASED, ())]

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """See `ports.store.Store.payloads`."""
        try:
            return read_payloads(self._database.reader, refs)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def incarnation(self) -> bytes:
        """See `ports.store.Store.incarnation`. The file can be put back while no process has it open, and only then."""
        return self._database.incarnation

    async def try_write(self) -> None:
        """See `ports.store.Store.try_write`. Both are committed: only then the disk is asked."""
        async with self._lock:
            writer = self._database.writer
            try:
                writer.execute(_TRY_WRITE, (bytes(TRIAL_BYTES),))
                writer.execute(_TAKE_BACK)
            except sqlite3.Error as error:
                _roll_back(writer)
                raise translate(error) from error

    async def forget(self, now: Time, limit: int) -> int:
        """See `ports.store.Store.forget`."""
        async with self._lock:
            try:
                cursor = self._database.writer.execute(
                    "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE expires_at <= ? LIMIT ?)",
                    (now, limit),
                )
            except sqlite3.Error as error:
                raise translate(error) from error
            return cursor.rowcount

    async def retain(self, before: Time, limit: int) -> int:
        """See `ports.store.Store.retain`."""
        async with self._lock:
            writer = self._database.writer
            try:
                writer.execute("BEGIN IMMEDIATE")
                found = writer.execute(_ENDED, (before, limit)).fetchall()
                ended = [{"seq": seq, "run_id": run_id} for seq, run_id in found]
                for sql in _REMOVE:
                    writer.executemany(sql, ended)
                writer.execute("COMMIT")
            except sqlite3.Error as error:
                _roll_back(writer)
                raise translate(error) from error
            self._database.committed(0)
            return len(ended)

    def _one(self, sql: str, parameters: Sequence[Any]) -> Any:
        try:
            return self._database.reader.execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise translate(error) from error

    def _all(self, sql: str, parameters: Sequence[Any]) -> list[Any]:
        try:
            return self._database.reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error


class _Scope:
    """One transaction, as a block: of a class, for a generator costs twice as much on the way of every step."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def __aenter__(self) -> SqliteTransaction:
        self._transaction = await self._store.begin()
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store.end(self._transaction, error)


def _roll_back(writer: sqlite3.Connection) -> None:
    if writer.in_transaction:
        writer.execute("ROLLBACK")
