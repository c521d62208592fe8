"""The truth: definitions, runs and their history, open jobs, timers, idempotency keys, dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import msgspec

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.event import Event
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import Time


class RunChange(msgspec.Struct, kw_only=True):
    """One decision about one run, to be made durable."""

    state: RunState
    """The state after ``events``."""
    events: tuple[Event, ...]
    created: Json | None = None
    """The run's input when the events begin it; None otherwise."""
    result: tuple[int, Json] | None = None
    """The step that completed and its result."""
    output_of: int | None = None
    """The step whose result is the run's output, when the events complete the run."""
    jobs: tuple[JobRow, ...] = ()
    """Open attempts as they are now; each replaces the row of its step."""
    settled: tuple[int, ...] = ()
    """Steps whose row goes away."""
    dead_letter: DeadLetter | None = None


class IdempotencyRecord(msgspec.Struct, frozen=True):
    """A trigger that carried an Idempotency-Key."""

    key: str
    fingerprint: bytes
    run_id: RunId
    expires_at: Time


class PayloadRef(msgspec.Struct, frozen=True):
    """Where the payload of a job is kept: the result of a step, or the run's input (None)."""

    run_id: RunId
    input_of: int | None


class Due(msgspec.Struct):
    """Timers whose time has come."""

    retries: list[JobRow]
    """Rows in BACKOFF."""
    runs: list[RunId]
    """Open runs past their deadline."""


class Transaction(Protocol):
    """One atomic change. What a method wrote is seen by the methods called after it."""

    async def runs(self, ids: Iterable[RunId]) -> dict[RunId, RunState]:
        """Read runs; unknown ids are left out.

        No other transaction changes them between that and the commit. One of this process that asks for a run that
        another has read waits until that has ended, and then reads what it made of it. One of another process waits
        too, or one of the two is ended as `model.errors.Contended`, at the latest by its commit.
        """
        ...

    async def definitions(self, ids: Iterable[str]) -> dict[str, DefinitionVersion]:
        """Read the latest version of each; unknown ids are left out.

        What is read may be untrue already: the transaction ends as `model.errors.Contended` then, and the next one
        reads what is true.
        """
        ...

    async def add_definition(self, version: DefinitionVersion) -> None:
        """Write a version that did not exist.

        Raises:
            Unavailable: it exists; `model.errors.Contended` when another process has just written it, so that the
                version to write is a later one.
        """
        ...

    async def idempotency(self, keys: Iterable[str], now: Time) -> dict[str, IdempotencyRecord]:
        """Read the records that have not expired at ``now``."""
        ...

    async def remember(self, records: Sequence[IdempotencyRecord], now: Time) -> None:
        """Write records of different keys; one of the same key that has expired at ``now`` is replaced.

        Raises:
            Contended: a key is in use: another transaction has written it since this one looked; now, or at the commit.
        """
        ...

    async def dead_letters(self, ids: Iterable[str]) -> dict[str, DeadLetter]:
        """Read dead letters in any state and lock them until the end of the transaction; unknown ids are left out.

        To be called before `runs`: locks are taken in one order, dead letters first.
        """
        ...

    async def settle_dead_letter(self, letter_id: str, state: DeadLetterState, at: Time) -> None:
        """Mark a dead letter as redriven or discarded."""
        ...

    async def save(self, changes: Sequence[RunChange]) -> None:
        """Write decisions in order. Several may be about one run. History is appended, never rewritten."""
        ...

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """Read payloads, those written in this transaction included."""
        ...


TRIAL_BYTES: Final = 64 * 1024
"""What `Store.try_write` writes: about as much as a small batch."""


class Store(Protocol):
    """Durable state. After a transaction's block ends without an exception its changes survive a crash.

    Any failure of the store comes out as `model.errors.Unavailable`; the transaction is then as if it had not been,
    unless the failure came from the commit itself, when it may have been: callers repeat the command. A transaction
    that has had a failure takes nothing more and cannot be committed. `model.errors.Contended` says that it has
    certainly not been, only because another process was faster: the same again, in a new transaction, will do.
    `model.errors.NotWritable` says that the store takes nothing until its disk has room, or it may be written again.
    """

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction: committed when the block ends, rolled back when it raises."""
        ...

    async def definition(self, workflow_id: str, version: int) -> DefinitionVersion | None:
        """Read one version."""
        ...

    async def due(self, now: Time, limit: int) -> Due:
        """Read up to ``limit`` of each kind of timer that is due, the longest overdue first."""
        ...

    async def pending(self, after: tuple[int, int], limit: int) -> tuple[list[JobRow], tuple[int, int] | None]:
        """Page through rows in PENDING, oldest runs first.

        Args:
            after: where the previous page ended; ``(0, 0)`` to begin. Its meaning is the adapter's.

        Returns:
            The rows, and where the next page begins; None after the last.
        """
        ...

    async def leased(self) -> list[JobRow]:
        """Read all rows in LEASED: what workers had in hand when the last process ended."""
        ...

    async def payloads(self, refs: Iterable[PayloadRef]) -> Mapping[PayloadRef, Json]:
        """Read committed payloads; those that are not there are left out."""
        ...

    async def incarnation(self) -> bytes:
        """Give a secret that all processes of this store know and nobody else does, at least 32 bytes.

        It is another one whenever the store may have lost something that it had committed: after it was restored from a
        backup, copied, or replaced by a standby. A restart alone may change it too; nothing else does.
        """
        ...

    async def try_write(self) -> None:
        """Write `TRIAL_BYTES` to where they are durable, and take them back.

        Raises:
            Unavailable: it does not work; `model.errors.NotWritable` when nothing is taken at all.
        """
        ...

    async def forget(self, now: Time, limit: int) -> int:
        """Remove up to ``limit`` idempotency records that have expired; say how many."""
        ...

    async def retain(self, before: Time, limit: int) -> int:
        """Remove up to ``limit`` runs that ended before a time, with their history and dead letters; say how many.

        A run with a dead letter that waits for a person is kept. What another process has locked is left for later.
        Those that ended first go first.
        """
        ...
