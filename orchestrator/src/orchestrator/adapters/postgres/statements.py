"""The one statement that makes a batch of decisions durable.

Every part is a table's share: rows come in as one array a column, so that a part costs the same round trip whatever
its length. All parts see the database as it was before the statement, in no order: no row may be in two of them.
A statement is put together of the parts that have rows, and prepared once for each such choice.

A row that is to be changed is found by `key_is`, not by equality; what is only read, by a subquery with a limit. A
plan is made once, and may be made in a quiet hour, when `jobs` is empty. To a planner that finds it so, a walk over all
of its index for all that came in looks as cheap as a look for each; it goes by that plan in the rush hour too, until
the table is analyzed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from orchestrator.adapters.postgres import rows


class Part(NamedTuple):
    """One table's share: the types of its columns, and what is done with the rows, which ``{rows}`` stands for."""

    types: tuple[str, ...]
    sql: str
    then: str = ""
    """What is done with what it returns; it goes by its name."""
    scalars: tuple[str, ...] = ()
    """The types of what is the same for all rows, which ``{0}``, ``{1}``, ... stand for."""
    is_counted: bool = False
    """Whether it returns a row for each of its rows, unless something is not as it was when it was decided from."""


class Rows(NamedTuple):
    """What a part is given."""

    rows: list[tuple[Any, ...]]
    scalars: tuple[Any, ...] = ()


def key_is(column: str, value: str) -> str:
    """Compare with an array of one value: for such a join PostgreSQL knows no plan but a look for each value.

    What is equal could be merged, so that the planner considers reading an index in its order from end to end.
    """
    return f"{column} = ANY(ARRAY[{value}])"


_RUN: Final = "seq, run_id, workflow_id, version, status, current_step, started_at, ended_at, deadline, output_of"
_JOB: Final = "run_seq, step, attempt, action, state, input_of, alone, due_at, worker, started_at, details, timeout"
_IS_TAKEN: Final = "excluded.state = 'leased' AND jobs.attempt = excluded.attempt"

PARTS: Final = {
    "started": Part(
        ("bigint", "text", "text", "int", "text", "int", "bigint", "bigint", "bigint", "int", "bytea", "bytea"),
        f"INSERT INTO runs ({_RUN}, failure, state) SELECT * FROM unnest({{rows}})",
    ),
    # No column of an index: the new version stays on the page of the old one, and no index is written.
    "advanced": Part(
        ("bigint", "int", "bytea", "xid"),
        f"""UPDATE runs SET current_step = new.current_step, state = new.state
        FROM unnest({{rows}}) AS new (seq, current_step, state, written_by)
        WHERE {key_is("runs.seq", "new.seq")} AND runs.xmin = written_by RETURNING 1""",
        is_counted=True,
    ),
    "moved": Part(
        ("bigint", "text", "int", "bigint", "bigint", "int", "bytea", "bytea", "xid"),
        f"""UPDATE runs SET status = new.status, current_step = new.current_step, ended_at = new.ended_at,
            deadline = new.deadline, output_of = new.output_of, failure = new.failure, state = new.state
        FROM unnest({{rows}})
            AS new (seq, status, current_step, ended_at, deadline, output_of, failure, state, written_by)
        WHERE {key_is("runs.seq", "new.seq")} AND runs.xmin = written_by RETURNING 1""",
        is_counted=True,
    ),
    # What was decided from memory alone and changes nothing.
    "unchanged": Part(
        ("bigint", "xid"),
        """SELECT 1 FROM unnest({rows}) AS new (seq, written_by) CROSS JOIN LATERAL (
            SELECT 1 FROM runs WHERE runs.seq = new.seq AND runs.xmin = written_by LIMIT 1) AS one""",
        is_counted=True,
    ),
    "latest": Part(
        ("text", "int", "text"),
        """SELECT 1 FROM unnest({rows}) AS new (id, version, digest) CROSS JOIN LATERAL (
            SELECT version, digest FROM definitions WHERE workflow_id = new.id ORDER BY version DESC LIMIT 1) AS last
        WHERE last.version = new.version AND last.digest = new.digest""",
        is_counted=True,
    ),
    # Numbered in the order of the arrays, which is the order of the decisions. A step whose result it has is over:
    # its job goes without being named once more.
    "history": Part(
        ("bigint", "int", "bigint", "bytea", "bytea"),
        """INSERT INTO history (run_seq, step, at, events, payload)
        SELECT run_seq, step, at, events, payload
        FROM unnest({rows}) WITH ORDINALITY AS new (run_seq, step, at, events, payload, place) ORDER BY place
        RETURNING run_seq, step""",
        f"""DELETE FROM jobs USING history AS done
        WHERE {key_is("jobs.run_seq", "done.run_seq")} AND jobs.step = done.step""",
    ),
    "settled": Part(
        ("bigint", "int"),
        f"""DELETE FROM jobs USING unnest({{rows}}) AS gone (run_seq, step)
        WHERE {key_is("jobs.run_seq", "gone.run_seq")} AND jobs.step = gone.step""",
    ),
    # The way of nearly every job. A step that was not open has no row: to look for one would cost half as much again.
    # What a first attempt has no need of is not sent along: every value of an array costs a microsecond.
    "first": Part(
        ("bigint", "int", "text", "int"),
        """INSERT INTO jobs (state, attempt, alone, due_at, run_seq, step, action, input_of)
        SELECT 'pending', 1, false, {0}, new.* FROM unnest({rows}) AS new""",
        scalars=("bigint",),
    ),
    "queued": Part(
        ("bigint", "int", "int", "text", "int", "boolean", "bytea", "bigint", "bigint"),
        """INSERT INTO jobs (state, run_seq, step, attempt, action, input_of, alone, details, due_at, timeout)
        SELECT 'pending', new.* FROM unnest({rows}) AS new""",
    ),
    "replaced": Part(
        (
            *("bigint", "int", "int", "text", "text", "int"),
            *("boolean", "bigint", "text", "bigint", "bytea", "bigint"),
        ),
        f"""INSERT INTO jobs ({_JOB}) SELECT * FROM unnest({{rows}})
        ON CONFLICT (run_seq, step) DO UPDATE SET attempt = excluded.attempt, action = excluded.action,
            state = excluded.state, input_of = excluded.input_of, alone = excluded.alone, due_at = excluded.due_at,
            worker = excluded.worker, started_at = excluded.started_at, details = excluded.details,
            timeout = excluded.timeout,
            -- A job that was taken is still known by where it was.
            partition = CASE WHEN {_IS_TAKEN} THEN jobs.partition END,
            "offset" = CASE WHEN {_IS_TAKEN} THEN jobs."offset" END""",
    ),
    "letters": Part(
        (
            *("text", "text", "text", "int", "text", "int", "int"),
            *("bytea", "bytea", "text", "bigint", "text", "bigint", "bigint", "text"),
        ),
        f"""INSERT INTO dead_letters ({rows.LETTER_COLUMNS}, due_at, error_type, partition, "offset", topic)
        SELECT new.*, jobs.partition, jobs."offset", coalesce(jobs.topic, '')
        FROM unnest({{rows}}) AS new (id, run_id, workflow_id, step, action, attempt)
        LEFT JOIN LATERAL (SELECT seq FROM runs WHERE runs.run_id = new.run_id LIMIT 1) AS run ON true
        LEFT JOIN LATERAL (
            SELECT * FROM jobs WHERE run_seq = run.seq AND jobs.step = new.step AND jobs.attempt = new.attempt LIMIT 1
        ) AS jobs ON true""",
    ),
    # A key that another transaction has written and not yet committed is waited for; in order of the keys, so that no
    # two wait for each other.
    "keys": Part(
        ("text", "bytea", "text", "bigint"),
        """INSERT INTO idempotency AS known (key, fingerprint, run_id, expires_at) SELECT * FROM unnest({rows})
        ON CONFLICT (key) DO UPDATE
        SET fingerprint = excluded.fingerprint, run_id = excluded.run_id, expires_at = excluded.expires_at
        WHERE known.expires_at <= {0} RETURNING 1""",
        scalars=("bigint",),
        is_counted=True,
    ),
}
GUARDS: Final = frozenset({"unchanged", "latest"})
"""Parts that write nothing."""


@cache
def statement(names: tuple[str, ...]) -> str:
    """Put the statement for these parts together; `parameters` gives its parameters.

    Its answer is the number of the transaction that wrote, or an end of that transaction as a serialization failure,
    when something is no longer as it was when it was decided from.
    """
    written: list[str] = []
    counts: list[str] = []
    number = 0
    for name in names:
        part = PARTS[name]
        columns = ", ".join(f"${place}::{kind}[]" for place, kind in enumerate(part.types, number + 1))
        number += len(part.types)
        scalars = [f"${place}::{kind}" for place, kind in enumerate(part.scalars, number + 1)]
        number += len(scalars)
        written.append(f"{name} AS ({part.sql.format(*scalars, rows=columns)})")
        if part.then:
            written.append(f"after_{name} AS ({part.then})")
        if part.is_counted:
            counts.append(f"(SELECT count(*) FROM {name})")
    answer = "NULL::xid" if GUARDS.issuperset(names) else "pg_current_xact_id()::xid"
    if counts:
        answer = f"CASE WHEN {' + '.join(counts)} = ${number + 1}::bigint THEN {answer} ELSE contended() END"
    return f"WITH {', '.join(written)} SELECT {answer}"


def parameters(parts: Mapping[str, Rows]) -> list[Any]:
    """Give the parameters of the statement for these parts: columns, scalars, and how many rows are counted."""
    found: list[Any] = []
    counted = 0
    for name, part in parts.items():
        found += columns_of(part.rows)
        found += part.scalars
        if PARTS[name].is_counted:
            counted += len(part.rows)
    return [*found, counted] if counted else found


def columns_of(table: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Turn rows into columns."""
    return list(zip(*table, strict=True))
