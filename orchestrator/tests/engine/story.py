"""Plans and runs for the tests of the engine: a run at any point of its life in a line or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from orchestrator.engine import run as machine
from orchestrator.engine.command import (
    NOTHING,
    Command,
    CompleteAttempt,
    Decision,
    FailAttempt,
    LoseAttempt,
    StartAttempt,
    StartRetry,
    StartRun,
)
from orchestrator.engine.plan import Plan, PlanStep, compile_plan
from orchestrator.model.definition import RetryPolicy, StepDefinition, WorkflowDefinition
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep, RunId, RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import MICROS, Duration, Time

Row = tuple[RunStatus | StepStatus, type[Event]]
"""The left side of a row of the tables."""

RUN: Final = RunId("0192f0c1-7a3e-7cc0-8a51-4b1d3f0e9a77")
NOW: Final = Time(1_800_000_000 * MICROS)
BROKE: Final = Failure("CardDeclined", "no funds", "charge.py:7")
WORKER: Final = "w-1"
DEFAULT: Final = RetryPolicy()


def at(seconds: float) -> Time:
    """Give the time so many seconds after the start of the run."""
    return Time(NOW + round(seconds * MICROS))


def seconds(count: float) -> Duration:
    """Give a duration."""
    return Duration(round(count * MICROS))


def make_linear(
    count: int = 2,
    *,
    retry: RetryPolicy = DEFAULT,
    step_timeout: Duration | None = None,
    timeout: Duration | None = None,
) -> Plan:
    """Compile a sequence of steps 0, 1, 2 and so on with the actions a0, a1, a2."""
    steps = tuple(
        StepDefinition(action=f"a{index}", step_index=index, retry=retry, timeout=step_timeout)
        for index in range(count)
    )
    return compile_plan(WorkflowDefinition(id="flow", steps=steps, timeout=timeout), 1)


def make_graph(
    needs: Mapping[int, tuple[int, ...]],
    *,
    retry: RetryPolicy = DEFAULT,
    policies: Mapping[int, RetryPolicy] | None = None,
    timeout: Duration | None = None,
) -> Plan:
    """Make a plan by hand: ``needs`` says which steps each step depends on."""
    steps = {
        index: PlanStep(
            definition=StepDefinition(action=f"a{index}", step_index=index, retry=(policies or {}).get(index, retry)),
            depends_on=needed,
            dependents=tuple(other for other, others in needs.items() if index in others),
        )
        for index, needed in needs.items()
    }
    roots = tuple(index for index, needed in needs.items() if not needed)
    return Plan("flow", 1, timeout, steps, roots, max(needs))


DIAMOND: Final[dict[int, tuple[int, ...]]] = {0: (), 1: (0,), 2: (0,), 3: (1, 2)}
"""A step, two side by side after it, and one that joins them."""
TWO_BRANCHES: Final[dict[int, tuple[int, ...]]] = {0: (), 1: (), 2: (0,), 3: (1,)}
"""Two sequences of two steps that never meet."""


class Story:
    """One run and its clock. What is done to it must have an effect, so that no story stalls unnoticed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now = NOW
        decision = machine.start(plan, StartRun(RUN), NOW)
        self.history: list[Event] = list(decision.events)
        self.state: RunState = machine.fold(RUN, plan, decision.events)

    def ask(self, command: Command) -> Decision | Rejection:
        """Decide, and leave the run as it is."""
        return machine.decide(self.plan, self.state, command, self.now)

    def do(self, *commands: Command) -> Story:
        """Decide each command and apply what comes out."""
        for command in commands:
            decision = self.ask(command)
            assert isinstance(decision, Decision), f"{command} was rejected: {decision}"
            assert decision != NOTHING, f"{command} came to nothing"
            self.history += decision.events
            self.state = machine.fold(RUN, self.plan, decision.events, self.state)
        return self

    @property
    def open(self) -> dict[int, OpenStep]:
        """The open steps, without the times at which they were queued."""
        return {index: replace(step, queued_at=Time(0)) for index, step in self.state.open.items()}

    @property
    def halted(self) -> dict[int, OpenStep]:
        """The halted steps, likewise."""
        return {index: replace(step, queued_at=Time(0)) for index, step in self.state.halted.items()}

    def wait(self, duration: float) -> Story:
        """Move the clock by so many seconds; backwards too."""
        self.now = Time(self.now + round(duration * MICROS))
        return self

    def attempt(self, step: int) -> int:
        """Give the current attempt of a step, or the last one of a halted step."""
        return (self.state.open.get(step) or self.state.halted[step]).attempt

    def take(self, step: int = 0) -> Story:
        """Let a worker take the step's job."""
        return self.do(StartAttempt(step, self.attempt(step), WORKER, self.now))

    def complete(self, *steps: int) -> Story:
        """Let the current attempt of each step succeed."""
        for step in steps:
            self.do(CompleteAttempt(step, self.attempt(step), WORKER))
        return self

    def fail(self, step: int = 0, *, retryable: bool = True) -> Story:
        """Let the current attempt of a step report an error."""
        return self.do(FailAttempt(step, self.attempt(step), BROKE, retryable=retryable, worker=WORKER))

    def lose(self, step: int = 0, lost_attempts_max: int = 3) -> Story:
        """Let the worker that has the step's job die."""
        return self.do(LoseAttempt(step, self.attempt(step), "lease ran out", lost_attempts_max))

    def retry(self, step: int = 0) -> Story:
        """Move the clock to the next attempt of a step and start it."""
        due = self.state.open[step].retry_at
        assert due is not None
        self.now = max(self.now, due)
        return self.do(StartRetry(step, self.attempt(step)))
