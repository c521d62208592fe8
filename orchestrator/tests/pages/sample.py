"""Runs, workflows, workers and dead letters to make pages of."""

from __future__ import annotations

from typing import Final

from msgspec import Raw

from orchestrator.model import times
from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus
from orchestrator.model.view import (
    AttemptView,
    DeadLetterView,
    ErrorView,
    JobInHand,
    RetryView,
    RunSummary,
    RunView,
    StepDefinitionView,
    StepResultView,
    StepView,
    WorkerView,
    WorkflowView,
)

BASE_URL: Final = "http://127.0.0.1:8080"
START: Final = times.parse_time("2026-11-24T10:00:00Z")
ACTIONS: Final = ("reserve", "charge", "pack", "ship", "notify")
RUN_ID: Final = "01935f3a-7c1e-7b52-9d0e-4f8a2b6c1d00"


def iso(seconds: float) -> str:
    return times.iso(START + round(seconds * times.MICROS))


def make_error(text: str = "BankDown") -> ErrorView:
    return ErrorView(type=text, message=f"{text} says no", stack=f"line 1\n{text}\nline 3")


def make_retry() -> RetryView:
    return RetryView(max_retries=3, delay=1, backoff="fixed", max_delay=None, jitter=0, non_retryable=["CardDeclined"])


def make_workflow(name: str = "order", actions: tuple[str, ...] = ACTIONS, version: int = 2) -> WorkflowView:
    return WorkflowView(
        id=name,
        version=version,
        description=f"What {name} does",
        created_at=iso(-86_400),
        timeout=3_600,
        steps=[
            StepDefinitionView(action=action, step_index=index, retry=make_retry(), timeout=20, heartbeat_timeout=5)
            for index, action in enumerate(actions)
        ],
    )


def make_attempt(
    status: AttemptStatus,
    queued: float,
    started: float | None = None,
    finished: float | None = None,
    *,
    number: int = 1,
    worker: str = "worker-1",
    error: ErrorView | None = None,
) -> AttemptView:
    return AttemptView(
        attempt=number,
        status=status,
        scheduled_at=iso(queued),
        started_at=None if started is None else iso(started),
        finished_at=None if finished is None else iso(finished),
        worker=None if started is None else worker,
        error=error,
    )


def make_step(
    index: int, status: StepStatus, attempts: tuple[AttemptView, ...] = (), action: str | None = None
) -> StepView:
    return StepView(
        step_index=index,
        action=action if action is not None else ACTIONS[index % len(ACTIONS)],
        status=status,
        attempts=list(attempts),
    )


def make_done(index: int, begin: float, tries: int = 1) -> StepView:
    failures = [
        make_attempt(AttemptStatus.FAILED, at, at + 0.1, at + 0.5, number=n + 1, error=make_error())
        for n, at in enumerate(begin + n for n in range(tries - 1))
    ]
    last = begin + tries - 1
    completed = make_attempt(AttemptStatus.COMPLETED, last, last + 0.1, last + 0.9, number=tries)
    return make_step(index, StepStatus.COMPLETED, (*failures, completed))


def make_run(
    status: RunStatus,
    steps: list[StepView],
    *,
    run_id: str = RUN_ID,
    workflow_id: str = "order",
    end: float | None = None,
    error: ErrorView | None = None,
    waiting_for: str | None = None,
    run_input: bytes = b'{"id":12345678901234567890,"price":19.90}',
    output: bytes | None = None,
) -> RunView:
    return RunView(
        run_id=run_id,
        workflow_id=workflow_id,
        workflow_version=2,
        status=status,
        current_step=max((step.step_index for step in steps if step.attempts), default=0),
        start_time=iso(0),
        end_time=None if end is None else iso(end),
        error=error,
        input=Raw(run_input),
        final_output=None if output is None else Raw(output),
        step_results=[
            StepResultView(action=step.action, step_index=step.step_index, result=Raw(b'{"ok":true}'), timestamp=iso(1))
            for step in steps
            if step.status is StepStatus.COMPLETED
        ],
        steps=steps,
        waiting_for=waiting_for,
    )


def make_pending(first: int) -> list[StepView]:
    return [make_step(index, StepStatus.PENDING) for index in range(first, len(ACTIONS))]


def completed_run() -> RunView:
    steps = [make_done(0, 0), make_done(1, 1, tries=3), *(make_done(index, index + 2) for index in range(2, 5))]
    return make_run(RunStatus.COMPLETED, steps, end=8, output=b'{"cents":1234567890123456789012}')


def failed_run() -> RunView:
    attempt = make_attempt(AttemptStatus.FAILED, 1, 1.1, 2, number=4, error=make_error())
    steps = [make_done(0, 0), make_step(1, StepStatus.FAILED, (attempt,)), *make_pending(2)]
    return make_run(RunStatus.FAILED, steps, end=2, error=make_error())


def running_run() -> RunView:
    step = make_step(1, StepStatus.RUNNING, (make_attempt(AttemptStatus.RUNNING, 1, 1.5),))
    step.details = Raw(b'{"done":40}')
    return make_run(RunStatus.RUNNING, [make_done(0, 0), step, *make_pending(2)])


def queued_run() -> RunView:
    step = make_step(1, StepStatus.QUEUED, (make_attempt(AttemptStatus.QUEUED, 1),))
    return make_run(
        RunStatus.RUNNING, [make_done(0, 0), step, *make_pending(2)], waiting_for="step 1 (charge): no worker has it"
    )


def waiting_run() -> RunView:
    attempt = make_attempt(AttemptStatus.FAILED, 1, 1.1, 2, error=make_error())
    step = make_step(1, StepStatus.BACKING_OFF, (attempt,))
    step.next_attempt_at = iso(32)
    return make_run(
        RunStatus.WAITING,
        [make_done(0, 0), step, *make_pending(2)],
        waiting_for=f"step 1 (charge): attempt 2 of 4 starts at {iso(32)}",
    )


def ended_run(status: RunStatus) -> RunView:
    step = make_step(1, StepStatus.CANCELLED, (make_attempt(AttemptStatus.CANCELLED, 1, None, 4),))
    return make_run(status, [make_done(0, 0), step, *make_pending(2)], end=4)


def long_run(count: int, *, failed_at: int | None = None, retried: tuple[int, ...] = ()) -> RunView:
    steps = []
    for index in range(count):
        if failed_at is not None and index > failed_at:
            steps.append(make_step(index, StepStatus.PENDING))
        elif index == failed_at:
            attempt = make_attempt(AttemptStatus.FAILED, index, index + 0.1, index + 0.2, error=make_error())
            steps.append(make_step(index, StepStatus.FAILED, (attempt,)))
        else:
            steps.append(make_done(index, index, tries=2 if index in retried else 1))
    status = RunStatus.COMPLETED if failed_at is None else RunStatus.FAILED
    return make_run(status, steps, end=count + 1)


def make_summary(
    number: int,
    status: RunStatus,
    *,
    run_id: str | None = None,
    workflow_id: str = "order",
    error: ErrorView | None = None,
) -> RunSummary:
    is_open = status in (RunStatus.RUNNING, RunStatus.WAITING)
    return RunSummary(
        run_id=run_id or f"01935f3a-7c1e-7b52-9d0e-{number:012x}",
        workflow_id=workflow_id,
        workflow_version=2,
        status=status,
        current_step=number % 5,
        start_time=iso(-number),
        end_time=None if is_open else iso(-number + 1.5),
        error=error,
    )


def make_summaries(count: int) -> list[RunSummary]:
    every = list(RunStatus)
    return [
        make_summary(
            number,
            every[number % len(every)],
            error=make_error() if every[number % len(every)] is RunStatus.FAILED else None,
        )
        for number in range(count)
    ]


def make_worker(worker_id: str = "worker-1", actions: tuple[str, ...] = ACTIONS) -> WorkerView:
    return WorkerView(
        worker_id=worker_id,
        status="CONNECTED",
        transport="http",
        actions=list(actions),
        sdk="workersdk-python",
        version="0.1.0",
        host="box-7",
        pid=4711,
        concurrency=8,
        registered_at=iso(-900),
        last_seen_at=iso(-1),
        in_hand=[JobInHand(job_id=f"{RUN_ID}:1", attempt=1, action=actions[0], since=iso(-12))],
    )


def make_letter(text: str | None = None, state: str = "OPEN") -> DeadLetterView:
    return DeadLetterView(
        id=text or f"{RUN_ID}:1:4",
        run_id=text or RUN_ID,
        workflow_id=text or "order",
        step_index=1,
        action=text or "charge",
        attempt=4,
        attempts=4,
        error=make_error(text or "BankDown"),
        payload=Raw(b'{"id":12345678901234567890}'),
        worker=text or "worker-1",
        created_at=iso(2),
        state=state,
        settled_at=None if state == "OPEN" else iso(9),
    )
