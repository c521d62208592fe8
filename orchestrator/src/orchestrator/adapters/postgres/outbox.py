"""The `Outbox` port on PostgreSQL: each call is one statement, whatever its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.statements import columns_of, key_is
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.job import JobRow
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace
from orchestrator.ports.broker import Sent, Taken
from orchestrator.ports.outbox import Beat

# What is only read is looked up row by row, whatever the planner was told of the table's size: see `statements`.
_SEQ = "CROSS JOIN LATERAL (SELECT seq FROM runs WHERE runs.run_id = new.run_id LIMIT 1) AS run"

# Whoever changes rows of jobs holds the locks of their runs, taken in one order: so no two wait for each other.
# What was locked is asked for as a value, row by row: a look into a hash table. As a join it would be a loop over all
# that was locked for each row, since sessions have no other joins. And state || '' is in no index: a job is found by
# its key, not among all that are in its state. Either way a few thousand rows would take seconds, with the locks held.
_NOTE_SENT = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::text[])
            AS new (run_id, step, attempt, partition, "offset", topic)),
    held AS MATERIALIZED (
        SELECT run_id FROM runs WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED),
    ours AS MATERIALIZED (SELECT new.*, seq, run_id IN (SELECT run_id FROM held) AS is_held FROM new {_SEQ}),
    noted AS (
        UPDATE jobs SET state = 'sent', due_at = NULL, partition = ours.partition, "offset" = ours."offset",
            topic = ours.topic
        FROM ours
        WHERE is_held AND {key_is("jobs.run_seq", "ours.seq")} AND jobs.step = ours.step
            AND jobs.attempt = ours.attempt AND jobs.state || '' = 'pending')
    SELECT run_id FROM held UNION ALL
    SELECT run_id FROM new WHERE (SELECT seq FROM runs WHERE runs.run_id = new.run_id LIMIT 1) IS NULL"""
# Rows that another process has in hand are left to it.
_UNSENT = f"""
    WITH due AS MATERIALIZED (
        SELECT run_seq, step FROM jobs WHERE state = 'pending' AND due_at IS NOT NULL AND due_at <= $1
        ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED),
    runs AS MATERIALIZED (
        SELECT due.run_seq, due.step AS due_step, run.* FROM due CROSS JOIN LATERAL (
            SELECT run_id, workflow_id, version FROM runs WHERE runs.seq = due.run_seq LIMIT 1) AS run)
    UPDATE jobs SET due_at = $2 FROM runs
    WHERE {key_is("jobs.run_seq", "runs.run_seq")} AND jobs.step = due_step AND jobs.state || '' = 'pending'
    RETURNING {rows.JOB_COLUMNS}"""
_PASSED = f"""
    SELECT {rows.JOB_COLUMNS}
    FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) AS taken (by, topic, at, before)
    CROSS JOIN LATERAL (
        SELECT * FROM jobs WHERE state = 'sent' {{which}} AND jobs.action = taken.by AND jobs.topic = taken.topic
            AND jobs.partition = taken.at AND jobs."offset" < taken.before ORDER BY jobs."offset" LIMIT $5) AS jobs
    JOIN runs ON runs.seq = jobs.run_seq LIMIT $5"""
_PASSED_BY_BEATING = _PASSED.format(which="")
_PASSED_BY_SILENT = _PASSED.format(which="AND jobs.timeout IS NOT NULL")
_MISPLACED = f"""
    WITH found AS MATERIALIZED (
        SELECT run_seq, step FROM unnest($1::text[], $2::text[]) AS now_at (action, topic)
        CROSS JOIN LATERAL (
            SELECT run_seq, step FROM jobs WHERE jobs.state = 'sent' AND jobs.action = now_at.action
                AND jobs.topic <> now_at.topic LIMIT $4 FOR UPDATE SKIP LOCKED) AS jobs LIMIT $4)
    UPDATE jobs SET state = 'pending', due_at = $3 FROM found
    WHERE {key_is("jobs.run_seq", "found.run_seq")} AND jobs.step = found.step
    RETURNING jobs.step"""
_BEYOND = """
    SELECT runs.run_id, found.step, found.attempt, found.partition, found."offset", found.topic
    FROM unnest($1::text[], $2::text[], $3::int[], $4::bigint[]) AS ended (by, topic, at, before)
    CROSS JOIN LATERAL (
        SELECT * FROM jobs WHERE state = 'sent' AND jobs.action = ended.by AND jobs.topic = ended.topic
            AND jobs.partition = ended.at AND jobs."offset" >= ended.before
        ORDER BY jobs."offset" DESC LIMIT $5) AS found
    JOIN runs ON runs.seq = found.run_seq ORDER BY found."offset" DESC LIMIT $5"""
_SEND_AGAIN = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::int[], $5::bigint[], $6::text[])
            AS new (run_id, step, attempt, partition, "offset", topic)),
    held AS MATERIALIZED (
        SELECT run_id FROM runs WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR NO KEY UPDATE),
    ours AS MATERIALIZED (SELECT new.*, seq, run_id IN (SELECT run_id FROM held) AS is_held FROM new {_SEQ})
    UPDATE jobs SET state = 'pending', due_at = $7
    FROM ours AS lost
    WHERE is_held AND {key_is("jobs.run_seq", "lost.seq")} AND jobs.step = lost.step AND jobs.attempt = lost.attempt
        AND jobs.state || '' = 'sent'
        AND jobs.topic = lost.topic AND jobs.partition = lost.partition AND jobs."offset" = lost."offset" """
_RENEW = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::text[], $5::bigint[], $6::bytea[])
            WITH ORDINALITY AS new (run_id, step, attempt, worker, due_at, details, place)),
    held AS MATERIALIZED (
        SELECT run_id FROM runs WHERE run_id = ANY($1::text[]) ORDER BY run_id FOR NO KEY UPDATE),
    ours AS MATERIALIZED (SELECT new.*, seq, run_id IN (SELECT run_id FROM held) AS is_held FROM new {_SEQ})
    UPDATE jobs SET worker = ours.worker, details = coalesce(ours.details, jobs.details),
        due_at = least(ours.due_at, jobs.started_at + jobs.timeout)
    FROM ours
    WHERE is_held AND {key_is("jobs.run_seq", "ours.seq")} AND jobs.step = ours.step AND jobs.attempt = ours.attempt
        AND jobs.state || '' = 'leased' AND (jobs.worker = ours.worker OR coalesce(jobs.worker, '') = '')
    RETURNING ours.place"""
_EXPIRED = f"""
    SELECT {rows.JOB_COLUMNS} FROM jobs JOIN runs ON runs.seq = jobs.run_seq
    WHERE jobs.state = 'leased' AND due_at <= $1 ORDER BY due_at LIMIT $2"""
_UNPUBLISHED = f"""
    UPDATE dead_letters SET due_at = $2 WHERE seq IN (
        SELECT seq FROM dead_letters WHERE due_at IS NOT NULL AND due_at <= $1
        ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
    RETURNING {rows.LETTER_COLUMNS}, partition, "offset", topic,
        (SELECT runs.state FROM runs WHERE runs.run_id = dead_letters.run_id) AS run_state"""
_PLACE_OF = 'SELECT run_id, step, attempt, partition, "offset", topic FROM dead_letters WHERE id = $1'
_NOTE_PUBLISHED = "UPDATE dead_letters SET due_at = NULL WHERE id = ANY($1::text[])"
_ACTIONS = """
    WITH RECURSIVE found AS (
        (SELECT action FROM jobs WHERE state = 'sent' ORDER BY action LIMIT 1)
        UNION ALL
        SELECT (SELECT action FROM jobs WHERE state = 'sent' AND jobs.action > found.action ORDER BY action LIMIT 1)
        FROM found WHERE found.action IS NOT NULL)
    SELECT action FROM found WHERE action IS NOT NULL"""


class PostgresOutbox:
    """See `ports.outbox.Outbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note_sent(self, sent: Sequence[Sent]) -> set[RunId]:
        """See `ports.outbox.Outbox.note_sent`."""
        table = [(one.run_id, one.step, one.attempt, one.partition, one.offset, one.topic) for one in sent]
        return {RunId(row[0]) for row in await self._run(_NOTE_SENT, table)}

    async def unsent(self, now: Time, again: Time, limit: int) -> list[JobRow]:
        """See `ports.outbox.Outbox.unsent`."""
        return [rows.job(row) for row in await self._database.fetch(_UNSENT, now, again, limit)]

    async def actions(self) -> list[str]:
        """See `ports.outbox.Outbox.actions`."""
        return [row[0] for row in await self._database.fetch(_ACTIONS)]

    async def beyond(self, ends: Mapping[tuple[str, int], int], limit: int) -> list[Sent]:
        """See `ports.outbox.Outbox.beyond`."""
        actions = await self.actions()
        table = [(action, *place, end) for action in actions for place, end in ends.items()]
        found = await self._database.fetch(_BEYOND, *columns_of(table), limit) if table else []
        return [Sent(*row) for row in found]

    async def send_again(self, lost: Sequence[Sent], now: Time) -> None:
        """See `ports.outbox.Outbox.send_again`."""
        table = [(one.run_id, one.step, one.attempt, one.partition, one.offset, one.topic) for one in lost]
        if table:
            await self._database.fetch(_SEND_AGAIN, *columns_of(table), now)

    async def passed(self, taken: Sequence[Taken], limit: int) -> list[JobRow]:
        """See `ports.outbox.Outbox.passed`."""
        found: list[JobRow] = []
        for sql, beats in ((_PASSED_BY_BEATING, True), (_PASSED_BY_SILENT, False)):
            table = [(one.action, one.topic, one.partition, one.before) for one in taken if one.beats is beats]
            if table:
                found += map(rows.job, await self._database.fetch(sql, *columns_of(table), limit))
        return found

    async def misplaced(self, routes: Mapping[str, str], now: Time, limit: int) -> int:
        """See `ports.outbox.Outbox.misplaced`."""
        table = [(action, routes.get(action, "")) for action in await self.actions()]
        return len(await self._database.fetch(_MISPLACED, *columns_of(table), now, limit)) if table else 0

    async def renew(self, beats: Sequence[Beat], now: Time) -> list[bool]:
        """See `ports.outbox.Outbox.renew`."""
        table = [(beat.run_id, beat.step, beat.attempt, beat.worker, now + beat.lease, beat.details) for beat in beats]
        renewed = {row[0] for row in await self._run(_RENEW, table)}
        return [place in renewed for place in range(1, len(beats) + 1)]

    async def expired(self, now: Time, limit: int) -> list[JobRow]:
        """See `ports.outbox.Outbox.expired`."""
        return [rows.job(row) for row in await self._database.fetch(_EXPIRED, now, limit)]

    async def unpublished(self, now: Time, again: Time, limit: int) -> list[tuple[DeadLetter, Sent | None]]:
        """See `ports.outbox.Outbox.unpublished`."""
        found = await self._database.fetch(_UNPUBLISHED, now, again, limit)
        return [(replace(rows.dead_letter(row), trace=_trace(row)), _sent(row)) for row in found]

    async def place_of(self, letter_id: str) -> Sent | None:
        """See `ports.outbox.Outbox.place_of`."""
        found = await self._database.fetch(_PLACE_OF, letter_id)
        return _sent(found[0]) if found else None

    async def note_published(self, letters: Sequence[str]) -> None:
        """See `ports.outbox.Outbox.note_published`."""
        await self._database.fetch(_NOTE_PUBLISHED, list(letters))

    async def _run(self, sql: str, table: list[tuple[Any, ...]]) -> list[Any]:
        """Run a statement over rows; those that PostgreSQL cannot have name nothing that it has."""
        known = [row if rows.is_text(row[0]) else ("", *row[1:]) for row in table]
        return await self._database.fetch(sql, *columns_of(known)) if known else []


def _trace(row: Any) -> Trace | None:
    return None if row["run_state"] is None else rows.trace(row["run_state"])


def _sent(row: Any) -> Sent | None:
    if row["offset"] is None:
        return None
    return Sent(RunId(row["run_id"]), row["step"], row["attempt"], row["partition"], row["offset"], row["topic"])
