"""What an open run waits for, in words that are true of all workers, whichever process they call or read from."""

from __future__ import annotations

from typing import Final

from orchestrator.app.roll import Roll
from orchestrator.engine.plan import Plan
from orchestrator.model.status import StepStatus
from orchestrator.model.view import StepView

GROUPS_NAMED: Final = 3
"""Groups that are named; the others are counted."""


class Reasons:
    """Says why a run waits."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll

    async def of(self, steps: list[StepView], plan: Plan) -> str | None:
        """Say what an open run waits for; of several open steps the first."""
        for step in steps:
            name = f"step {step.step_index} ({step.action})"
            attempt = step.attempts[-1] if step.attempts else None
            if attempt is None:
                continue
            if step.status is StepStatus.BACKING_OFF:
                most = plan.steps[step.step_index].definition.retry.max_retries + 1
                number = attempt.attempt + 1
                of = f" of {most}" if number <= most else ""
                return f"{name}: attempt {number}{of} starts at {step.next_attempt_at}"
            if step.status is StepStatus.QUEUED:
                return f"{name}: {await self._queued(step.action)} since {attempt.scheduled_at}"
            if step.status is StepStatus.RUNNING:
                return f"{name}: worker {attempt.worker or 'unknown'} has been at it since {attempt.started_at}"
        return None

    async def _queued(self, action: str) -> str:
        staff = await self._roll.staff(action)
        if staff.free:
            return "queued for a free worker"
        if staff.busy:
            who = "the only worker" if staff.busy == 1 else f"all {staff.busy} workers"
            verb = "has" if staff.busy == 1 else "have"
            end = "is busy" if staff.busy == 1 else "are busy"
            return f"{who} that {verb} a handler for this action {end}, queued"
        why = "no connected worker has a handler for this action"
        if staff.draining:
            why = "only workers that are draining have a handler for this action"
        groups = await self._roll.silent(action)
        if groups is None:
            return f"{why}, and Kafka does not say who else reads its jobs,"
        if not groups:
            return f"{why},"
        if not staff.draining:
            why = "no worker that gives signs of life has a handler for this action"
        named = ", ".join(groups[:GROUPS_NAMED])
        more = f" and {len(groups) - GROUPS_NAMED} more" if len(groups) > GROUPS_NAMED else ""
        which = "the consumer group" if len(groups) == 1 else "one of the consumer groups"
        return f"{why}; {which} {named}{more} may take or have this job,"
