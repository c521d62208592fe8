"""The rules of one run's history, written down a second time: nothing of the engine is used here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from orchestrator.model import event as events
from orchestrator.model.definition import StepDefinition, WorkflowDefinition
from orchestrator.model.event import Event
from orchestrator.model.times import MICROS, Time
from tests.simulation.options import LOSSES_MAX

OPEN: Final = ("queued", "started", "resting")
ENDS: Final[dict[type[Event], str]] = {
    events.RunCompleted: "completed",
    events.RunFailed: "failed",
    events.RunCancelled: "cancelled",
    events.RunTimedOut: "timed out",
}


@dataclass(slots=True)
class Step:
    """Where a step is."""

    phase: str = "untouched"
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    suspicions: int = 0
    """Attempts that were lost with their worker, or may have been."""
    retry_at: Time | None = None


class Walk:
    """Follows a history event by event; `wrong` is what no rule allows."""

    def __init__(self, definition: WorkflowDefinition, losses_max: int = LOSSES_MAX) -> None:
        self._definition = definition
        self._losses_max = losses_max
        self._order = [step.step_index for step in definition.steps]
        self._steps = {step.step_index: (step, Step()) for step in definition.steps}
        self.status = "unborn"
        self.deadline: Time | None = None
        self.lives = 0
        """Starts and redrives."""
        self.failed_steps = 0
        """How often a step came to its end by failing."""
        self.wrong: list[str] = []

    def follow(self, history: Iterator[Event] | list[Event]) -> None:
        """Take a whole history."""
        for number, event in enumerate(history, 1):
            for wrong in self._next(event):
                self.wrong.append(f"event {number}, {event}: {wrong}")

    def _next(self, event: Event) -> Iterator[str]:
        if isinstance(event, events.RunStarted):
            if self.status != "unborn":
                yield "it began before"
            self._begin(event.deadline)
        elif isinstance(event, events.RunRedriven):
            yield from self._redriven(event)
        elif self.status not in ("running", "waiting"):
            yield f"the run is {self.status}"
        elif isinstance(event, events.RunWaiting | events.RunResumed):
            yield from self._waits(event)
        elif type(event) in ENDS:
            yield from self._ended(event)
        else:
            yield from self._at_step(event)

    def _begin(self, deadline: Time | None) -> None:
        self.status = "running"
        self.deadline = deadline
        self.lives += 1

    def _redriven(self, event: events.RunRedriven) -> Iterator[str]:
        if self.status != "failed":
            yield f"the run is {self.status}"
        if self._steps[event.step][1].phase != "failed":
            yield "the step has not failed"
        for _, step in self._steps.values():
            step.failures = step.losses = 0
        self._begin(event.deadline)

    def _waits(self, event: events.RunWaiting | events.RunResumed) -> Iterator[str]:
        waits = isinstance(event, events.RunWaiting)
        if waits == (self.status == "waiting"):
            yield f"the run is {self.status}"
        if any(step.phase in ("queued", "started") for _, step in self._steps.values()):
            yield "a step is under way"
        self.status = "waiting" if waits else "running"

    def _ended(self, event: Event) -> Iterator[str]:
        phases = [step.phase for _, step in self._steps.values()]
        if any(phase in OPEN for phase in phases):
            yield "a step is open"
        if isinstance(event, events.RunCompleted) and set(phases) != {"completed"}:
            yield f"its steps are {phases}"
        if isinstance(event, events.RunFailed) and self._steps[event.step][1].phase != "failed":
            yield "the step has not failed"
        if isinstance(event, events.RunTimedOut) and (self.deadline is None or event.at < self.deadline):
            yield f"I7: the deadline is {self.deadline}"
        self.status = ENDS[type(event)]

    def _at_step(self, event: Event) -> Iterator[str]:
        assert isinstance(
            event,
            events.StepQueued
            | events.AttemptStarted
            | events.StepCompleted
            | events.AttemptFailed
            | events.AttemptLost
            | events.AttemptReleased
            | events.StepFailed
            | events.StepCancelled,
        )
        definition, step = self._steps[event.step]
        if isinstance(event, events.StepQueued):
            yield from self._queued(event, step)
            return
        if event.attempt != step.attempt:
            yield f"the attempt is {step.attempt}"
        expected = {
            events.AttemptStarted: ("queued",),
            events.StepCancelled: OPEN,
            events.StepFailed: ("resting",),
        }.get(type(event), ("started",))
        if step.phase not in expected:
            yield f"the step is {step.phase}"
        if isinstance(event, events.AttemptFailed | events.AttemptLost):
            yield from self._went_wrong(event, definition, step)
        elif isinstance(event, events.StepFailed):
            self.failed_steps += 1
            if step.retry_at is not None:
                yield "it was to be tried again"
        step.phase = {
            events.AttemptStarted: "started",
            events.StepCompleted: "completed",
            events.StepFailed: "failed",
            events.StepCancelled: "cancelled",
        }.get(type(event), "resting")

    def _queued(self, event: events.StepQueued, step: Step) -> Iterator[str]:
        if event.attempt != step.attempt + 1:
            yield f"the last attempt was {step.attempt}"
        if step.phase not in ("untouched", "resting", "failed", "cancelled"):
            yield f"the step is {step.phase}"
        before = self._order[: self._order.index(event.step)]
        if any(self._steps[index][1].phase != "completed" for index in before):
            yield "a step before it has not completed"
        if step.phase == "resting" and step.retry_at is not None and event.at < step.retry_at:
            yield f"I7: its time is {step.retry_at}"
        if event.alone and not step.suspicions:
            yield "it is suspected without reason"
        if step.suspicions and not event.alone:
            yield "it took a worker down and does not run alone"
        step.phase, step.attempt, step.retry_at = "queued", event.attempt, None

    def _went_wrong(
        self, event: events.AttemptFailed | events.AttemptLost, definition: StepDefinition, step: Step
    ) -> Iterator[str]:
        most = definition.retry.max_retries
        if isinstance(event, events.AttemptFailed):
            step.failures += 1
            step.suspicions += event.suspect
            made = step.failures
        else:
            step.losses += 1
            step.suspicions += 1
            made, most = step.losses, min(most, self._losses_max)
        if event.retry_at is not None and made > most:
            yield f"it is tried again after {made} of {most + 1} attempts"
        if event.retry_at is not None and event.failure.type in definition.retry.non_retryable:
            yield "its error is not to be retried"
        longest = definition.retry.max_delay
        if event.retry_at is not None and longest is not None and event.retry_at - event.at > longest + MICROS:
            yield "its next attempt is too far away"
        step.retry_at = event.retry_at
