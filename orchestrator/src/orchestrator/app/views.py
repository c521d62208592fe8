"""What the API shows of a run, made from its history: the attempts and the times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.app.lease import Lease
from orchestrator.app.workers import WorkerStatus
from orchestrator.engine.plan import Plan
from orchestrator.model import event as events
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import DefinitionVersion, to_body
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import JobRow, job_id
from orchestrator.model.json import Json
from orchestrator.model.status import AttemptStatus, StepStatus
from orchestrator.model.times import Time, iso
from orchestrator.model.view import (
    AttemptView,
    DeadLetterView,
    ErrorView,
    EventView,
    JobInHand,
    LetterGroupView,
    RunInList,
    RunSummary,
    RunView,
    StepResultView,
    StepView,
    WorkerView,
    WorkflowView,
)
from orchestrator.model.worker import About
from orchestrator.ports.queries import History, LetterGroup, RunRecord, StepResult

LeaseOf = Callable[[int], Lease | None]
"""Finds who has a step now, by step index."""


def error_view(failure: Failure | None) -> ErrorView | None:
    """Show an error."""
    if failure is None:
        return None
    return ErrorView(type=failure.type, message=failure.message, stack=failure.stack or None)


def run_summary(record: RunRecord) -> RunSummary:
    """Show a run without payloads."""
    return RunSummary(**_summary(record))


def run_in_list(record: RunRecord, results: Iterable[StepResult], plan: Plan) -> RunInList:
    """Show a run with its payloads."""
    return RunInList(
        **_summary(record),
        input=Raw(record.input),
        final_output=None if record.output is None else Raw(record.output),
        step_results=_results(results, plan),
    )


def run_view(
    record: RunRecord,
    history: History,
    plan: Plan,
    lease_of: LeaseOf,
    details: dict[int, Json],
) -> RunView:
    """Show a run with its steps and attempts; what it waits for is not said yet."""
    steps = _steps(history.events, plan)
    for step in steps:
        _show_lease(step, lease_of(step.step_index), details)
    return RunView(
        **_summary(record),
        input=Raw(record.input),
        final_output=None if record.output is None else Raw(record.output),
        step_results=_results(history.results, plan),
        steps=steps,
    )


def event_views(history: History) -> list[EventView]:
    """Show a history, numbered from 1."""
    return [_event_view(seq, event) for seq, event in enumerate(history.events, 1)]


def workflow_view(version: DefinitionVersion) -> WorkflowView:
    """Show a version of a definition."""
    body = to_body(version.definition)
    return msgspec.convert({**body, "version": version.version, "createdAt": iso(version.created_at)}, WorkflowView)


def worker_view(
    worker_id: str, about: About, status: WorkerStatus, registered_at: Time, seen_at: Time, in_hand: list[JobInHand]
) -> WorkerView:
    """Show a worker and what it has in hand."""
    return WorkerView(
        worker_id=worker_id,
        status=status.value,
        transport=about.transport.value,
        actions=list(about.actions),
        sdk=about.sdk,
        version=about.version,
        host=about.host,
        pid=about.pid,
        concurrency=about.concurrency,
        registered_at=iso(registered_at),
        last_seen_at=iso(seen_at),
        in_hand=sorted(in_hand, key=lambda job: (job.since, job.job_id)),
    )


def job_in_hand(lease: Lease) -> JobInHand:
    """Show a job that this process has handed out."""
    job = lease.job
    return JobInHand(
        job_id=job.job_id, attempt=job.attempt, action=job.action, since=iso(lease.started_at), alone=job.alone
    )


def job_of_row(row: JobRow) -> JobInHand:
    """Show a job that the store knows in a worker's hands."""
    return JobInHand(
        job_id=job_id(row.run_id, row.step),
        attempt=row.attempt,
        action=row.action,
        since=iso(row.started_at or 0),
        alone=row.alone,
    )


def letter_group_view(group: LetterGroup) -> LetterGroupView:
    """Show a group of dead letters."""
    return LetterGroupView(
        workflow_id=group.workflow_id,
        action=group.action,
        error_type=group.error_type,
        count=group.count,
        oldest=iso(group.oldest),
        newest=iso(group.newest),
    )


def dead_letter_view(letter: DeadLetter) -> DeadLetterView:
    """Show a dead letter."""
    return DeadLetterView(
        id=letter.id,
        run_id=letter.run_id,
        workflow_id=letter.workflow_id,
        step_index=letter.step,
        action=letter.action,
        attempt=letter.attempt,
        attempts=letter.attempts,
        error=ErrorView(type=letter.failure.type, message=letter.failure.message, stack=letter.failure.stack or None),
        payload=Raw(letter.payload),
        worker=letter.worker,
        created_at=iso(letter.created_at),
        state=letter.state,
        settled_at=None if letter.settled_at is None else iso(letter.settled_at),
    )


def _summary(record: RunRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "workflow_id": record.workflow_id,
        "workflow_version": record.version,
        "status": record.status,
        "current_step": record.current_step,
        "start_time": iso(record.started_at),
        "end_time": None if record.ended_at is None else iso(record.ended_at),
        "error": error_view(record.failure),
    }


def _results(results: Iterable[StepResult], plan: Plan) -> list[StepResultView]:
    return [
        StepResultView(
            action=plan.steps[result.step].definition.action,
            step_index=result.step,
            result=Raw(result.result),
            timestamp=iso(result.at),
        )
        for result in results
    ]


def _steps(history: Iterable[Event], plan: Plan) -> list[StepView]:
    steps = {
        index: StepView(step_index=index, action=step.definition.action, status=StepStatus.PENDING, attempts=[])
        for index, step in plan.steps.items()
    }
    for event in history:
        step = steps.get(getattr(event, "step", -1))
        if step is not None:
            _show(step, event)
    return list(steps.values())


def _show(step: StepView, event: Event) -> None:
    """Bring what is shown of a step up to one event further."""
    if isinstance(event, events.StepQueued):
        step.status, step.next_attempt_at = StepStatus.QUEUED, None
        step.attempts.append(
            AttemptView(attempt=event.attempt, status=AttemptStatus.QUEUED, scheduled_at=iso(event.at))
        )
        return
    attempt = step.attempts[-1] if step.attempts else None
    if attempt is None:
        return
    match event:
        case events.AttemptStarted():
            step.status, attempt.status = StepStatus.RUNNING, AttemptStatus.RUNNING
            attempt.started_at, attempt.worker = iso(event.at), event.worker or None
        case events.StepCompleted():
            step.status = StepStatus.COMPLETED
            _close(attempt, AttemptStatus.COMPLETED, event)
        case events.AttemptFailed():
            _back_off(step, event)
            _close(attempt, AttemptStatus.TIMED_OUT if event.timed_out else AttemptStatus.FAILED, event)
            attempt.error = error_view(event.failure)
        case events.AttemptLost():
            _back_off(step, event)
            _close(attempt, AttemptStatus.LOST, event)
            attempt.error = error_view(event.failure)
        case events.AttemptReleased():
            _close(attempt, AttemptStatus.RELEASED, event)
        case events.StepFailed():
            step.status, step.next_attempt_at = StepStatus.FAILED, None
        case events.StepCancelled():
            step.status, step.next_attempt_at = StepStatus.CANCELLED, None
            if attempt.finished_at is None:
                _close(attempt, AttemptStatus.CANCELLED, event)


def _close(attempt: AttemptView, status: AttemptStatus, event: Event) -> None:
    attempt.status, attempt.finished_at = status, iso(event.at)


def _back_off(step: StepView, event: events.AttemptFailed | events.AttemptLost) -> None:
    step.status = StepStatus.BACKING_OFF
    step.next_attempt_at = None if event.retry_at is None else iso(event.retry_at)


def _show_lease(step: StepView, lease: Lease | None, details: dict[int, Json]) -> None:
    """A worker may have a job for a moment before the store knows."""
    said = details.get(step.step_index)
    if lease is not None and step.attempts and step.attempts[-1].attempt == lease.job.attempt:
        attempt = step.attempts[-1]
        if attempt.status is AttemptStatus.QUEUED:
            step.status, attempt.status = StepStatus.RUNNING, AttemptStatus.RUNNING
            attempt.started_at, attempt.worker = iso(lease.started_at), lease.worker
        said = lease.details or said
    if said is not None:
        step.details = Raw(said)


def _event_view(seq: int, event: Event) -> EventView:
    view = EventView(seq=seq, at=iso(event.at), type=type(event).__name__)
    view.step_index = getattr(event, "step", None)
    view.attempt = getattr(event, "attempt", None)
    view.worker = getattr(event, "worker", None)
    view.error = error_view(getattr(event, "failure", None))
    retry_at = getattr(event, "retry_at", None)
    view.next_attempt_at = None if retry_at is None else iso(retry_at)
    view.reason = getattr(event, "reason", None) or None
    view.alone = getattr(event, "alone", False)
    trace = getattr(event, "trace", None)
    view.traceparent = None if trace is None else trace.parent
    return view
