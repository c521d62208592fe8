"""Rows to values and back."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion, WorkflowDefinition
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time

INPUT_STEP: Final = -1
"""The ``step`` of the history row whose payload is the run's input."""

encode: Final = msgspec.json.Encoder().encode
decode_events: Final = msgspec.json.Decoder(list[Event]).decode
decode_failure: Final = msgspec.json.Decoder(Failure).decode
_decode_definition: Final = msgspec.json.Decoder(WorkflowDefinition).decode

DEFINITION_COLUMNS: Final = "body, version, digest, created_at"
JOB_COLUMNS: Final = (
    "run_id, workflow_id, version, step, attempt, action, state, input_of, alone, due_at, worker, jobs.started_at, "
    "details"
)
LETTER_COLUMNS: Final = (
    "id, run_id, workflow_id, step, action, attempt, attempts, failure, payload, worker, created_at, state, settled_at"
)


def definition(row: Any) -> DefinitionVersion:
    """Read a row of ``DEFINITION_COLUMNS``."""
    return DefinitionVersion(
        definition=_decode_definition(row[0]), version=row[1], digest=row[2], created_at=Time(row[3])
    )


def job(row: Any) -> JobRow:
    """Read a row of ``JOB_COLUMNS``."""
    return JobRow(
        run_id=RunId(row[0]),
        workflow_id=row[1],
        version=row[2],
        step=row[3],
        attempt=row[4],
        action=row[5],
        state=JobState(row[6]),
        input_of=row[7],
        alone=bool(row[8]),
        due_at=row[9],
        worker=row[10],
        started_at=row[11],
        details=row[12],
    )


def dead_letter(row: Any) -> DeadLetter:
    """Read a row of ``LETTER_COLUMNS``."""
    return DeadLetter(
        id=row[0],
        run_id=RunId(row[1]),
        workflow_id=row[2],
        step=row[3],
        action=row[4],
        attempt=row[5],
        attempts=row[6],
        failure=decode_failure(row[7]),
        payload=Json(row[8]),
        worker=row[9],
        created_at=Time(row[10]),
        state=DeadLetterState(row[11]),
        settled_at=row[12],
    )
