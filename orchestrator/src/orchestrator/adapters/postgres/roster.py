"""The `Roster` port on PostgreSQL: a table whose rows go by the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import uuid4

import msgspec

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.statements import columns_of
from orchestrator.model.job import JobRow
from orchestrator.model.times import Duration
from orchestrator.model.worker import About
from orchestrator.ports.roster import Presence

_NOW: Final = "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) AS clock"
# In the order of their ids: so no two processes wait for each other.
_TELL: Final = f"""
    INSERT INTO workers AS known
        (worker_id, process, transport, about, registered_at, seen_at, until, is_draining, has_left, is_full)
    SELECT worker_id, $1, transport, about, now - registered_ago, now - seen_ago, now + good_for,
        is_draining, has_left, is_full
    FROM unnest(
            $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bigint[],
            $8::bool[], $9::bool[], $10::bool[])
        AS told (worker_id, transport, about, registered_ago, seen_ago, good_for, is_draining, has_left, is_full),
        {_NOW}
    ORDER BY worker_id
    ON CONFLICT (worker_id) DO UPDATE SET
        process = excluded.process, transport = excluded.transport, about = excluded.about,
        registered_at = CASE
            WHEN excluded.transport = 'kafka' AND NOT known.has_left AND known.until > excluded.seen_at
            THEN least(known.registered_at, excluded.registered_at) ELSE excluded.registered_at END,
        seen_at = excluded.seen_at, until = excluded.until,
        is_draining = excluded.is_draining, has_left = excluded.has_left, is_full = excluded.is_full,
        is_asked = known.is_asked AND NOT excluded.is_draining AND NOT excluded.has_left
    WHERE known.process = excluded.process OR known.seen_at <= excluded.seen_at
    RETURNING worker_id, is_asked"""
_COLUMNS: Final = (
    "worker_id, about, now - registered_at, now - seen_at, until - now, is_draining OR is_asked, has_left, is_full, "
    "process = $1"
)
_KNOWN: Final = f"""
    SELECT {_COLUMNS} FROM workers, {_NOW} WHERE seen_at > now - $2::bigint ORDER BY worker_id LIMIT $3"""
_FIND: Final = f"SELECT {_COLUMNS} FROM workers, {_NOW} WHERE worker_id = $3 AND seen_at > now - $2::bigint"
_IN_HAND: Final = f"""
    SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE jobs.state = 'leased' AND worker <> '' AND ($2::text IS NULL OR worker = $2) ORDER BY due_at LIMIT $1"""
_DRAIN: Final = f"""
    UPDATE workers SET is_asked = NOT is_draining FROM {_NOW}
    WHERE worker_id = $1 AND transport = 'http' AND NOT has_left AND until > now RETURNING worker_id"""
_FORGET: Final = f"""
    DELETE FROM workers WHERE worker_id IN (
        SELECT worker_id FROM workers, {_NOW} WHERE seen_at <= now - $1::bigint
        ORDER BY worker_id LIMIT $2 FOR UPDATE OF workers SKIP LOCKED)
    RETURNING worker_id"""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(About).decode


class PostgresRoster:
    """See `ports.roster.Roster`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._process = uuid4().hex

    async def tell(self, workers: Sequence[Presence]) -> list[str]:
        """See `ports.roster.Roster.tell`."""
        table = [
            (
                one.worker_id,
                one.about.transport.value,
                _encode(one.about),
                one.registered_ago,
                one.seen_ago,
                one.good_for,
                one.is_draining,
                one.has_left,
                one.is_full,
            )
            for one in workers
        ]
        told = await self._database.fetch(_TELL, self._process, *columns_of(table)) if table else []
        return [worker_id for worker_id, is_asked in told if is_asked]

    async def known(self, within: Duration, limit: int) -> list[Presence]:
        """See `ports.roster.Roster.known`."""
        return [_presence(row) for row in await self._database.fetch(_KNOWN, self._process, within, limit)]

    async def find(self, worker_id: str, within: Duration) -> Presence | None:
        """See `ports.roster.Roster.find`."""
        if not rows.is_text(worker_id):
            return None
        found = await self._database.fetch(_FIND, self._process, within, worker_id)
        return _presence(found[0]) if found else None

    async def in_hand(self, limit: int, worker_id: str | None = None) -> list[JobRow]:
        """See `ports.roster.Roster.in_hand`."""
        if worker_id is not None and not rows.is_text(worker_id):
            return []
        return [rows.job(row) for row in await self._database.fetch(_IN_HAND, limit, worker_id)]

    async def drain(self, worker_id: str) -> bool:
        """See `ports.roster.Roster.drain`."""
        return rows.is_text(worker_id) and bool(await self._database.fetch(_DRAIN, worker_id))

    async def forget(self, within: Duration, limit: int) -> int:
        """See `ports.roster.Roster.forget`."""
        return len(await self._database.fetch(_FORGET, within, limit))


def _presence(row: Any) -> Presence:
    worker_id, about, registered_ago, seen_ago, good_for, is_draining, has_left, is_full, is_ours = row
    return Presence(
        worker_id=worker_id,
        about=_decode(about),
        registered_ago=Duration(registered_ago),
        seen_ago=Duration(seen_ago),
        good_for=Duration(good_for),
        is_draining=is_draining,
        has_left=has_left,
        is_full=is_full,
        is_ours=is_ours,
    )
