"""The `Transaction` port on PostgreSQL: one statement reads and locks a batch's runs, one writes what it decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Connection
from orchestrator.adapters.postgres.faults import FAILURES, translate
from orchestrator.adapters.postgres.numbers import RunNumbers
from orchestrator.adapters.postgres.statements import columns_of, statement
from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import Contended, InvariantBroken, Unavailable
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange

# The order of locks is the same in every process, so that no two wait for each other.
_RUNS = f"SELECT {rows.STATE_COLUMNS} FROM runs WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR NO KEY UPDATE"
_LETTERS = f"""
    SELECT {rows.LETTER_COLUMNS} FROM dead_letters WHERE id = ANY($1::text[]) ORDER BY id FOR NO KEY UPDATE"""
_SETTLE_LETTER = "UPDATE dead_letters SET state = $2, settled_at = $3 WHERE id = $1"
_LATEST = """
    SELECT latest.* FROM unnest($1::text[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT workflow_id, version, digest FROM definitions
        WHERE workflow_id = wanted.id ORDER BY version DESC LIMIT 1) AS latest"""
_DEFINITIONS = f"""
    SELECT {rows.DEFINITION_COLUMNS} FROM definitions JOIN unnest($1::text[], $2::int[]) AS wanted (id, number)
    ON workflow_id = wanted.id AND version = wanted.number"""
_ADD_DEFINITION = """
    INSERT INTO definitions (workflow_id, version, digest, created_at, body) VALUES ($1, $2, $3, $4, $5)"""
_KEYS = """
    SELECT key, fingerprint, run_id, expires_at FROM idempotency WHERE key = ANY($1::text[]) AND expires_at > $2"""
_REMEMBER = """
    INSERT INTO idempotency AS known (key, fingerprint, run_id, expires_at)
    SELECT * FROM unnest($1::text[], $2::bytea[], $3::text[], $4::bigint[])
    ON CONFLICT (key) DO UPDATE
    SET fingerprint = excluded.fingerprint, run_id = excluded.run_id, expires_at = excluded.expires_at
    WHERE known.expires_at <= $5 RETURNING key"""
PAYLOADS = """
    SELECT wanted.run_id, wanted.step, payload
    FROM unnest($1::text[], $2::int[]) AS wanted (run_id, step)
    CROSS JOIN LATERAL (SELECT seq FROM runs WHERE runs.run_id = wanted.run_id LIMIT 1) AS run
    CROSS JOIN LATERAL (
        SELECT payload FROM history WHERE run_seq = seq AND history.step = wanted.step LIMIT 1) AS one"""


class Known(NamedTuple):
    """A run as its row is, in this transaction."""

    seq: int
    state: RunState


class PostgresTransaction:
    """See `ports.store.Transaction`. Made by `PostgresStore.transaction`."""

    def __init__(self, connection: Connection, numbers: RunNumbers, latest: Mapping[str, DefinitionVersion]) -> None:
        self._connection = connection
        self._numbers = numbers
        self._latest = latest
        self._known: dict[RunId, Known] = {}
        self.defined: dict[str, DefinitionVersion] = {}
        """Latest versions that it has read or written."""
        self.failure: Unavailable | InvariantBroken | None = None
        """The first failure: the server takes nothing more of a transaction that has had one."""

    async def runs(self, ids: Iterable[RunId]) -> dict[RunId, RunState]:
        """See `ports.store.Transaction.runs`."""
        wanted = list(ids)
        await self._lock(wanted)
        return {run_id: known.state for run_id in wanted if (known := self._known.get(run_id)) is not None}

    async def _lock(self, ids: Iterable[RunId]) -> None:
        """Know the runs that are not known yet; what is read is theirs after all who held them before."""
        missing = rows.texts(run_id for run_id in ids if run_id not in self._known)
        if missing:
            for row in await self._fetch(_RUNS, missing):
                self._known[row[1]] = Known(row[0], rows.state(row))

    async def definitions(self, ids: Iterable[str]) -> dict[str, DefinitionVersion]:
        """See `ports.store.Transaction.definitions`.

        What is in memory is asked about, not trusted: a body is read once, a version and its digest every time.
        """
        wanted = rows.texts(ids)
        current = {row[0]: (row[1], row[2]) for row in await self._fetch(_LATEST, wanted)} if wanted else {}
        missing = [key for key, latest in current.items() if self._in_memory(key, *latest) is None]
        if missing:
            numbers = [current[key][0] for key in missing]
            for row in await self._fetch(_DEFINITIONS, missing, numbers):
                version = rows.definition(row)
                self.defined[version.definition.id] = version
        found = ((key, self._in_memory(key, *current[key])) for key in wanted if key in current)
        return {key: version for key, version in found if version is not None}

    def _in_memory(self, key: str, number: int, digest: str) -> DefinitionVersion | None:
        for known in (self.defined.get(key), self._latest.get(key)):
            if known is not None and known.version == number and known.digest == digest:
                return known
        return None

    async def add_definition(self, version: DefinitionVersion) -> None:
        """See `ports.store.Transaction.add_definition`."""
        definition = version.definition
        await self._fetch(
            _ADD_DEFINITION,
            definition.id,
            version.version,
            version.digest,
            version.created_at,
            rows.encode(definition),
        )
        self.defined[definition.id] = version

    async def idempotency(self, keys: Iterable[str], now: Time) -> dict[str, IdempotencyRecord]:
        """See `ports.store.Transaction.idempotency`."""
        wanted = rows.texts(keys)
        found = {row[0]: IdempotencyRecord(*row) for row in await self._fetch(_KEYS, wanted, now)}
        return {key: found[key] for key in wanted if key in found}

    async def remember(self, records: Sequence[IdempotencyRecord], now: Time) -> None:
        """See `ports.store.Transaction.remember`.

        A key that another transaction has written and not yet committed is waited for. In order of the keys, so that
        no two wait for each other.
        """
        if not records:
            return
        ordered = sorted(records, key=lambda record: record.key)
        table = [(record.key, record.fingerprint, record.run_id, record.expires_at) for record in ordered]
        written = await self._fetch(_REMEMBER, *columns_of(table), now)
        if len(written) != len(records):
            self.failure = Contended("another process has used the same Idempotency-Key first")
            raise self.failure

    async def dead_letters(self, ids: Iterable[str]) -> dict[str, DeadLetter]:
        """See `ports.store.Transaction.dead_letters`."""
        found = await self._fetch(_LETTERS, rows.texts(ids))
        return {row[0]: rows.dead_letter(row) for row in found}

    async def settle_dead_letter(self, letter_id: str, state: DeadLetterState, at: Time) -> None:
        """See `ports.store.Transaction.settle_dead_letter`."""
        await self._fetch(_SETTLE_LETTER, letter_id, state, at)

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """See `ports.store.Transaction.payloads`."""
        wanted = list(refs)
        return payloads_of(wanted, await self._fetch(PAYLOADS, *places_of(wanted)))

    async def save(self, changes: Sequence[RunChange]) -> None:
        """See `ports.store.Transaction.save`."""
        await self._lock(change.state.run_id for change in changes if change.created is None)
        await self._numbers.reserve(self._fetch, sum(change.created is not None for change in changes))
        tables = _Tables()
        for change in changes:
            run_id = change.state.run_id
            known = self._known.get(run_id)
            if change.created is not None:
                seq = self._numbers.take()
                tables.start(seq, change)
            elif known is not None:
                seq = known.seq
                tables.move(seq, known.state, change)
            else:
                raise InvariantBroken(f"run {run_id} was decided about and is not in the store")
            self._known[run_id] = Known(seq, change.state)
            tables.add(seq, change)
        written = tables.written()
        if written:
            columns = [column for _, table in written for column in columns_of(table)]
            await self._fetch(statement(tuple(name for name, _ in written)), *columns)

    async def _fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        if self.failure is not None:
            raise self.failure
        try:
            return await self._connection.fetch(sql, *arguments)
        except FAILURES as error:
            self.failure = translate(error)
            raise self.failure from error


class _Tables:
    """The rows of one `save`, each at most once: what was decided later about the same row replaces the earlier."""

    def __init__(self) -> None:
        self._started: dict[int, RunChange] = {}
        self._moved: dict[int, tuple[RunState, RunChange]] = {}
        """With the state that the row has."""
        self._history: list[tuple[Any, ...]] = []
        self._jobs: dict[tuple[int, int], JobRow | None] = {}
        self._letters: list[tuple[Any, ...]] = []

    def start(self, seq: int, change: RunChange) -> None:
        self._started[seq] = change

    def move(self, seq: int, before: RunState, change: RunChange) -> None:
        if seq in self._started:
            self._started[seq] = change
        else:
            earlier = self._moved.get(seq)
            self._moved[seq] = (before if earlier is None else earlier[0], change)

    def add(self, seq: int, change: RunChange) -> None:
        if change.events:
            self._history.append(_history_row(seq, change))
        for step in change.settled:
            if change.result is not None and change.result[0] == step:
                # Its row goes as the history takes its result.
                self._jobs.pop((seq, step), None)
            else:
                self._jobs[seq, step] = None
        for row in change.jobs:
            self._jobs[seq, row.step] = row
        if change.dead_letter is not None:
            self._letters.append(_letter_row(change.dead_letter))

    def written(self) -> list[tuple[str, list[tuple[Any, ...]]]]:
        """Give the rows of each part that has any."""
        advanced: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        for seq, (before, change) in self._moved.items():
            state = change.state
            if before.is_open and state.status is before.status and state.deadline == before.deadline:
                advanced.append((seq, state.current_step, rows.encode_state(state)))
            else:
                moved.append((seq, state.status, state.current_step, state.ended_at, state.deadline, *_ending(change)))
        first: list[tuple[Any, ...]] = []
        queued: list[tuple[Any, ...]] = []
        replaced: list[tuple[Any, ...]] = []
        for (seq, step), row in self._jobs.items():
            if row is None:
                continue
            if row.state is JobState.PENDING and not self._is_open(seq, step):
                if row.attempt == 1 and not row.alone and row.details is None and row.timeout is None:
                    first.append((seq, step, row.action, row.input_of, row.due_at))
                else:
                    place = (seq, step, row.attempt, row.action, row.input_of, row.alone)
                    queued.append((*place, row.details, row.due_at, row.timeout))
            else:
                replaced.append(_job_row(seq, row))
        parts = (
            ("started", [_run_row(seq, change) for seq, change in self._started.items()]),
            ("advanced", advanced),
            ("moved", moved),
            ("history", self._history),
            ("settled", [key for key, row in self._jobs.items() if row is None]),
            ("first", first),
            ("queued", queued),
            ("replaced", replaced),
            ("letters", self._letters),
        )
        return [(name, table) for name, table in parts if table]

    def _is_open(self, seq: int, step: int) -> bool:
        """Whether the step has a row: those that are open have one, and no other."""
        known = self._moved.get(seq)
        return known is not None and step in known[0].open


def places_of(refs: Sequence[PayloadRef]) -> tuple[list[str], list[int]]:
    """Give the parameters of ``PAYLOADS``."""
    return [ref.run_id for ref in refs], [rows.INPUT_STEP if ref.input_of is None else ref.input_of for ref in refs]


def payloads_of(refs: Sequence[PayloadRef], found: Iterable[Any]) -> dict[PayloadRef, Json]:
    """Read rows of ``PAYLOADS``, in the order that was asked for."""
    by_place = {(row[0], row[1]): row[2] for row in found}
    places = zip(refs, *places_of(refs), strict=True)
    return {ref: Json(by_place[run_id, step]) for ref, run_id, step in places if (run_id, step) in by_place}


def _ending(change: RunChange) -> tuple[Any, ...]:
    state = change.state
    return (
        change.output_of if state.status is RunStatus.COMPLETED else None,
        None if state.failure is None else rows.encode(state.failure),
        rows.encode_state(state),
    )


def _run_row(seq: int, change: RunChange) -> tuple[Any, ...]:
    state = change.state
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
        *_ending(change),
    )


def _history_row(seq: int, change: RunChange) -> tuple[Any, ...]:
    step: int | None = None
    payload: bytes | None = None
    if change.created is not None:
        step, payload = rows.INPUT_STEP, change.created
    elif change.result is not None:
        step, payload = change.result
    return seq, step, change.events[-1].at, rows.encode(change.events), payload


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
        row.timeout,
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
        letter.due_at,
        letter.error_type,
    )
