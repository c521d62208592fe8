"""The `Transaction` port on PostgreSQL: what a batch decides is one statement, most often the only one.

What this process wrote last is not read again (`recent`), and nothing is locked before it is written: that statement
finds out whether something else than what was decided from is there, and takes everything back. Whoever was told so
decides again, for a while by the slower way: each run is read and locked before it is decided about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.numbers import Fetch, RunNumbers
from orchestrator.adapters.postgres.recent import Known, Recent
from orchestrator.adapters.postgres.statements import Rows, parameters, statement
from orchestrator.adapters.postgres.tables import Tables
from orchestrator.adapters.postgres.writing import Writing
from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import InvariantBroken
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import Time
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange

# The order of locks is the same in every process, so that no two wait for each other.
_RUNS = f"SELECT {rows.STATE_COLUMNS}, xmin FROM runs WHERE run_id = ANY($1::text[])"
_LOCKED = f"{_RUNS} ORDER BY run_id FOR NO KEY UPDATE"
_LOCK = "SELECT 1 FROM runs WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR NO KEY UPDATE"
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
PAYLOADS = """
    SELECT wanted.run_id, wanted.step, payload
    FROM unnest($1::text[], $2::int[]) AS wanted (run_id, step)
    CROSS JOIN LATERAL (SELECT seq FROM runs WHERE runs.run_id = wanted.run_id LIMIT 1) AS run
    CROSS JOIN LATERAL (
        SELECT payload FROM history WHERE run_seq = seq AND history.step = wanted.step LIMIT 1) AS one"""


class PostgresTransaction:
    """See `ports.store.Transaction`. Made by `PostgresStore.transaction`."""

    def __init__(
        self,
        writing: Writing,
        numbers: RunNumbers,
        latest: Mapping[str, DefinitionVersion],
        recent: Recent,
        *,
        is_careful: bool,
    ) -> None:
        self._writing = writing
        self._fetch = writing.fetch
        self._numbers = numbers
        self._latest = latest
        self._recent = recent
        self._is_careful = is_careful
        """Whether it trusts nothing that this process remembers, and locks what it reads."""
        self._over = asyncio.get_running_loop().create_future()
        self._held: list[RunId] = []
        self._known: dict[RunId, Known] = {}
        self._unread: dict[RunId, Known] = {}
        """Those of the known runs that were taken from memory, as they were there."""
        self._changed: dict[RunId, Known] = {}
        """Those of the known runs that the pending rows are about."""
        self._pending: dict[str, Rows] = {}
        """What is to be written, part by part of one statement."""
        self._trusted: dict[str, DefinitionVersion] = {}
        """Latest versions that were taken from memory."""
        self.defined: dict[str, DefinitionVersion] = {}
        """Latest versions that it has read or written."""

    async def runs(self, ids: Iterable[RunId]) -> dict[RunId, RunState]:
        """See `ports.store.Transaction.runs`."""
        wanted = list(ids)
        await self._know(wanted)
        return {run_id: known.state for run_id in wanted if (known := self._known.get(run_id)) is not None}

    async def _know(self, ids: Iterable[RunId]) -> None:
        """Know the runs that are not known yet."""
        missing = [run_id for run_id in dict.fromkeys(ids) if run_id not in self._known and rows.is_text(run_id)]
        if not missing:
            return
        # First: what was known before it was connected may be forgotten by that.
        await self._writing.connect()
        remembered = await self._recent.hold(missing, self._over)
        self._held += missing
        if self._is_careful:
            await self._writing.begin()
        else:
            self._known.update(remembered)
            self._unread.update(remembered)
            missing = [run_id for run_id in missing if run_id not in remembered]
        if missing:
            for row in await self._fetch(_LOCKED if self._is_careful else _RUNS, missing):
                self._known[row[1]] = Known(row[0], rows.state(row), row[-1])

    async def definitions(self, ids: Iterable[str]) -> dict[str, DefinitionVersion]:
        """See `ports.store.Transaction.definitions`.

        What is in memory is trusted until the statement that writes, or asked about: a body is read once.
        """
        wanted = rows.texts(ids)
        if not self._is_careful and all(key in self._latest or key in self.defined for key in wanted):
            found = {key: self.defined.get(key) or self._latest[key] for key in wanted}
            self._trusted.update((key, version) for key, version in found.items() if key not in self.defined)
            return found
        current = {row[0]: (row[1], row[2]) for row in await self._fetch(_LATEST, wanted)} if wanted else {}
        missing = [key for key, latest in current.items() if self._in_memory(key, *latest) is None]
        if missing:
            numbers = [current[key][0] for key in missing]
            for row in await self._fetch(_DEFINITIONS, missing, numbers):
                version = rows.definition(row)
                self.defined[version.definition.id] = version
        known = ((key, self._in_memory(key, *current[key])) for key in wanted if key in current)
        return {key: version for key, version in known if version is not None}

    def _in_memory(self, key: str, number: int, digest: str) -> DefinitionVersion | None:
        for version in (self.defined.get(key), self._latest.get(key)):
            if version is not None and version.version == number and version.digest == digest:
                return version
        return None

    async def add_definition(self, version: DefinitionVersion) -> None:
        """See `ports.store.Transaction.add_definition`."""
        definition = version.definition
        await self._open()
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
        if self._pending:
            await self._open()
        found = {row[0]: IdempotencyRecord(*row) for row in await self._fetch(_KEYS, wanted, now)}
        return {key: found[key] for key in wanted if key in found}

    async def remember(self, records: Sequence[IdempotencyRecord], now: Time) -> None:
        """See `ports.store.Transaction.remember`."""
        if not records:
            return
        if "keys" in self._pending:
            await self._open()
        ordered = sorted(records, key=lambda record: record.key)
        table = [(record.key, record.fingerprint, record.run_id, record.expires_at) for record in ordered]
        self._pending["keys"] = Rows(table, (now,))

    async def dead_letters(self, ids: Iterable[str]) -> dict[str, DeadLetter]:
        """See `ports.store.Transaction.dead_letters`."""
        await self._open()
        found = await self._fetch(_LETTERS, rows.texts(ids))
        return {row[0]: rows.dead_letter(row) for row in found}

    async def settle_dead_letter(self, letter_id: str, state: DeadLetterState, at: Time) -> None:
        """See `ports.store.Transaction.settle_dead_letter`."""
        await self._open()
        await self._fetch(_SETTLE_LETTER, letter_id, state, at)

    async def payloads(self, refs: Iterable[PayloadRef]) -> dict[PayloadRef, Json]:
        """See `ports.store.Transaction.payloads`."""
        if self._pending:
            await self._open()
        wanted = list(refs)
        return payloads_of(wanted, await self._fetch(PAYLOADS, *places_of(wanted)))

    async def save(self, changes: Sequence[RunChange]) -> None:
        """See `ports.store.Transaction.save`."""
        if self._changed:
            await self._open()
        await self._know(change.state.run_id for change in changes if change.created is None)
        await self._numbers.reserve(self._fetch, sum(change.created is not None for change in changes))
        tables = Tables()
        for change in changes:
            run_id = change.state.run_id
            if change.created is not None:
                known = Known(self._numbers.take(), change.state, 0)
                tables.start(known.seq, change)
            elif (before := self._known.get(run_id)) is not None:
                known = Known(before.seq, change.state, before.written_by)
                tables.move(before, change)
            else:
                raise InvariantBroken(f"run {run_id} was decided about and is not in the store")
            self._known[run_id] = self._changed[run_id] = known
        if tables.has_letters:
            # Where their jobs were last is written down while that cannot change: before this statement sees anything.
            await self._open()
            await self._fetch(_LOCK, list(self._changed))
        self._pending = {**tables.written(), **self._pending}

    async def complete(self) -> None:
        """Write what is left; the transaction can be committed then, or is so by this one statement."""
        unchanged = [
            (known.seq, known.written_by) for run_id, known in self._unread.items() if self._known[run_id] is known
        ]
        if unchanged:
            self._pending["unchanged"] = Rows(unchanged)
        if self._trusted:
            latest = [(key, version.version, version.digest) for key, version in sorted(self._trusted.items())]
            self._pending["latest"] = Rows(latest)
        await self._write(self._writing.finish)

    def keep(self) -> None:
        """Keep in memory what has been committed."""
        self._recent.remember(self._known.values())

    def close(self) -> None:
        """Let other transactions of this process have its runs."""
        self._recent.let_go(self._held, self._over)

    async def _open(self) -> None:
        """Begin in earnest: what was written is seen by what follows."""
        await self._writing.begin()
        await self._write(self._fetch)

    async def _write(self, fetch: Fetch) -> None:
        if not self._pending:
            return
        parts, self._pending = self._pending, {}
        (row,) = await fetch(statement(tuple(parts)), *parameters(parts))
        for run_id, known in self._changed.items():
            self._known[run_id] = Known(known.seq, known.state, row[0])
        self._changed = {}


def places_of(refs: Sequence[PayloadRef]) -> tuple[list[str], list[int]]:
    """Give the parameters of ``PAYLOADS``."""
    return [ref.run_id for ref in refs], [rows.INPUT_STEP if ref.input_of is None else ref.input_of for ref in refs]


def payloads_of(refs: Sequence[PayloadRef], found: Iterable[Any]) -> dict[PayloadRef, Json]:
    """Read rows of ``PAYLOADS``, in the order that was asked for."""
    by_place = {(row[0], row[1]): row[2] for row in found}
    places = zip(refs, *places_of(refs), strict=True)
    return {ref: Json(by_place[run_id, step]) for ref, run_id, step in places if (run_id, step) in by_place}
