"""What the API shows: the one model of responses, from which the OpenAPI document is made."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw

from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus


class _View(msgspec.Struct, kw_only=True, rename="camel"):
    pass


class ErrorView(_View):
    """An error of an attempt, a step or a run."""

    type: str
    message: str
    stack: str | None = None


class AttemptView(_View):
    """One execution of a step."""

    attempt: int
    status: AttemptStatus
    scheduled_at: str
    started_at: str | None = None
    finished_at: str | None = None
    worker: str | None = None
    error: ErrorView | None = None


class StepView(_View):
    """A step of a run with all its attempts, oldest first."""

    step_index: int
    action: str
    status: StepStatus
    attempts: list[AttemptView]
    next_attempt_at: str | None = None
    details: Raw | None = None
    """What the worker said in its last heartbeat."""


class StepResultView(_View):
    """A recorded result."""

    action: str
    step_index: int
    result: Raw
    timestamp: str


class RunSummary(_View):
    """A run in a list with ``view=summary``."""

    run_id: str
    workflow_id: str
    workflow_version: int
    status: RunStatus
    current_step: int
    start_time: str
    end_time: str | None
    error: ErrorView | None


class RunInList(RunSummary):
    """A run in a list."""

    input: Raw
    final_output: Raw | None
    step_results: list[StepResultView]


class RunView(RunInList):
    """A run with its steps and attempts."""

    steps: list[StepView]
    waiting_for: str | None = None
    """What the run waits for, in words; None once it has ended."""


class EventView(_View, omit_defaults=True):
    """One event of a run's history."""

    seq: int
    """1, 2, 3 … without a gap."""
    at: str
    type: str
    step_index: int | None = None
    attempt: int | None = None
    worker: str | None = None
    error: ErrorView | None = None
    next_attempt_at: str | None = None
    reason: str | None = None
    alone: bool = False
    traceparent: str | None = None
    """Of RunStarted: what came with the trigger."""


class RetryView(_View):
    """A step's retry policy, every default filled in; durations in seconds."""

    max_retries: int
    delay: float
    backoff: Literal["fixed", "exponential"]
    max_delay: float | None
    jitter: float
    non_retryable: list[str]


class StepDefinitionView(_View):
    """A step of a definition."""

    action: str
    step_index: int
    retry: RetryView
    timeout: float | None
    heartbeat_timeout: float | None


class WorkflowView(_View):
    """One version of a definition."""

    id: str
    version: int
    description: str
    created_at: str
    timeout: float | None
    steps: list[StepDefinitionView]


class JobInHand(_View):
    """A job that a worker has now."""

    job_id: str
    attempt: int
    action: str
    since: str
    alone: bool = False


class WorkerView(_View):
    """A worker."""

    worker_id: str
    status: Literal["CONNECTED", "DRAINING", "GONE"]
    transport: Literal["http", "kafka"]
    actions: list[str]
    sdk: str | None
    version: str | None
    host: str | None
    pid: int | None
    concurrency: int | None
    registered_at: str
    last_seen_at: str
    in_hand: list[JobInHand]


class Unserved(_View):
    """What no connected worker does."""

    actions: list[str]
    """Actions of definitions that no connected worker has a handler for."""
    groups: list[str]
    """Consumer groups that take jobs and give no signs of life: they may have handlers for them."""


class DeadLetterView(_View):
    """A job that has no attempt left."""

    id: str
    run_id: str
    workflow_id: str
    step_index: int
    action: str
    attempt: int
    attempts: int
    error: ErrorView
    payload: Raw
    worker: str | None
    created_at: str
    state: str
    settled_at: str | None


class LetterGroupView(_View):
    """Open dead letters of one workflow and action with one type of error."""

    workflow_id: str
    action: str
    error_type: str
    count: int
    oldest: str
    newest: str


class LetterGroups(_View):
    """Groups of dead letters, the largest first."""

    groups: list[LetterGroupView]
    more: bool
    """Whether there are more groups than were asked for."""


class LettersSettled(_View):
    """What a call for many dead letters has done."""

    settled: int
    """Dead letters that were redriven, or discarded."""
    skipped: int
    """Dead letters that somebody else settled meanwhile, or whose run goes on or has ended otherwise."""
    cursor: str | None
    """Where the next call goes on; null when there are no more."""


class Started(_View):
    """The answer to a trigger, when JSON is asked for."""

    run_id: str


class Component(_View):
    """A part beside the process that it can do without."""

    status: Literal["up", "slow", "full", "down"]
    reason: str | None = None
    """Why it is not up."""


class Health(_View):
    """The answer of a health check."""

    status: Literal["live", "ready"]
    time: str
    """The orchestrator's time of day."""
    components: dict[str, Component] | msgspec.UnsetType = msgspec.UNSET
    """Parts that the process can do without, by name: it is ready whatever is the matter with them."""
