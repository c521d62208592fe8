"""The steps of a run as its page lists them; of a long run only those that a reader looks for."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Final

import msgspec

from orchestrator.model.status import StepStatus
from orchestrator.model.view import (
    AttemptView,
    ErrorView,
    RetryView,
    RunView,
    StepDefinitionView,
    StepView,
    WorkflowView,
)
from orchestrator.pages import text, timeline

STEPS_MAX: Final = 200
"""Steps of a run that its page shows without being asked for all."""
_ENDS: Final = 15
"""Steps shown at either end of a long run, and after the current one."""
_ATTEMPTS_FIRST: Final = 2
_ATTEMPTS_LAST: Final = 18
_PAYLOAD_CHARS_MAX: Final = 16_384
_PAYLOAD_CHARS_MIN: Final = 512
_PAGE_CHARS: Final = 256 * 1024
"""Characters of payloads that all steps share."""

_ACTIVE: Final = (StepStatus.RUNNING, StepStatus.QUEUED, StepStatus.BACKING_OFF)
_ENDED_EARLY: Final = (StepStatus.FAILED, StepStatus.CANCELLED)


class Try(msgspec.Struct, frozen=True):
    """An attempt, and how long its parts took once they ended."""

    attempt: AttemptView
    waited: str | None
    took: str | None


class Row(msgspec.Struct, frozen=True):
    """A step with its lane and its attempts."""

    index: int
    action: str
    status: StepStatus
    bars: list[timeline.Bar]
    lane_label: str
    took: str | None
    """From its first attempt to its last one's end; None while it is open or was not reached."""
    since: str | None
    """When it was reached; only while it is open."""
    tries: int
    first: list[Try]
    left_out: int
    last: list[Try]
    error: ErrorView | None
    """How the last attempt went wrong, unless the step completed."""
    next_attempt_at: str | None
    policy: str
    result: text.Payload | None
    details: text.Payload | None
    dead_letter: str | None
    is_open: bool


class Gap(msgspec.Struct, frozen=True):
    """Steps that are not shown."""

    first: int
    last: int
    says: str


class Listing(msgspec.Struct, frozen=True):
    """All that the page says about the steps."""

    entries: list[Row | Gap]
    axis: timeline.Axis
    spent: timeline.Spent
    shown: int
    total: int
    completed: int
    retried: int
    is_collapsed: bool
    is_long: bool


def listing(run: RunView, workflow: WorkflowView, now: str, *, all_steps: bool) -> Listing:
    """Choose and lay out the steps of a run."""
    on = timeline.axis(run, now)
    spent = timeline.Spent()
    definitions = {step.step_index: step for step in workflow.steps}
    results = {result.step_index: result.result for result in run.step_results}
    is_long = len(run.steps) > STEPS_MAX
    shown = _chosen(run.steps) if is_long and not all_steps else set(range(len(run.steps)))
    chars = min(_PAYLOAD_CHARS_MAX, max(_PAYLOAD_CHARS_MIN, _PAGE_CHARS // max(1, len(shown))))
    entries: list[Row | Gap] = []
    for is_shown, group in groupby(range(len(run.steps)), key=shown.__contains__):
        steps = [run.steps[place] for place in group]
        if is_shown:
            entries.extend(
                _row(run, step, definitions.get(step.step_index), results.get(step.step_index), on, spent, chars)
                for step in steps
            )
        else:
            for step in steps:
                timeline.lane(step.attempts, on, None, spent)
            entries.append(_gap(steps))
    return Listing(
        entries=entries,
        axis=on,
        spent=spent,
        shown=len(shown),
        total=len(run.steps),
        completed=sum(step.status is StepStatus.COMPLETED for step in run.steps),
        retried=sum(len(step.attempts) > 1 for step in run.steps),
        is_collapsed=len(shown) < len(run.steps),
        is_long=is_long,
    )


def policy(retry: RetryView, timeout: float | None, heartbeat_timeout: float | None) -> str:
    """Say in words when an attempt is followed by another and how long one may take."""
    parts = []
    if retry.max_retries == 0:
        parts.append("no retry")
    else:
        times = "1 retry" if retry.max_retries == 1 else f"{retry.max_retries} retries"
        after = text.seconds(retry.delay)
        if retry.max_retries == 1:
            parts.append(f"{times}, after {after}")
        elif retry.backoff == "exponential":
            most = "" if retry.max_delay is None else f" to {text.seconds(retry.max_delay)}"
            parts.append(f"{times}, after {after} and then twice as long each time{most}")
        else:
            parts.append(f"{times}, each after {after}")
        if retry.jitter:
            parts.append(f"jitter {retry.jitter:.0%}")
        if retry.non_retryable:
            parts.append(f"none after {', '.join(retry.non_retryable)}")
    if timeout is not None:
        parts.append(f"timeout {text.seconds(timeout)}")
    if heartbeat_timeout is not None:
        parts.append(f"heartbeat timeout {text.seconds(heartbeat_timeout)}")
    return "; ".join(parts)


def _chosen(steps: list[StepView]) -> set[int]:
    last = len(steps) - 1
    current = max((place for place, step in enumerate(steps) if step.attempts), default=0)
    chosen = {*range(_ENDS), *range(last - _ENDS + 1, last + 1)}
    chosen.update(place for place in range(current - 2, current + _ENDS) if 0 <= place <= last)
    wanted = [
        *(place for place, step in enumerate(steps) if step.status in _ACTIVE or step.status in _ENDED_EARLY),
        *(place for place, step in enumerate(steps) if len(step.attempts) > 1),
    ]
    for place in wanted:
        if len(chosen) >= STEPS_MAX:
            break
        chosen.add(place)
    return chosen


def _gap(steps: list[StepView]) -> Gap:
    counts = Counter(step.status.replace("_", " ").lower() for step in steps)
    retried = sum(len(step.attempts) > 1 for step in steps)
    says = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return Gap(steps[0].step_index, steps[-1].step_index, says + (f", {retried} of them retried" if retried else ""))


def _row(
    run: RunView,
    step: StepView,
    definition: StepDefinitionView | None,
    result: msgspec.Raw | None,
    on: timeline.Axis,
    spent: timeline.Spent,
    chars: int,
) -> Row:
    attempts = step.attempts
    bars = timeline.lane(attempts, on, step.next_attempt_at, spent)
    is_active = step.status in _ACTIVE
    cut = len(attempts) > _ATTEMPTS_FIRST + _ATTEMPTS_LAST
    return Row(
        index=step.step_index,
        action=step.action,
        status=step.status,
        bars=bars,
        lane_label="; ".join(bar.label for bar in bars[:12]) or "not reached yet",
        took=None if is_active or not attempts else _took(attempts, on),
        since=attempts[0].scheduled_at if is_active and attempts else None,
        tries=len(attempts),
        first=[_try(attempt) for attempt in (attempts[:_ATTEMPTS_FIRST] if cut else attempts)],
        left_out=len(attempts) - _ATTEMPTS_FIRST - _ATTEMPTS_LAST if cut else 0,
        last=[_try(attempt) for attempt in attempts[-_ATTEMPTS_LAST:]] if cut else [],
        error=_error(step),
        next_attempt_at=step.next_attempt_at,
        policy=policy(definition.retry, definition.timeout, definition.heartbeat_timeout) if definition else "",
        result=None if result is None else text.payload(bytes(result), chars),
        details=None if step.details is None else text.payload(bytes(step.details), chars),
        dead_letter=_dead_letter(run, step),
        is_open=step.status is StepStatus.FAILED,
    )


def _try(attempt: AttemptView) -> Try:
    started, finished = attempt.started_at, attempt.finished_at
    return Try(
        attempt,
        text.between(attempt.scheduled_at, started) if started else None,
        text.between(started or attempt.scheduled_at, finished) if finished else None,
    )


def _took(attempts: list[AttemptView], on: timeline.Axis) -> str | None:
    end = attempts[-1].finished_at or on.end
    return None if end is None else text.between(attempts[0].scheduled_at, end)


def _error(step: StepView) -> ErrorView | None:
    if step.status is StepStatus.COMPLETED:
        return None
    return next((attempt.error for attempt in reversed(step.attempts) if attempt.error is not None), None)


def _dead_letter(run: RunView, step: StepView) -> str | None:
    if step.status is not StepStatus.FAILED or not step.attempts:
        return None
    return f"{run.run_id}:{step.step_index}:{step.attempts[-1].attempt}"
