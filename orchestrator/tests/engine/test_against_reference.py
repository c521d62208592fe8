"""Random runs, step by step against the reference: whatever comes, in whatever order, both say the same.

``HYPOTHESIS_PROFILE=search`` with ``--timeout=0`` looks at many more of them, and at other ones every time.
"""

from __future__ import annotations

from typing import Final

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.engine import run as machine
from orchestrator.engine.command import (
    NOTHING,
    Backoff,
    CancelRun,
    Command,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    Effect,
    FailAttempt,
    LoseAttempt,
    RedriveStep,
    ReleaseAttempt,
    Settle,
    StartAttempt,
    StartRetry,
    StartRun,
    TimeOutAttempt,
    TimeOutRun,
    Withdraw,
)
from orchestrator.engine.plan import Plan, PlanStep, compile_plan
from orchestrator.model.definition import RetryPolicy, StepDefinition, WorkflowDefinition
from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    Event,
    Failure,
    RunCancelled,
    RunFailed,
    RunRedriven,
    StepCompleted,
    StepQueued,
)
from orchestrator.model.job import JobState, Rejection
from orchestrator.model.run import RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import MICROS, Duration, Time
from tests.engine.reference import Reference, Rules
from tests.engine.story import NOW, RUN

WORDS: Final = {
    Rejection.RUN_FINISHED: "finished",
    Rejection.RECORDED: "recorded",
    Rejection.SUPERSEDED: "superseded",
}
STEP_WORDS: Final = {
    "queued": StepStatus.QUEUED,
    "running": StepStatus.RUNNING,
    "resting": StepStatus.BACKING_OFF,
    "failed": StepStatus.FAILED,
    "halted": StepStatus.CANCELLED,
}
JOB_STATES: Final = {
    StepStatus.QUEUED: JobState.PENDING,
    StepStatus.RUNNING: JobState.LEASED,
    StepStatus.BACKING_OFF: JobState.BACKOFF,
}
TYPES: Final = ("CardDeclined", "Busy", "StepTimeout", "WorkerLost")

whole_seconds = st.integers(0, 8).map(lambda count: Duration(count * MICROS))
# Halves and quarters, so that both sides round alike.
parts = st.sampled_from([0.0, 0.25, 0.5, 1.0])
draws = st.sampled_from([0.0, 0.25, 0.5, 0.75])
policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 3),
    delay=whole_seconds,
    backoff=st.sampled_from(["fixed", "exponential"]),
    max_delay=st.none() | st.integers(1, 9).map(lambda count: Duration(count * MICROS)),
    jitter=parts,
    non_retryable=st.lists(st.sampled_from(TYPES), max_size=1).map(tuple),
)
offsets = st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, -1, -2, 1, 2])
"""Which attempt a message is about: mostly the current one."""
choices = st.integers(0, 99)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Draw a sequence or a graph of up to six steps, their indexes apart."""
    count = draw(st.integers(1, 6))
    timeout = draw(st.none() | st.integers(1, 40).map(lambda seconds: Duration(seconds * MICROS)))
    steps = [
        StepDefinition(action=f"a{place}", step_index=3 * place + 1, retry=draw(policies)) for place in range(count)
    ]
    if draw(st.booleans()):
        return compile_plan(WorkflowDefinition(id="flow", steps=tuple(steps), timeout=timeout), 1)
    needs: dict[int, tuple[int, ...]] = {}
    for step in steps:
        earlier = sorted(needs)
        needs[step.step_index] = tuple(sorted(draw(st.sets(st.sampled_from(earlier), max_size=3)))) if earlier else ()
    return Plan(
        workflow_id="flow",
        version=1,
        timeout=timeout,
        steps={
            step.step_index: PlanStep(
                definition=step,
                depends_on=needs[step.step_index],
                dependents=tuple(index for index, needed in needs.items() if step.step_index in needed),
            )
            for step in steps
        },
        roots=tuple(index for index, needed in needs.items() if not needed),
        output_of=max(needs),
    )


def rules_of(plan: Plan) -> dict[int, Rules]:
    """Say the plan in the words of the reference."""
    return {
        index: Rules(
            needs=set(place.depends_on),
            retries=place.definition.retry.max_retries,
            delay=place.definition.retry.delay,
            doubles=place.definition.retry.backoff == "exponential",
            longest=place.definition.retry.max_delay,
            jitter=place.definition.retry.jitter,
            hopeless=set(place.definition.retry.non_retryable),
        )
        for index, place in plan.steps.items()
    }


class Jobs:
    """The rows that the store would keep: one for each open step, moved by effects and by starts only."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[JobState, int, int | None]] = {}

    def apply(self, events: tuple[Event, ...], effects: tuple[Effect, ...]) -> None:
        """Do what a decision asks for."""
        for event in events:
            if isinstance(event, AttemptStarted):
                assert self.rows[event.step] == (JobState.PENDING, event.attempt, None)
                self.rows[event.step] = (JobState.LEASED, event.attempt, None)
        for effect in effects:
            before = self.rows.get(effect.step)
            match effect:
                case Dispatch():
                    assert before is None or before[:2] in {
                        (JobState.LEASED, effect.attempt - 1),
                        (JobState.BACKOFF, effect.attempt - 1),
                    }, "a dispatch while another is outstanding"
                    self.rows[effect.step] = (JobState.PENDING, effect.attempt, None)
                case Backoff():
                    assert before in {
                        (JobState.LEASED, effect.attempt, None),
                        (JobState.BACKOFF, effect.attempt, effect.until),
                    }
                    self.rows[effect.step] = (JobState.BACKOFF, effect.attempt, effect.until)
                case Withdraw():
                    assert before is not None
                    assert before[1] == effect.attempt
                case Settle():
                    del self.rows[effect.step]
                case DeadLetterStep():
                    assert before is None, "a dead letter is settled first"


class RandomRun(RuleBasedStateMachine):
    """One run under everything that can happen to it."""

    @initialize(plan=plans(), lost_attempts_max=st.integers(0, 3))
    def begin(self, plan: Plan, lost_attempts_max: int) -> None:
        self.plan = plan
        self.lost_attempts_max = lost_attempts_max
        self.now = NOW
        self.last: Command | None = None
        self.last_word = ""
        self.jobs = Jobs()
        self.reference = Reference(rules_of(plan), plan.timeout, NOW)
        decision = machine.start(plan, StartRun(RUN), NOW)
        self.history = list(decision.events)
        self.state: RunState = machine.fold(RUN, plan, decision.events)
        self.jobs.apply(decision.events, decision.effects)

    # --- one command on both sides

    def do(self, command: Command, expected: str) -> None:
        """Decide, compare the answer, and apply it."""
        before, closed = msgspec.msgpack.encode(self.state), not self.state.is_open
        decision = machine.decide(self.plan, self.state, command, self.now)
        assert msgspec.msgpack.encode(self.state) == before, "a decision changed the state"
        assert decision == machine.decide(self.plan, self.state, command, self.now), "two decisions differ"
        if isinstance(decision, Rejection):
            assert expected == WORDS[decision], f"{decision} where it should be {expected}"
            return
        if decision == NOTHING:
            assert expected == "nothing"
            return
        self._check(command, decision, expected, closed=closed)
        self.history += decision.events
        self.state = machine.fold(RUN, self.plan, decision.events, self.state)
        self.jobs.apply(decision.events, decision.effects)

    def _check(self, command: Command, decision: Decision, expected: str, *, closed: bool) -> None:
        assert expected == ("ok" if decision.events else "again")
        assert not closed or isinstance(command, RedriveStep), "a run that had ended went on"
        queued = [(one.step, one.attempt, one.alone) for one in decision.events if isinstance(one, StepQueued)]
        sent = [(one.step, one.attempt, one.alone) for one in decision.effects if isinstance(one, Dispatch)]
        assert queued == sent
        for step, _, alone in queued:
            assert alone == self.reference.rows[step].suspect, "a suspect has neighbours, or another is kept alone"
        dead = [effect for effect in decision.effects if isinstance(effect, DeadLetterStep)]
        assert len(dead) == sum(isinstance(event, RunFailed) for event in decision.events)

    def step_of(self, choice: int) -> int:
        """Choose an open step mostly, else any, and now and then one that does not exist."""
        known = list(self.state.open) if self.state.open and choice < 80 else [*self.plan.steps, 1000]
        return known[choice % len(known)]

    def taken_by(self, choice: int, offset: int) -> tuple[int, int]:
        """Choose an attempt that a worker has, taken just now if need be."""
        step = self.step_of(choice)
        place = self.state.open.get(step)
        if place is not None and place.status is StepStatus.QUEUED and choice % 8:
            self.do(StartAttempt(step, place.attempt, "w-1", self.now), self.reference.take(step, place.attempt))
        return step, self.attempt_of(step, offset)

    def attempt_of(self, step: int, offset: int) -> int:
        row = self.reference.rows.get(step)
        return (row.attempt if row else 1) + offset

    # --- what happens

    @rule(seconds=st.sampled_from([0.000_001, 0.5, 1, 2, 5, 30, -1, -10]))
    def pass_time(self, seconds: float) -> None:
        self.now = Time(self.now + round(seconds * MICROS))

    @rule(choice=choices, offset=offsets)
    def start_attempt(self, choice: int, offset: int) -> None:
        step = self.step_of(choice)
        attempt = self.attempt_of(step, offset)
        self.do(StartAttempt(step, attempt, "w-1", self.now), self.reference.take(step, attempt))

    @rule(choice=choices, offset=offsets, started=st.booleans())
    def report_a_result(self, choice: int, offset: int, started: bool) -> None:
        step = self.step_of(choice)
        attempt = self.attempt_of(step, offset)
        self.last = CompleteAttempt(step, attempt, "w-1", self.now if started else None)
        self.do(self.last, self.reference.succeed(step, attempt))

    @rule(
        choice=choices,
        offset=offsets,
        kind=st.sampled_from(TYPES),
        mendable=st.sampled_from([True, True, True, False]),
        wish=st.none() | whole_seconds,
        draw=draws,
    )
    def report_an_error(
        self, choice: int, offset: int, kind: str, mendable: bool, wish: Duration | None, draw: float
    ) -> None:
        step = self.step_of(choice)
        attempt = self.attempt_of(step, offset)
        self.last = FailAttempt(step, attempt, Failure(kind), mendable, wish, draw)
        expected = self.reference.err(step, attempt, self.now, kind, mendable=mendable, wish=wish, draw=draw)
        self.do(self.last, expected)

    @rule(choice=choices, offset=offsets)
    def release(self, choice: int, offset: int) -> None:
        step = self.step_of(choice)
        attempt = self.attempt_of(step, offset)
        self.last = ReleaseAttempt(step, attempt)
        self.do(self.last, self.reference.give_back(step, attempt))

    @precondition(lambda self: self.last is not None)
    @rule()
    def report_the_same_again(self) -> None:
        """A repeated report never has an effect, whatever happened between."""
        if isinstance(self.last, (CompleteAttempt, FailAttempt, ReleaseAttempt)):
            decision = machine.decide(self.plan, self.state, self.last, self.now)
            row = self.reference.rows.get(self.last.step)
            if row is None or row.attempt != self.last.attempt or row.at not in {"queued", "running"}:
                assert isinstance(decision, Rejection)

    @rule(choice=choices, offset=offsets, draw=draws)
    def time_out_an_attempt(self, choice: int, offset: int, draw: float) -> None:
        step, attempt = self.taken_by(choice, offset)
        self.do(TimeOutAttempt(step, attempt, draw), self.reference.overrun(step, attempt, self.now, draw))

    @rule(choice=choices, offset=offsets, draw=draws)
    def lose_a_worker(self, choice: int, offset: int, draw: float) -> None:
        step, attempt = self.taken_by(choice, offset)
        expected = self.reference.vanish(step, attempt, self.now, self.lost_attempts_max, draw)
        self.do(LoseAttempt(step, attempt, "lease ran out", self.lost_attempts_max, draw), expected)

    @rule(choice=choices, offset=offsets)
    def ring_any_timer(self, choice: int, offset: int) -> None:
        step = self.step_of(choice)
        attempt = self.attempt_of(step, offset)
        self.do(StartRetry(step, attempt), self.reference.ring(step, attempt, self.now))

    @precondition(lambda self: any(row.due is not None for row in self.reference.rows.values()))
    @rule(early=st.sampled_from([0, 0, 0, 1]))
    def ring_the_next_timer(self, early: int) -> None:
        due, step = min((row.due, step) for step, row in self.reference.rows.items() if row.due is not None)
        self.now = Time(max(self.now, due) if not early else due - early)
        attempt = self.attempt_of(step, 0)
        self.do(StartRetry(step, attempt), self.reference.ring(step, attempt, self.now))

    @rule(choice=choices)
    def cancel(self, choice: int) -> None:
        """Seldom, so that most runs get far."""
        if choice % 16 == 9 or not self.state.is_open:
            self.do(CancelRun("by hand"), self.reference.cancel())

    @rule(choice=choices)
    def end_the_run(self, choice: int) -> None:
        """Mostly before its deadline, sometimes at it."""
        if choice % 8 == 5 and self.state.deadline is not None:
            self.now = Time(max(self.now, self.state.deadline))
        self.do(TimeOutRun(), self.reference.expire(self.now))

    @precondition(lambda self: not self.state.is_open)
    @rule(choice=choices)
    def redrive(self, choice: int) -> None:
        failed = [step for step, row in self.reference.rows.items() if row.at == "failed"]
        others = [step for step, row in self.reference.rows.items() if row.at in {"completed", "pending"}]
        known = failed if failed and choice < 80 else [*others, 1000]
        step = known[choice % len(known)]
        self.do(RedriveStep(step), self.reference.revive(step, self.now))

    # --- what always holds

    @invariant()
    def the_state_is_the_fold_of_the_history(self) -> None:
        assert machine.fold(RUN, self.plan, self.history) == self.state

    @invariant()
    def the_reference_agrees(self) -> None:
        rows = self.reference.rows
        assert self.state.status == self.reference.status
        assert self.state.deadline == self.reference.deadline
        assert self.state.completed == sum(row.at == "completed" for row in rows.values())
        places = {**self.state.open, **self.state.halted}
        assert set(places) == {step for step, row in rows.items() if row.at in STEP_WORDS}
        for step, place in places.items():
            row = rows[step]
            seen = (place.status, place.attempt, place.failures, place.losses)
            assert seen == (STEP_WORDS[row.at], row.attempt, row.errors, row.losses)
            assert step in self.state.halted or place.retry_at == row.due
        half = {
            step: len(missing)
            for step, rules in self.reference.rules.items()
            if 0 < len(missing := [need for need in rules.needs if rows[need].at != "completed"]) < len(rules.needs)
        }
        assert self.state.joins == half

    @invariant()
    def every_open_step_has_exactly_one_thing_that_moves_it_on(self) -> None:
        assert self.jobs.rows == {
            step: (JOB_STATES[place.status], place.attempt, place.retry_at) for step, place in self.state.open.items()
        }
        assert bool(self.state.open) == self.state.is_open

    @invariant()
    def an_open_run_waits_exactly_while_all_its_open_steps_back_off(self) -> None:
        if self.state.is_open:
            idle = all(place.status is StepStatus.BACKING_OFF for place in self.state.open.values())
            assert idle == (self.state.status is RunStatus.WAITING)

    @invariant()
    def a_result_is_recorded_at_most_once(self) -> None:
        recorded = [event.step for event in self.history if isinstance(event, StepCompleted)]
        assert len(recorded) == len(set(recorded))

    @invariant()
    def attempts_are_numbered_without_a_gap(self) -> None:
        for step in self.plan.steps:
            numbers = [event.attempt for event in self.history if isinstance(event, StepQueued) and event.step == step]
            assert numbers == list(range(1, len(numbers) + 1))

    @invariant()
    def no_budget_is_overdrawn(self) -> None:
        since = max((place for place, event in enumerate(self.history) if isinstance(event, RunRedriven)), default=0)
        for step, place in self.plan.steps.items():
            retries = place.definition.retry.max_retries
            now = [event for event in self.history[since:] if isinstance(event, AttemptFailed | AttemptLost)]
            failures = sum(isinstance(event, AttemptFailed) for event in now if event.step == step)
            losses = sum(isinstance(event, AttemptLost) for event in now if event.step == step)
            assert failures <= retries + 1
            assert losses <= min(retries, self.lost_attempts_max) + 1

    @invariant()
    def nothing_is_queued_after_a_cancel(self) -> None:
        assert not any(isinstance(event, RunCancelled) for event in self.history[:-1])

    @invariant()
    def a_step_is_queued_only_after_all_that_it_needs(self) -> None:
        done: set[int] = set()
        for event in self.history:
            if isinstance(event, StepCompleted):
                done.add(event.step)
            elif isinstance(event, StepQueued):
                assert done.issuperset(self.plan.steps[event.step].depends_on)

    def teardown(self) -> None:
        """Let everything go well from here: an open run then completes, so nothing was stuck."""
        if not hasattr(self, "state"):
            return
        for _ in range(4 * len(self.plan.steps)):
            if not self.state.is_open:
                break
            step, place = next(iter(self.state.open.items()))
            if place.retry_at is not None:
                self.now = Time(max(self.now, place.retry_at))
                self.do(StartRetry(step, place.attempt), self.reference.ring(step, place.attempt, self.now))
            attempt = self.state.open[step].attempt
            self.do(CompleteAttempt(step, attempt), self.reference.succeed(step, attempt))
        assert not self.state.is_open, "the run is stuck"


TestRandomRun = RandomRun.TestCase
TestRandomRun.settings = settings(max_examples=3 * settings().max_examples, stateful_step_count=50)
