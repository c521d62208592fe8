"""The rows that decisions mean, part by part of the statement that writes them (`statements`)."""

from __future__ import annotations

from typing import Any

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.recent import Known
from orchestrator.adapters.postgres.statements import Rows
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.ports.store import RunChange


class Tables:
    """The rows of one `save`, each at most once: what was decided later about the same row replaces the earlier."""

    def __init__(self) -> None:
        self._started: dict[int, RunChange] = {}
        self._moved: dict[int, tuple[Known, RunChange]] = {}
        """With what the row is."""
        self._history: list[tuple[Any, ...]] = []
        self._jobs: dict[tuple[int, int], JobRow | None] = {}
        self._letters: list[tuple[Any, ...]] = []

    def start(self, seq: int, change: RunChange) -> None:
        """Add a run's first decision."""
        self._started[seq] = change
        self._add(seq, change)

    def move(self, known: Known, change: RunChange) -> None:
        """Add a decision about a run that is there, or was started here."""
        seq = known.seq
        if seq in self._started:
            self._started[seq] = change
        else:
            earlier = self._moved.get(seq)
            self._moved[seq] = (known if earlier is None else earlier[0], change)
        self._add(seq, change)

    @property
    def has_letters(self) -> bool:
        """Whether a step has become a dead letter."""
        return bool(self._letters)

    def _add(self, seq: int, change: RunChange) -> None:
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

    def written(self) -> dict[str, Rows]:
        """Give the rows of each part that has any."""
        advanced: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        # Rows are locked as they are written, in the same order by every process, so that no two wait for each other.
        for known, change in sorted(self._moved.values(), key=_run_id):
            state, before = change.state, known.state
            if before.is_open and state.status is before.status and state.deadline == before.deadline:
                advanced.append((known.seq, state.current_step, rows.encode_state(state), known.written_by))
            else:
                end = (known.seq, state.status, state.current_step, state.ended_at, state.deadline)
                moved.append((*end, *_ending(change), known.written_by))
        first_due = next((row.due_at for row in self._jobs.values() if row is not None), None)
        first: list[tuple[Any, ...]] = []
        queued: list[tuple[Any, ...]] = []
        replaced: list[tuple[Any, ...]] = []
        for (seq, step), row in self._jobs.items():
            if row is None:
                continue
            if row.state is JobState.PENDING and not self._is_open(seq, step):
                is_plain = not row.alone and row.details is None and row.timeout is None
                if row.attempt == 1 and is_plain and row.due_at == first_due:
                    first.append((seq, step, row.action, row.input_of))
                else:
                    place = (seq, step, row.attempt, row.action, row.input_of, row.alone)
                    queued.append((*place, row.details, row.due_at, row.timeout))
            else:
                replaced.append(_job_row(seq, row))
        parts = {
            "started": Rows([_run_row(seq, change) for seq, change in self._started.items()]),
            "advanced": Rows(advanced),
            "moved": Rows(moved),
            "history": Rows(self._history),
            "settled": Rows([key for key, row in self._jobs.items() if row is None]),
            "first": Rows(first, (first_due,)),
            "queued": Rows(queued),
            "replaced": Rows(replaced),
            "letters": Rows(self._letters),
        }
        return {name: part for name, part in parts.items() if part.rows}

    def _is_open(self, seq: int, step: int) -> bool:
        """Whether the step has a row: those that are open have one, and no other."""
        known = self._moved.get(seq)
        return known is not None and step in known[0].state.open


def _run_id(moved: tuple[Known, RunChange]) -> RunId:
    return moved[1].state.run_id


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
