"""The `Queries` port on SQLite: bounded reads, each on an index."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from orchestrator.adapters.sqlite import rows
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.faults import translate
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

_RUN: Final = """
    SELECT run_id, workflow_id, version, status,
        coalesce((SELECT max(step) FROM jobs WHERE jobs.run_seq = runs.seq), current_step),
        started_at, ended_at, failure, output_of, seq
    FROM runs"""
_COUNTS: Final = f"""
    WITH found AS (SELECT run_seq, step, state, input_of FROM jobs ORDER BY run_seq, step LIMIT :most),
    pending AS (
        SELECT run_seq, coalesce(input_of, {rows.INPUT_STEP}) AS input FROM found
        WHERE state = 'pending' LIMIT {PENDING_LOOKED_AT})
    SELECT 'job', state, count(*) FROM found GROUP BY state
    -- Every open run has a job, and waits when all of its jobs do.
    UNION ALL SELECT 'run', CASE WHEN waits THEN 'WAITING' ELSE 'RUNNING' END, count(*) FROM (
        SELECT min(state = 'backoff') AS waits FROM found GROUP BY run_seq) GROUP BY waits
    UNION ALL SELECT 'letters', '', count(*) FROM (SELECT seq FROM dead_letters WHERE state = 'OPEN' LIMIT :most)
    -- What queued the step: the result that is its input or, of a later attempt, an event without a payload.
    UNION ALL SELECT 'pending', '', min(max(
        coalesce((SELECT max(at) FROM history WHERE run_seq = pending.run_seq AND step = pending.input), 0),
        coalesce((SELECT max(at) FROM history WHERE run_seq = pending.run_seq AND step IS NULL), 0)))
    FROM pending"""
_PAYLOADS: Final = "SELECT step, payload, at FROM history WHERE run_seq = ? AND step IS NOT NULL ORDER BY id"
_PAYLOAD: Final = "SELECT payload FROM history WHERE run_seq = ? AND step = ?"


class SqliteQueries:
    """See `ports.queries.Queries`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = database.reader

    def report(self) -> StoreReport:
        """See `ports.queries.Queries.report`."""
        return StoreReport(bytes=self._database.sizes())

    async def count(self, most: int) -> Counts:
        """See `ports.queries.Queries.count`."""
        return Counts.of(self._all(_COUNTS, {"most": most}))

    async def run(self, run_id: RunId) -> RunRecord | None:
        """See `ports.queries.Queries.run`."""
        found = self._all(f"{_RUN} WHERE run_id = ?", (run_id,))
        return self._record(found[0], payloads=True) if found else None

    async def ended(self, run_ids: Collection[RunId]) -> list[RunId]:
        """See `ports.queries.Queries.ended`."""
        sql = "SELECT run_id FROM runs WHERE run_id = ? AND ended_at IS NOT NULL"
        return [RunId(row[0]) for run_id in run_ids for row in self._all(sql, (run_id,))]

    async def history(self, run_id: RunId) -> History:
        """See `ports.queries.Queries.history`."""
        found = self._all(
            """SELECT history.step, at, events, payload FROM history JOIN runs ON runs.seq = run_seq
            WHERE run_id = ? ORDER BY id""",
            (run_id,),
        )
        return History(
            events=[event for _, _, batch, _ in found for event in rows.decode_events(batch)],
            results=list(_results((step, payload, at) for step, at, _, payload in found)),
        )

    async def runs(
        self, which: RunFilter, limit: int, after: tuple[int, int] | None, *, payload_bytes_max: int | None
    ) -> tuple[list[RunRecord], bool]:
        """See `ports.queries.Queries.runs`.

        Each status is a walk of its own along an index; the walks are merged, so that no filter sorts what it skips.
        """
        walks = [self._walk(which, status, limit + 1, after) for status in which.statuses or (None,)]
        merged = heapq.merge(*walks, key=lambda row: (row[5], row[9]), reverse=True)
        found = list(islice(merged, limit + 1))
        page: list[RunRecord] = []
        size = 0
        for row in found[:limit]:
            if payload_bytes_max is not None and page and size > payload_bytes_max:
                return page, True
            record = self._record(row, payloads=payload_bytes_max is not None)
            size += len(record.input) + len(record.output or b"")
            page.append(record)
        return page, len(found) > limit

    def _walk(
        self, which: RunFilter, status: RunStatus | None, limit: int, after: tuple[int, int] | None
    ) -> Sequence[Any]:
        conditions: list[str] = []
        parameters: list[Any] = []
        for condition, value in (
            ("status = ?", status),
            ("workflow_id = ?", which.workflow_id),
            ("started_at >= ?", which.started_from),
            ("started_at < ?", which.started_to),
        ):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        if after is not None:
            conditions.append("(started_at, seq) < (?, ?)")
            parameters += after
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._all(f"{_RUN}{where} ORDER BY started_at DESC, seq DESC LIMIT ?", (*parameters, limit))

    async def results(self, run_ids: list[RunId]) -> dict[RunId, list[StepResult]]:
        """See `ports.queries.Queries.results`."""
        found: dict[RunId, list[StepResult]] = {}
        for run_id in run_ids:
            seqs = self._all("SELECT seq FROM runs WHERE run_id = ?", (run_id,))
            found[run_id] = list(_results(self._all(_PAYLOADS, seqs[0]))) if seqs else []
        return found

    async def workflows(self) -> list[DefinitionVersion]:
        """See `ports.queries.Queries.workflows`."""
        found = self._all(
            f"""SELECT {rows.DEFINITION_COLUMNS} FROM definitions AS latest WHERE version =
            (SELECT max(version) FROM definitions WHERE workflow_id = latest.workflow_id) ORDER BY workflow_id""",
            (),
        )
        return [rows.definition(row) for row in found]

    async def versions(self, workflow_id: str) -> list[DefinitionVersion]:
        """See `ports.queries.Queries.versions`."""
        found = self._all(
            f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions WHERE workflow_id = ? ORDER BY version DESC",
            (workflow_id,),
        )
        return [rows.definition(row) for row in found]

    async def dead_letters(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[DeadLetter], bool]:
        """See `ports.queries.Queries.dead_letters`."""
        found = self._letters(rows.LETTER_COLUMNS, which, after, "ORDER BY seq DESC", limit)
        return [rows.dead_letter(row) for row in found[:limit]], len(found) > limit

    async def dead_letter_ids(self, which: LetterFilter, limit: int, after: str | None) -> tuple[list[str], bool]:
        """See `ports.queries.Queries.dead_letter_ids`."""
        found = self._letters("id", which, after, "ORDER BY seq DESC", limit)
        return [row[0] for row in found[:limit]], len(found) > limit

    async def dead_letter_groups(self, which: LetterFilter, limit: int) -> tuple[list[LetterGroup], bool]:
        """See `ports.queries.Queries.dead_letter_groups`."""
        columns = "workflow_id, action, error_type, count(*), min(created_at), max(created_at)"
        order = "GROUP BY workflow_id, action, error_type ORDER BY count(*) DESC, workflow_id, action, error_type"
        found = self._letters(columns, which, None, order, limit)
        return [LetterGroup(*row) for row in found[:limit]], len(found) > limit

    def _letters(self, columns: str, which: LetterFilter, after: str | None, order: str, limit: int) -> list[Any]:
        """Read one letter or group more than asked for."""
        # Written out, so that the indexes of open letters are seen to fit.
        conditions = [f"state = '{which.state.value}'"]
        parameters: list[Any] = []
        for condition, value in (
            ("workflow_id = ?", which.workflow_id),
            ("action = ?", which.action),
            ("error_type = ?", which.error_type),
            ("created_at >= ?", which.created_from),
            ("created_at < ?", which.created_to),
            ("seq < (SELECT seq FROM dead_letters WHERE id = ?)", after),
        ):
            if value is not None:
                conditions.append(condition)
                parameters.append(value)
        return self._all(
            f"SELECT {columns} FROM dead_letters WHERE {' AND '.join(conditions)} {order} LIMIT ?",
            (*parameters, limit + 1),
        )

    async def dead_letter(self, letter_id: str) -> DeadLetter | None:
        """See `ports.queries.Queries.dead_letter`."""
        found = self._all(f"SELECT {rows.LETTER_COLUMNS} FROM dead_letters WHERE id = ?", (letter_id,))
        return rows.dead_letter(found[0]) if found else None

    async def details(self, run_id: RunId) -> dict[int, Json]:
        """See `ports.queries.Queries.details`."""
        found = self._all(
            """SELECT step, details FROM jobs JOIN runs ON runs.seq = run_seq
            WHERE run_id = ? AND details IS NOT NULL""",
            (run_id,),
        )
        return {step: Json(details) for step, details in found}

    def _record(self, row: Any, *, payloads: bool) -> RunRecord:
        run_id, workflow_id, version, status, current_step, started_at, ended_at, failure, output_of, seq = row
        return RunRecord(
            run_id=RunId(run_id),
            workflow_id=workflow_id,
            version=version,
            status=RunStatus(status),
            current_step=current_step,
            started_at=Time(started_at),
            ended_at=ended_at,
            input=self._payload(seq, rows.INPUT_STEP) if payloads else NULL,
            output=self._payload(seq, output_of) if payloads and output_of is not None else None,
            failure=None if failure is None else rows.decode_failure(failure),
            place=(started_at, seq),
        )

    def _payload(self, seq: int, step: int) -> Json:
        return Json(self._all(_PAYLOAD, (seq, step))[0][0])

    def _all(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise translate(error) from error


def _results(payloads: Iterable[tuple[int | None, bytes | None, int]]) -> Iterator[StepResult]:
    for step, payload, at in payloads:
        if step is not None and step != rows.INPUT_STEP and payload is not None:
            yield StepResult(step, Json(payload), Time(at))
