"""Rows to values and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion, WorkflowDefinition
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.json import Json
from orchestrator.model.run import OpenStep, RunId, RunState
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace

INPUT_STEP: Final = -1
"""The ``step`` of the history row whose payload is the run's input."""

encode: Final = msgspec.json.Encoder().encode
decode_events: Final = msgspec.json.Decoder(list[Event]).decode
_decode_failure: Final = msgspec.json.Decoder(Failure).decode
_decode_definition: Final = msgspec.json.Decoder(WorkflowDefinition).decode

DEFINITION_COLUMNS: Final = "body, version, digest, created_at"
STATE_COLUMNS: Final = (
    "seq, run_id, workflow_id, version, status, started_at, deadline, current_step, ended_at, failure, state"
)
JOB_COLUMNS: Final = (
    "run_id, workflow_id, version, step, attempt, action, jobs.state, input_of, alone, due_at, worker, "
    "jobs.started_at, details, jobs.timeout"
)
LETTER_COLUMNS: Final = (
    "id, run_id, workflow_id, step, action, attempt, attempts, failure, payload, worker, created_at, state, settled_at"
)


class StepsState(msgspec.Struct, array_like=True):
    """What a run's ``state`` column holds: the part of `RunState` that no other column says.

    Persisted: fields are only ever added at the end, with a default, here and in `OpenStep`.
    """

    open: dict[int, OpenStep]
    joins: dict[int, int]
    halted: dict[int, OpenStep]
    done: bytes
    """The bits of completed steps, lowest first: a number of a thousand bits fits no integer of MessagePack."""
    trace: Trace | None = None


_encode_steps: Final = msgspec.msgpack.Encoder().encode
_decode_steps: Final = msgspec.msgpack.Decoder(StepsState).decode
_STATUSES: Final = {str(status): status for status in RunStatus}


def encode_state(state: RunState) -> bytes:
    """Write the ``state`` column."""
    done = state.done.to_bytes((state.done.bit_length() + 7) // 8, "little")
    return _encode_steps(StepsState(state.open, state.joins, state.halted, done, state.trace))


def state(row: Any) -> RunState:
    """Read a row of ``STATE_COLUMNS``."""
    steps = _decode_steps(row[10])
    return RunState(
        run_id=row[1],
        workflow_id=row[2],
        version=row[3],
        status=_STATUSES[row[4]],
        started_at=row[5],
        deadline=row[6],
        open=steps.open,
        joins=steps.joins,
        halted=steps.halted,
        done=int.from_bytes(steps.done, "little"),
        current_step=row[7],
        ended_at=row[8],
        failure=failure(row[9]),
        trace=steps.trace,
    )


def trace(column: bytes) -> Trace | None:
    """Read the trace of a ``state`` column."""
    return _decode_steps(column).trace


def failure(column: bytes | None) -> Failure | None:
    """Read a ``failure`` column."""
    return None if column is None else _decode_failure(column)


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
        alone=row[8],
        due_at=row[9],
        worker=row[10],
        started_at=row[11],
        details=row[12],
        timeout=row[13],
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
        failure=_decode_failure(row[7]),
        payload=Json(row[8]),
        worker=row[9],
        created_at=Time(row[10]),
        state=DeadLetterState(row[11]),
        settled_at=row[12],
    )


def is_text(value: str) -> bool:
    """Whether PostgreSQL has such a text at all; what it cannot keep, it cannot have either."""
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(values: Iterable[str]) -> list[str]:
    """Leave out what PostgreSQL cannot have, so that an odd id of one caller spoils nothing for the others."""
    return [value for value in values if is_text(value)]
