"""The `Transaction` port on SQLite: every write of a batch is one prepared statement run over many rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.adapters.sqlite import rows
from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import Contended
from orchestrator.model.event import Event
from orchestrator.model.job import JobRow
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange


class Known(NamedTuple):
    """A run as it is known in memory."""

    seq: int
    state: RunState


_INSERT_RUN = """
    INSERT INTO runs (seq, run_id, workflow_id, version, status, current_step, started_at, ended_at, deadline)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_UPDATE_RUN = """
    UPDATE runs SET status = ?, current_step = ?, ended_at = ?, deadline = ?, output_of = ?, failure = ?
    WHERE seq = ?"""
_INSERT_HISTORY = "INSERT INTO history (id, run_seq, step, at, events, payload) VALUES (?, ?, ?, ?, ?, ?)"
_DELETE_JOB = "DELETE FROM jobs WHERE run_seq = ? AND step = ?"
_PUT_JOB = """
    INSERT OR REPLACE INTO jobs
    (run_seq, step, attempt, action, state, input_of, alone, due_at, worker, started_at, details)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_INSERT_LETTER = f"""
    INSERT INTO dead_letters ({rows.LETTER_COLUMNS}, error_type) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_REMEMBER = """
    INSERT INTO idempotency (key, fingerprint, run_id, expires_at) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE
    SET fingerprint = excluded.fingerprint, run_id = excluded.run_id, expires_at = excluded.expires_at
    WHERE expires_at <= ?"""
_LATEST_DEFINITION = f"""
    SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = ? ORDER BY version DESC LIMIT 1"""


class SqliteTransaction:
    """See `ports.store.Transaction`. Made by `SqliteStore.transaction`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        known: Mapping[RunId, Known],
        latest: Mapping[str, DefinitionVersion],
        fold: Callable[[RunId, DefinitionVersion, Iterable[Event]], RunState],
        next_seq: int,
        next_id: int,
    ) -> None:
        self._connection = connection
        self._known = known
        self._latest = latest
        self._fold = fold
        self.next_seq = next_seq
        self.next_id = next_id
        self.touched: dict[RunId, Known] = {}
        """What the runs of this transaction are when it has committed."""
        self.payload_bytes = 0
        """Bytes of payloads that it has written."""
        self.defined: dict[str, DefinitionVersion] = {}
        """Latest versions that it has read or written."""

    async def runs(self, ids: Iterable[RunId]) -> dict[RunId, RunState]:
        """See `ports.store.Transaction.runs`."""
        found: dict[RunId, RunState] = {}
        for run_id in ids:
            known = self._find(run_id)
            if known is not None:
                found[run_id] = known.state
        return found

    def _find(self, run_id: RunId) -> Known | None:
        known = self.touched.get(run_id) or self._known.get(run_id) or self._read(run_id)
        if known is not None:
            self.touched[run_id] = known
        return known

    def _read(self, run_id: RunId) -> Known | None:
        row = self._connection.execute(
            "SELECT seq, workflow_id, version FROM runs WHERE run_id = ?", (run_id,)
        ).fetchone()
        if row is None:
            return None
        seq, workflow_id, version = row
        definition = self._connection.execute(
            f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = ? AND version = ?",
            (workflow_id, version),
        ).fetchone()
        history = self._connection.execute("SELECT events FROM history WHERE run_seq = ? ORDER BY id", (seq,))
        events = (event for (batch,) in history for event in rows.decode_events(batch))
        return Known(seq, self._fold(run_id, rows.definition(definition), events))

    async def definitions(self, ids: Iterable[str]) -> dict[str, DefinitionVersion]:
        """See `ports.store.Transaction.definitions`."""
        found: dict[str, DefinitionVersion] = {}
        for key in ids:
            version = self.defined.get(key) or self._latest.get(key)
            if version is None:
                row = self._connection.execute(_LATEST_DEFINITION, (key,)).fetchone()
                if row is None:
                    continue
                version = self.defined[key] = rows.definition(row)
            found[key] = version
        return found

    async def add_definition(self, version: DefinitionVersion) -> None:
        """See `ports.store.Transaction.add_definition`."""
        definition = version.definition
        self._connection.execute(
            "INSERT INTO definitions (workflow_id, version, digest, created_at, body) VALUES (?, ?, ?, ?, ?)",
            (definition.id, version.version, version.digest, version.created_at, rows.encode(definition)),
        )
        self.defined[definition.id] = version

    async def idempotency(self, keys: Iterable[str], now: Time) -> dict[str, IdempotencyRecord]:
        """See `ports.store.Transaction.idempotency`."""
        sql = "SELECT key, fingerprint, run_id, expires_at FROM idempotency WHERE key = ? AND expires_at > ?"
        found = (self._connection.execute(sql, (key, now)).fetchone() for key in keys)
        return {row[0]: IdempotencyRecord(*row) for row in found if row is not None}

    async def remember(self, records: Sequence[IdempotencyRecord], now: Time) -> None:
        """See `ports.store.Transaction.remember`."""
        written = self._connection.executemany(
            _REMEMBER, [(record.key, record.fingerprint, record.run_id, record.expires_at, now) for record in records]
        ).rowcount
        if written < len(records):
            raise Contended("an Idempotency-Key is in use")

    async def dead_letters(self, ids: Iterable[str]) -> dict[str, DeadLetter]:
        """See `ports.store.Transaction.dead_letters`."""
        sql = f"SELECT {rows.LETTER_COLUMNS} FROM dead_letters WHERE id = ?"
        found = (self._connection.execute(sql, (key,)).fetchone() for key in ids)
        return {row[0]: rows.dead_letter(row) for row in found if row is not None}

    async def settle_dead_letter(self, letter_id: str, state: DeadLetterState, at: Time) -> None:
        """See `ports.store.Transaction.settle_dead_letter`."""
        self._connection.execute(
            "UPDATE dead_letters SET state = ?, settled_at = ? WHERE id = ?", (state, at, letter_id)
        )

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """See `ports.store.Transaction.payloads`."""
        return read_payloads(self._connection, refs)

    async def save(self, changes: Sequence[RunChange]) -> None:
        """See `ports.store.Transaction.save`."""
        started: list[tuple[Any, ...]] = []
        moved: dict[int, tuple[Any, ...]] = {}
        history: list[tuple[Any, ...]] = []
        jobs: dict[tuple[int, int], JobRow | None] = {}
        letters: list[tuple[Any, ...]] = []
        for change in changes:
            state = change.state
            known = self._find(state.run_id) if change.created is None else None
            if known is None:
                seq = self.next_seq
                self.next_seq += 1
                started.append(_run_row(seq, state))
            else:
                seq = known.seq
                if state.status is not known.state.status or state.deadline != known.state.deadline:
                    moved[seq] = _moved_row(seq, change)
            self.touched[state.run_id] = Known(seq, state)
            if change.events:
                history.append(self._history_row(seq, change))
            for step in change.settled:
                jobs[seq, step] = None
            for row in change.jobs:
                jobs[seq, row.step] = row
            if change.dead_letter is not None:
                letters.append(_letter_row(change.dead_letter))
        run = self._connection.executemany
        if started:
            run(_INSERT_RUN, started)
        if moved:
            run(_UPDATE_RUN, list(moved.values()))
        if history:
            run(_INSERT_HISTORY, history)
        if gone := [key for key, row in jobs.items() if row is None]:
            run(_DELETE_JOB, gone)
        if put := [_job_row(seq, row) for (seq, _), row in jobs.items() if row is not None]:
            run(_PUT_JOB, put)
        if letters:
            run(_INSERT_LETTER, letters)

    def _history_row(self, seq: int, change: RunChange) -> tuple[Any, ...]:
        row_id = self.next_id
        self.next_id += 1
        step: int | None = None
        payload: bytes | None = None
        if change.created is not None:
            step, payload = rows.INPUT_STEP, change.created
        elif change.result is not None:
            step, payload = change.result
        if payload is not None:
            self.payload_bytes += len(payload)
        return row_id, seq, step, change.events[-1].at, rows.encode(change.events), payload


def read_payloads(connection: sqlite3.Connection, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
    """Read payloads from the history; those that are not there are left out."""
    found: dict[PayloadRef, Json] = {}
    for ref in refs:
        row = connection.execute(
            "SELECT payload FROM history WHERE run_seq = (SELECT seq FROM runs WHERE run_id = ?) AND step = ?",
            (ref.run_id, rows.INPUT_STEP if ref.input_of is None else ref.input_of),
        ).fetchone()
        if row is not None:
            found[ref] = Json(row[0])
    return found


def _run_row(seq: int, state: RunState) -> tuple[Any, ...]:
    return (
        seq,
        state.run_id,
        state.workflow_id,
        state.version,
        state.status,
        state.current_step,
        state.started_at,
        state.ended_at,
        state.deadline,
    )


def _moved_row(seq: int, change: RunChange) -> tuple[Any, ...]:
    state = change.state
    completed = state.status is RunStatus.COMPLETED
    return (
        state.status,
        state.current_step,
        state.ended_at,
        state.deadline,
        change.output_of if completed else None,
        None if state.failure is None else rows.encode(state.failure),
        seq,
    )


def _job_row(seq: int, row: JobRow) -> tuple[Any, ...]:
    return (
        seq,
        row.step,
        row.attempt,
        row.action,
        row.state,
        row.input_of,
        row.alone,
        row.due_at,
        row.worker,
        row.started_at,
        row.details,
    )


def _letter_row(letter: DeadLetter) -> tuple[Any, ...]:
    return (
        letter.id,
        letter.run_id,
        letter.workflow_id,
        letter.step,
        letter.action,
        letter.attempt,
        letter.attempts,
        rows.encode(letter.failure),
        letter.payload,
        letter.worker,
        letter.created_at,
        letter.state,
        letter.settled_at,
        letter.error_type,
    )
