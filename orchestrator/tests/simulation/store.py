"""A store that fails as stores do, and tells the journal what it made durable."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import Time
from orchestrator.ports.store import Due, IdempotencyRecord, PayloadRef, RunChange, Store, Transaction
from tests.simulation.journal import Journal
from tests.simulation.options import Fault

Draw = Callable[[Fault], bool]
"""Says whether a fault of this kind strikes now."""


class WatchedTransaction:
    """See `ports.store.Transaction`; remembers what was written."""

    def __init__(self, inner: Transaction) -> None:
        self._inner = inner
        self.changes: list[RunChange] = []

    async def runs(self, ids: Iterable[RunId]) -> dict[RunId, RunState]:
        return await self._inner.runs(ids)

    async def definitions(self, ids: Iterable[str]) -> dict[str, DefinitionVersion]:
        return await self._inner.definitions(ids)

    async def add_definition(self, version: DefinitionVersion) -> None:
        await self._inner.add_definition(version)

    async def idempotency(self, keys: Iterable[str], now: Time) -> dict[str, IdempotencyRecord]:
        return await self._inner.idempotency(keys, now)

    async def remember(self, records: Sequence[IdempotencyRecord], now: Time) -> None:
        await self._inner.remember(records, now)

    async def dead_letters(self, ids: Iterable[str]) -> dict[str, DeadLetter]:
        return await self._inner.dead_letters(ids)

    async def settle_dead_letter(self, letter_id: str, state: DeadLetterState, at: Time) -> None:
        await self._inner.settle_dead_letter(letter_id, state, at)

    async def save(self, changes: Sequence[RunChange]) -> None:
        self.changes += changes
        await self._inner.save(changes)

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        return await self._inner.payloads(refs)


class FaultyStore:
    """See `ports.store.Store`."""

    def __init__(self, inner: Store, life: int, journal: Journal, strikes: Draw) -> None:
        self._inner = inner
        self._life = life
        self._journal = journal
        self._strikes = strikes

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        async with self._inner.transaction() as inner:
            watched = WatchedTransaction(inner)
            yield watched
            if self._strikes(Fault.COMMITS_FAIL):
                # As SQLite says it, so that the adapter's own way with errors is taken too.
                raise sqlite3.OperationalError("disk I/O error")
        self._journal.commit(self._life, watched.changes)
        if self._strikes(Fault.COMMITS_UNSURE):
            raise Unavailable("the connection was lost while the commit was under way")

    async def definition(self, workflow_id: str, version: int) -> DefinitionVersion | None:
        return await self._inner.definition(workflow_id, version)

    async def due(self, now: Time, limit: int) -> Due:
        self._read()
        return await self._inner.due(now, limit)

    async def pending(self, after: tuple[int, int], limit: int) -> tuple[list[JobRow], tuple[int, int] | None]:
        self._read()
        return await self._inner.pending(after, limit)

    async def leased(self) -> list[JobRow]:
        self._read()
        return await self._inner.leased()

    async def payloads(self, refs: Iterable[PayloadRef]) -> Mapping[PayloadRef, Json]:
        self._read()
        return await self._inner.payloads(refs)

    async def incarnation(self) -> bytes:
        self._read()
        return await self._inner.incarnation()

    async def try_write(self) -> None:
        self._read()
        await self._inner.try_write()

    async def forget(self, now: Time, limit: int) -> int:
        self._read()
        return await self._inner.forget(now, limit)

    async def retain(self, before: Time, limit: int) -> int:
        self._read()
        return await self._inner.retain(before, limit)

    def _read(self) -> None:
        if self._strikes(Fault.READS_FAIL):
            raise Unavailable("the store does not answer")
