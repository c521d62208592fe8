"""The `Queries` port on PostgreSQL: bounded reads, each one statement on an index, so that each is consistent."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.database import Database
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.json import NULL, Json
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.ports.queries import (
    PENDING_LOOKED_AT,
    Counts,
    History,
    LetterFilter,
    LetterGroup,
    RunFilter,
    RunRecord,
    StepResult,
    StoreReport,
)

_COLUMNS: Final = "run_id, workflow_id, version, status, current_step, started_at, ended_at, failure, output_of, seq"
_NEWEST_FIRST: Final = "ORDER BY started_at DESC, seq DESC"
_NEWEST_OF_WORKFLOW_FIRST: Final = "ORDER BY started_at DESC NULLS LAST, seq DESC"
"""The same, in the words of the index of a workflow's runs."""
_INPUT: Final = f"LEFT JOIN history AS input ON input.run_seq = page.seq AND input.step = {rows.INPUT_STEP}"
_OUTPUT: Final = "LEFT JOIN history AS output ON output.run_seq = page.seq AND output.step = page.output_of"
_RUN: Final = f"""
    SELECT page.*, 1 AS found, input.payload, output.payload
    FROM (SELECT {_COLUMNS} FROM runs WHERE run_id = $1) AS page {_INPUT} {_OUTPUT}"""
_ENDED: Final = "SELECT run_id FROM runs WHERE run_id = ANY($1::text[]) AND ended_at IS NOT NULL"
_HISTORY: Final = """
    SELECT history.step, at, events, payload FROM runs JOIN history ON history.run_seq = runs.seq
    WHERE run_id = $1 ORDER BY id"""
_RESULTS: Final = """
    SELECT run_id, history.step, payload, at FROM runs JOIN history ON history.run_seq = runs.seq
    WHERE run_id = ANY($1::text[]) AND history.step >= 0 ORDER BY id"""
_WORKFLOWS: Final = f"""
    SELECT DISTINCT ON (workflow_id) {rows.DEFINITION_COLUMNS} FROM definitions ORDER BY workflow_id, version DESC"""
_VERSIONS: Final = f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = $1 ORDER BY version DESC"
_LETTER: Final = f"SELECT {rows.LETTER_COLUMNS} FROM dead_letters WHERE id = $1"
_COUNTS: Final = f"""
    WITH found AS MATERIALIZED (SELECT run_seq, step, state, input_of FROM jobs ORDER BY run_seq, step LIMIT $1),
    pending AS (
        SELECT run_seq, coalesce(input_of, {rows.INPUT_STEP}) AS input FROM found
        WHERE state = 'pending' LIMIT {PENDING_LOOKED_AT})
    SELECT 'job', state, count(*) FROM found GROUP BY state
    -- Every open run has a job, and waits when all of its jobs do.
    UNION ALL SELECT 'run', CASE WHEN waits THEN 'WAITING' ELSE 'RUNNING' END, count(*) FROM (
        SELECT bool_and(state = 'backoff') AS waits FROM found GROUP BY run_seq) AS open GROUP BY waits
    UNION ALL SELECT 'letters', '', count(*) FROM (
        SELECT seq FROM dead_letters WHERE state = 'OPEN' ORDER BY seq LIMIT $1) AS letters
    -- What queued the step: the result that is its input or, of a later attempt, an event without a payload.
    UNION ALL SELECT 'pending', '', min(greatest(
        (SELECT max(at) FROM history WHERE history.run_seq = pending.run_seq AND history.step = pending.input),
        (SELECT max(at) FROM history WHERE history.run_seq = pending.run_seq AND history.step IS NULL)))
    FROM pending"""
_DETAILS: Final = """
    SELECT step, details FROM runs JOIN jobs ON jobs.run_seq = runs.seq WHERE run_id = $1 AND details IS NOT NULL"""


class _Parameters:
    """The values of a statement that is put together; each is written down as the place it has."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any) -> str:
        self.values.append(value)
        return f"${len(self.values)}"


class PostgresQueries:
    """See `ports.queries.Queries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def report(self) -> StoreReport:
        """See `ports.queries.Queries.report`."""
        return StoreReport(connections=self._database.connections)

    async def count(self, most: int) -> Counts:
        """See `ports.queries.Queries.count`."""
        return Counts.of(await self._database.fetch(_COUNTS, most))

    async def run(self, run_id: RunId) -> RunRecord | None:
        """See `ports.queries.Queries.run`."""
        found = await self._by_text(_RUN, run_id)
        return _record(found[0], payloads=True) if found else None

    async def ended(self, run_ids: Collection[RunId]) -> list[RunId]:
        """See `ports.queries.Queries.ended`."""
        return [RunId(row[0]) for row in await self._database.fetch(_ENDED, rows.texts(run_ids))]

    async def history(self, run_id: RunId) -> History:
        """See `ports.queries.Queries.history`."""
        found = await self._by_text(_HISTORY, run_id)
        return History(
            events=[event for row in found for event in rows.decode_events(row[2])],
            results=[
                StepResult(step, Json(payload), Time(at))
                for step, at, _, payload in found
                if step is not None and step != rows.INPUT_STEP
            ],
        )

    async def runs(
        self, which: RunFilter, limit: int, after: tuple[int, int] | None, *, payload_bytes_max: int | None
    ) -> tuple[list[RunRecord], bool]:
        """See `ports.queries.Queries.runs`."""
        if which.workflow_id is not None and not rows.is_text(which.workflow_id):
            return [], False
        parameters = _Parameters()
        page = _page(which, limit + 1, after, parameters)
        payloads = payload_bytes_max is not None
        sql = _with_payloads(page, parameters.add(payload_bytes_max)) if payloads else page
        found = await self._database.fetch(sql, *parameters.values)
        more = len(found) > limit or (payloads and bool(found) and found[0]["found"] > len(found))
        return [_record(row, payloads=payloads) for row in found[:limit]], more

    async def results(self, run_ids: list[RunId]) -> dict[RunId, list[StepResult]]:
        """See `ports.queries.Queries.results`."""
        found: dict[RunId, list[StepResult]] = {run_id: [] for run_id in run_ids}
        for run_id, step, payload, at in await self._database.fetch(_RESULTS, rows.texts(run_ids)):
            found[run_id].append(StepResult(step, Json(payload), Time(at)))
        return found

    async def workflows(self) -> list[DefinitionVersion]:
        """See `ports.queries.Queries.workflows`."""
        return [rows.definition(row) for row in await self._database.fetch(_WORKFLOWS)]

    async def versions(self, workflow_id: str) -> list[DefinitionVersion]:
        """See `ports.queries.Queries.versions`."""
        return [rows.definition(row) for row in await self._by_text(_VERSIONS, workflow_id)]

    async def dead_letters(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[DeadLetter], bool]:
        """See `ports.queries.Queries.dead_letters`."""
        found = await self._letters(rows.LETTER_COLUMNS, which, after, "ORDER BY seq DESC", limit)
        return [rows.dead_letter(row) for row in found[:limit]], len(found) > limit

    async def dead_letter_ids(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[str], bool]:
        """See `ports.queries.Queries.dead_letter_ids`."""
        found = await self._letters("id", which, after, "ORDER BY seq DESC", limit)
        return [row[0] for row in found[:limit]], len(found) > limit

    async def dead_letter_groups(self, which: LetterFilter, limit: int) -> tuple[list[LetterGroup], bool]:
        """See `ports.queries.Queries.dead_letter_groups`."""
        columns = "workflow_id, action, error_type, count(*), min(created_at), max(created_at)"
        order = "GROUP BY workflow_id, action, error_type ORDER BY count(*) DESC, workflow_id, action, error_type"
        found = await self._letters(columns, which, None, order, limit)
        return [LetterGroup(*row) for row in found[:limit]], len(found) > limit

    async def _letters(self, columns: str, which: LetterFilter, after: str | None, order: str, limit: int) -> list[Any]:
        """Read one letter or group more than asked for."""
        # Written out, so that the indexes of open letters are seen to fit.
        conditions = [f"state = '{which.state.value}'"]
        parameters = _Parameters()
        for condition, value in (
            ("workflow_id = {}", which.workflow_id),
            ("action = {}", which.action),
            ("error_type = {}", which.error_type),
            ("created_at >= {}", which.created_from),
            ("created_at < {}", which.created_to),
            ("seq < (SELECT seq FROM dead_letters WHERE id = {})", after),
        ):
            if value is not None:
                if isinstance(value, str) and not rows.is_text(value):
                    return []
                conditions.append(condition.format(parameters.add(value)))
        return await self._database.fetch(
            f"SELECT {columns} FROM dead_letters WHERE {' AND '.join(conditions)} {order} "
            f"LIMIT {parameters.add(limit + 1)}",
            *parameters.values,
        )

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """See `ports.queries.Queries.dead_letter`."""
        found = await self._by_text(_LETTER, letter_id)
        return rows.dead_letter(found[0]) if found else None

    async def details(self, run_id: RunId) -> dict[int, Json]:
        """See `ports.queries.Queries.details`."""
        return {step: Json(details) for step, details in await self._by_text(_DETAILS, run_id)}

    async def _by_text(self, sql: str, text: str) -> list[Any]:
        return await self._database.fetch(sql, text) if rows.is_text(text) else []


def _page(which: RunFilter, limit: int, after: tuple[int, int] | None, parameters: _Parameters) -> str:
    """Write the statement for a page without payloads.

    Each status is a walk of its own along the index for it; the walks are merged, so that no filter sorts what it
    skips.
    """
    order = _NEWEST_FIRST if which.workflow_id is None else _NEWEST_OF_WORKFLOW_FIRST
    conditions = [
        condition.format(parameters.add(value))
        for condition, value in (
            ("workflow_id = {}", which.workflow_id),
            ("started_at >= {}", which.started_from),
            ("started_at < {}", which.started_to),
        )
        if value is not None
    ]
    if after is not None:
        conditions.append(f"(started_at, seq) < ({parameters.add(after[0])}, {parameters.add(after[1])})")
    most = parameters.add(limit)
    every = [
        " AND ".join([*conditions, f"status = {parameters.add(status)}"]) for status in which.statuses or RunStatus
    ]
    walks = [f"(SELECT {_COLUMNS} FROM runs WHERE {condition} {order} LIMIT {most})" for condition in every]
    return f"SELECT * FROM ({' UNION ALL '.join(walks)}) AS walks {order} LIMIT {most}"


def _with_payloads(page: str, bytes_max: str) -> str:
    """Write the statement that ends a page once its payloads are too large; by their sizes, so that none is read to be
    left out."""
    return f"""
        SELECT page.*, input.payload, output.payload FROM (
            SELECT page.*, count(*) OVER () AS found, sum(
                coalesce(octet_length(input.payload), 0) + coalesce(octet_length(output.payload), 0)
            ) OVER ({_NEWEST_FIRST} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes
            FROM ({page}) AS page {_INPUT} {_OUTPUT}) AS page {_INPUT} {_OUTPUT}
        WHERE coalesce(page.bytes, 0) <= {bytes_max} {_NEWEST_FIRST}"""


def _record(row: Any, *, payloads: bool) -> RunRecord:
    run_id, workflow_id, version, status, current_step, started_at, ended_at, failure, _, seq, *_ = row
    output = row[-1] if payloads else None
    return RunRecord(
        run_id=RunId(run_id),
        workflow_id=workflow_id,
        version=version,
        status=RunStatus(status),
        current_step=current_step,
        started_at=Time(started_at),
        ended_at=ended_at,
        input=Json(row[-2]) if payloads else NULL,
        output=None if output is None else Json(output),
        failure=rows.failure(failure),
        place=(started_at, seq),
    )
