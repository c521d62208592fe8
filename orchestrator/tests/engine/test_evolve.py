"""Events and the states they make: only rows of the tables, and never a change in place."""

from __future__ import annotations

from itertools import product
from typing import Final, get_args

import msgspec
import pytest

from orchestrator.engine import run as machine
from orchestrator.engine.command import CancelRun, RedriveStep, TimeOutRun
from orchestrator.model.definition import RetryPolicy
from orchestrator.model.errors import InvariantBroken
from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunRedriven,
    RunResumed,
    RunStarted,
    RunTimedOut,
    RunWaiting,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
)
from orchestrator.model.run import RunState
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import BROKE, NOW, RUN, Story, at, make_graph, make_linear, seconds

NEVER: Final = RetryPolicy(max_retries=0)

RUN_EVENTS: Final[dict[type[Event], Event]] = {
    RunStarted: RunStarted(NOW, "flow", 1),
    RunWaiting: RunWaiting(NOW),
    RunResumed: RunResumed(NOW),
    RunCompleted: RunCompleted(NOW),
    RunFailed: RunFailed(NOW, 0, BROKE),
    RunCancelled: RunCancelled(NOW),
    RunTimedOut: RunTimedOut(NOW),
    RunRedriven: RunRedriven(NOW, 0),
}
STEP_EVENTS: Final[dict[type[Event], Event]] = {
    StepQueued: StepQueued(NOW, 0, 1),
    AttemptStarted: AttemptStarted(NOW, 0, 1, "w-1"),
    StepCompleted: StepCompleted(NOW, 0, 1),
    AttemptFailed: AttemptFailed(NOW, 0, 1, BROKE, at(1)),
    AttemptLost: AttemptLost(NOW, 0, 1, BROKE, at(1)),
    AttemptReleased: AttemptReleased(NOW, 0, 1),
    StepFailed: StepFailed(NOW, 0, 1),
    StepCancelled: StepCancelled(NOW, 0, 1),
}
"""One of each, about the first of two steps."""


def make_runs() -> dict[RunStatus, Story]:
    """Give a run in every state."""
    return {
        RunStatus.RUNNING: Story(make_linear()).take(),
        RunStatus.WAITING: Story(make_linear()).take().fail(),
        RunStatus.COMPLETED: Story(make_linear()).complete(0, 1),
        RunStatus.FAILED: Story(make_linear(retry=NEVER)).take().fail(),
        RunStatus.CANCELLED: Story(make_linear()).take().do(CancelRun()),
        RunStatus.TIMED_OUT: Story(make_linear(timeout=seconds(1))).take().wait(1).do(TimeOutRun()),
    }


def make_steps() -> dict[StepStatus, Story]:
    """Give a run that is open and whose step 0 is in the state asked for."""
    pending = make_graph({0: (1,), 1: ()})
    # A halted step is seen in an open run only between the redrive and its next attempt.
    failed = Story(make_linear(retry=NEVER)).take().fail()
    failed.state = machine.evolve(failed.plan, failed.state, RunRedriven(NOW, 0))
    cancelled = Story(make_graph({0: (), 1: ()}, policies={1: NEVER})).fail(1)
    cancelled.state = machine.evolve(cancelled.plan, cancelled.state, RunRedriven(NOW, 1))
    return {
        StepStatus.PENDING: Story(pending),
        StepStatus.QUEUED: Story(make_linear()),
        StepStatus.RUNNING: Story(make_linear()).take(),
        StepStatus.BACKING_OFF: Story(make_linear()).take().fail(),
        StepStatus.COMPLETED: Story(make_linear()).complete(0),
        StepStatus.FAILED: failed,
        StepStatus.CANCELLED: cancelled,
    }


def is_refused(story: Story, event: Event) -> bool:
    """Say whether an event is refused, and insist that the state is left as it was."""
    before = msgspec.msgpack.encode(story.state)
    with pytest.raises(InvariantBroken):
        machine.evolve(story.plan, story.state, event)
    return msgspec.msgpack.encode(story.state) == before


# --- the tables --------------------------------------------------------------------------------------------------


def test_the_tables_name_every_event_but_the_first() -> None:
    named = {event for _, event in machine.RUN_TRANSITIONS} | {event for _, event in machine.STEP_TRANSITIONS}
    assert named | {RunStarted} == set(get_args(Event)) == {*RUN_EVENTS, *STEP_EVENTS}


def test_no_event_is_in_both_tables() -> None:
    of_runs = {event for _, event in machine.RUN_TRANSITIONS}
    of_steps = {event for _, event in machine.STEP_TRANSITIONS}
    assert not of_runs & of_steps


def test_states_that_absorb_have_no_row() -> None:
    absorbing = set(RunStatus) - {state for state, _ in machine.RUN_TRANSITIONS}
    assert absorbing == {RunStatus.COMPLETED, RunStatus.CANCELLED, RunStatus.TIMED_OUT}
    assert {event for state, event in machine.RUN_TRANSITIONS if state is RunStatus.FAILED} == {RunRedriven}
    assert StepStatus.COMPLETED not in {state for state, _ in machine.STEP_TRANSITIONS}


def test_every_state_can_be_reached() -> None:
    assert set(RunStatus) == {RunStatus.RUNNING, *machine.RUN_TRANSITIONS.values()}
    assert set(StepStatus) == {StepStatus.PENDING, *machine.STEP_TRANSITIONS.values()}


@pytest.mark.parametrize(("state", "event"), machine.RUN_TRANSITIONS)
def test_a_row_of_the_run_s_table_is_what_evolve_does(state: RunStatus, event: type[Event]) -> None:
    story = make_runs()[state]
    after = machine.evolve(story.plan, story.state, RUN_EVENTS[event])
    assert after.status is machine.RUN_TRANSITIONS[state, event]


@pytest.mark.parametrize(("state", "event"), machine.STEP_TRANSITIONS)
def test_a_row_of_the_step_s_table_is_what_evolve_does(state: StepStatus, event: type[Event]) -> None:
    story = make_steps()[state]
    after = machine.evolve(story.plan, story.state, STEP_EVENTS[event])
    step = after.open.get(0) or after.halted.get(0)
    status = StepStatus.COMPLETED if step is None else step.status
    assert status is machine.STEP_TRANSITIONS[state, event]
    assert (0 in after.open) == (status in {StepStatus.QUEUED, StepStatus.RUNNING, StepStatus.BACKING_OFF})


ILLEGAL_FOR_RUNS: Final = [
    (state, event) for state, event in product(RunStatus, RUN_EVENTS) if (state, event) not in machine.RUN_TRANSITIONS
]
ILLEGAL_FOR_STEPS: Final = [
    (state, event)
    for state, event in product(StepStatus, STEP_EVENTS)
    if (state, event) not in machine.STEP_TRANSITIONS
]


@pytest.mark.parametrize(("state", "event"), ILLEGAL_FOR_RUNS)
def test_an_event_that_the_run_s_table_lacks_is_refused(state: RunStatus, event: type[Event]) -> None:
    assert is_refused(make_runs()[state], RUN_EVENTS[event])


@pytest.mark.parametrize(("state", "event"), ILLEGAL_FOR_STEPS)
def test_an_event_that_the_step_s_table_lacks_is_refused(state: StepStatus, event: type[Event]) -> None:
    assert is_refused(make_steps()[state], STEP_EVENTS[event])


@pytest.mark.parametrize("event", [StepQueued(NOW, 7, 1), AttemptStarted(NOW, 7, 1, "w-1"), StepFailed(NOW, 7, 1)])
def test_an_event_about_a_step_that_the_plan_lacks_is_refused(event: Event) -> None:
    assert is_refused(Story(make_linear()), event)


@pytest.mark.parametrize("event", STEP_EVENTS)
@pytest.mark.parametrize("state", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT])
def test_nothing_happens_to_the_steps_of_a_run_that_ended(state: RunStatus, event: type[Event]) -> None:
    assert is_refused(make_runs()[state], STEP_EVENTS[event])


# --- histories ---------------------------------------------------------------------------------------------------


def make_eventful() -> Story:
    """Give a run that has seen an error, a loss, a release, a dead letter and a redrive."""
    story = Story(make_linear(timeout=seconds(3600)))
    story.take().fail().retry().take().lose().retry().take().complete(0)
    return story.take(1).fail(1, retryable=False).wait(60).do(RedriveStep(1)).take(1).complete(1)


def test_a_state_is_the_fold_of_its_history() -> None:
    story = make_eventful()
    assert machine.fold(RUN, story.plan, story.history) == story.state


def test_a_history_may_be_folded_in_pieces() -> None:
    story = make_eventful()
    for cut in range(1, len(story.history)):
        early = machine.fold(RUN, story.plan, story.history[:cut])
        assert machine.fold(RUN, story.plan, story.history[cut:], early) == story.state


def test_a_history_survives_being_stored() -> None:
    story = make_eventful()
    decoder = msgspec.json.Decoder(list[Event])
    stored: list[Event] = decoder.decode(msgspec.json.encode(story.history))
    assert machine.fold(RUN, story.plan, stored) == story.state


def test_an_event_leaves_the_state_before_it_as_it_was() -> None:
    story = make_eventful()
    states: list[RunState] = []
    encoded: list[bytes] = []
    for length in range(1, len(story.history) + 1):
        states.append(machine.fold(RUN, story.plan, story.history[length - 1 : length], states[-1] if states else None))
        encoded.append(msgspec.msgpack.encode(states[-1]))
    assert [msgspec.msgpack.encode(state) for state in states] == encoded


def test_a_run_begins_with_what_its_first_event_says() -> None:
    plan = make_linear()
    assert machine.begin(RUN, plan, RunStarted(NOW, "flow", 7, at(60))) == RunState(
        run_id=RUN,
        workflow_id="flow",
        version=7,
        status=RunStatus.RUNNING,
        started_at=NOW,
        deadline=at(60),
        open={},
        joins={},
        halted={},
    )


def test_a_history_without_events_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="empty"):
        machine.fold(RUN, make_linear(), [])


def test_a_history_that_does_not_begin_with_its_start_is_refused() -> None:
    with pytest.raises(InvariantBroken, match="begins with"):
        machine.fold(RUN, make_linear(), [StepQueued(NOW, 0, 1)])


def test_a_message_about_a_broken_history_names_event_and_state() -> None:
    story = Story(make_linear()).complete(0, 1)
    with pytest.raises(InvariantBroken, match="RunCancelled in a run that is COMPLETED"):
        machine.evolve(story.plan, story.state, RunCancelled(NOW))
    with pytest.raises(InvariantBroken, match=r"StepFailed.* at a step that is RUNNING"):
        machine.evolve(story.plan, Story(make_linear()).take().state, StepFailed(NOW, 0, 1))
