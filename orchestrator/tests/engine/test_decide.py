"""What a run does with the reports of its workers: the way through, and the fence around it."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.engine import run as machine
from orchestrator.engine.command import (
    NOTHING,
    CancelRun,
    Command,
    CompleteAttempt,
    Decision,
    Dispatch,
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
)
from orchestrator.model.definition import RetryPolicy
from orchestrator.model.event import (
    AttemptReleased,
    AttemptStarted,
    RunCompleted,
    RunStarted,
    StepCompleted,
    StepQueued,
)
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import BROKE, NOW, RUN, WORKER, Story, at, make_linear, seconds

ONCE: Final = RetryPolicy(max_retries=0)


# --- the way through ---------------------------------------------------------------------------------------------


def test_starting_a_run_queues_its_first_step_only() -> None:
    assert machine.start(make_linear(3), StartRun(RUN), NOW) == Decision(
        events=(RunStarted(NOW, "flow", 1), StepQueued(NOW, 0, 1)),
        effects=(Dispatch(0, 1, "a0", None),),
    )


def test_a_run_with_a_timeout_knows_its_deadline_from_the_start() -> None:
    decision = machine.start(make_linear(1, timeout=seconds(60)), StartRun(RUN), NOW)
    assert decision.events[0] == RunStarted(NOW, "flow", 1, at(60))


def test_a_taken_job_is_recorded_with_its_worker_and_its_own_time() -> None:
    command = StartAttempt(0, 1, WORKER, at(2))
    assert Story(make_linear()).wait(3).ask(command) == Decision((AttemptStarted(at(2), 0, 1, WORKER),))


def test_a_result_queues_the_next_step_with_that_result_as_its_input() -> None:
    assert Story(make_linear()).take().ask(CompleteAttempt(0, 1)) == Decision(
        events=(StepCompleted(NOW, 0, 1), StepQueued(NOW, 1, 1)),
        effects=(Settle(0), Dispatch(1, 1, "a1", 0)),
    )


def test_a_result_before_the_recorded_start_records_both() -> None:
    command = CompleteAttempt(0, 1, WORKER, at(1))
    assert Story(make_linear()).wait(5).ask(command) == Decision(
        events=(AttemptStarted(at(1), 0, 1, WORKER), StepCompleted(at(5), 0, 1), StepQueued(at(5), 1, 1)),
        effects=(Settle(0), Dispatch(1, 1, "a1", 0)),
    )


def test_a_result_without_a_known_start_is_taken_to_have_started_now() -> None:
    decision = Story(make_linear()).wait(5).ask(CompleteAttempt(0, 1))
    assert isinstance(decision, Decision)
    assert decision.events[0] == AttemptStarted(at(5), 0, 1, "")


def test_a_start_that_was_recorded_is_not_recorded_again() -> None:
    decision = Story(make_linear()).take().ask(CompleteAttempt(0, 1, "w-2", at(9)))
    assert isinstance(decision, Decision)
    assert decision.events[0] == StepCompleted(NOW, 0, 1)


def test_the_last_result_completes_the_run() -> None:
    story = Story(make_linear()).take(0).complete(0).take(1)
    assert story.ask(CompleteAttempt(1, 1)) == Decision(
        events=(StepCompleted(NOW, 1, 1), RunCompleted(NOW)),
        effects=(Settle(1),),
    )


def test_a_run_goes_through_all_its_steps_in_order() -> None:
    story = Story(make_linear(3))
    for step in range(3):
        assert story.state.current_step == step
        assert story.open == {step: OpenStep(StepStatus.QUEUED, 1)}
        story.take(step)
        assert story.open == {step: OpenStep(StepStatus.RUNNING, 1)}
        story.wait(1).complete(step)
    assert story.history == [
        RunStarted(NOW, "flow", 1),
        StepQueued(NOW, 0, 1),
        AttemptStarted(NOW, 0, 1, WORKER),
        StepCompleted(at(1), 0, 1),
        StepQueued(at(1), 1, 1),
        AttemptStarted(at(1), 1, 1, WORKER),
        StepCompleted(at(2), 1, 1),
        StepQueued(at(2), 2, 1),
        AttemptStarted(at(2), 2, 1, WORKER),
        StepCompleted(at(3), 2, 1),
        RunCompleted(at(3)),
    ]
    assert story.state.status is RunStatus.COMPLETED
    assert story.state.completed == 3
    assert story.open == {}
    assert story.state.started_at == NOW
    assert story.state.ended_at == at(3)


# --- release -----------------------------------------------------------------------------------------------------


def test_a_released_job_is_queued_again_at_once() -> None:
    assert Story(make_linear()).take().wait(1).ask(ReleaseAttempt(0, 1)) == Decision(
        events=(AttemptReleased(at(1), 0, 1), StepQueued(at(1), 0, 2)),
        effects=(Dispatch(0, 2, "a0", None),),
    )


def test_a_job_released_before_its_recorded_start_leaves_a_whole_history() -> None:
    assert Story(make_linear()).ask(ReleaseAttempt(0, 1, WORKER)) == Decision(
        events=(AttemptStarted(NOW, 0, 1, WORKER), AttemptReleased(NOW, 0, 1), StepQueued(NOW, 0, 2)),
        effects=(Dispatch(0, 2, "a0", None),),
    )


def test_releases_count_against_nothing() -> None:
    """A step without a single retry is given back ten times and can still succeed."""
    story = Story(make_linear(1, retry=ONCE))
    for attempt in range(1, 11):
        story.do(ReleaseAttempt(0, attempt))
    assert story.open == {0: OpenStep(StepStatus.QUEUED, 11)}
    assert story.complete(0).state.status is RunStatus.COMPLETED


def test_a_release_keeps_the_count_of_failures_and_the_last_failure() -> None:
    story = Story(make_linear()).take().fail().retry().take().do(ReleaseAttempt(0, 2))
    assert story.open[0] == OpenStep(StepStatus.QUEUED, 3, failures=1, failure=BROKE)


def test_a_suspect_that_is_released_stays_alone() -> None:
    story = Story(make_linear()).take().lose().retry().take()
    decision = story.ask(ReleaseAttempt(0, 2))
    assert isinstance(decision, Decision)
    assert decision.events[-1] == StepQueued(story.now, 0, 3, alone=True)
    assert decision.effects == (Dispatch(0, 3, "a0", None, alone=True),)


# --- the fence ---------------------------------------------------------------------------------------------------


def test_a_stale_attempt_cannot_complete_the_step() -> None:
    story = Story(make_linear()).take().do(ReleaseAttempt(0, 1)).take()
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.SUPERSEDED


def test_a_stale_attempt_cannot_complete_the_run() -> None:
    story = Story(make_linear(1)).take().lose().retry().take()
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.SUPERSEDED
    assert story.complete(0).state.status is RunStatus.COMPLETED


def test_a_second_result_of_a_step_is_rejected() -> None:
    story = Story(make_linear()).take().complete(0)
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.RECORDED


def test_an_error_after_the_result_is_rejected() -> None:
    story = Story(make_linear()).take().complete(0)
    assert story.ask(FailAttempt(0, 1, BROKE)) is Rejection.RECORDED


def test_a_result_after_the_run_completed_is_rejected() -> None:
    story = Story(make_linear(1)).take().complete(0)
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.RUN_FINISHED


def test_an_attempt_that_was_never_given_out_cannot_complete_the_step() -> None:
    assert Story(make_linear()).take().ask(CompleteAttempt(0, 2)) is Rejection.SUPERSEDED


def test_a_result_that_comes_while_the_step_backs_off_is_superseded() -> None:
    """The attempt was lost with its worker; that it says something after all comes too late."""
    story = Story(make_linear()).take().lose()
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.SUPERSEDED


def test_a_repeated_error_counts_once() -> None:
    story = Story(make_linear()).take().fail()
    assert story.ask(FailAttempt(0, 1, BROKE)) is Rejection.SUPERSEDED
    assert story.open[0].failures == 1


def test_a_step_that_was_not_reached_has_no_result_to_repeat() -> None:
    assert Story(make_linear()).take().ask(CompleteAttempt(1, 1)) is Rejection.SUPERSEDED


# --- every command in every state --------------------------------------------------------------------------------

COMMANDS: Final[dict[str, Command]] = {
    "start": StartAttempt(0, 1, WORKER, NOW),
    "complete": CompleteAttempt(0, 1),
    "fail": FailAttempt(0, 1, BROKE),
    "release": ReleaseAttempt(0, 1),
    "time out": TimeOutAttempt(0, 1),
    "lose": LoseAttempt(0, 1, "lease ran out", 3),
    "retry": StartRetry(0, 1),
    "cancel": CancelRun(),
    "end of the run": TimeOutRun(),
    "redrive": RedriveStep(0),
}
"""Each aims at the first attempt of the first of two steps."""


def _queued() -> Story:
    return Story(make_linear(timeout=seconds(60)))


def _failed() -> Story:
    return Story(make_linear(retry=ONCE, timeout=seconds(60))).take().fail()


STATES: Final[dict[str, tuple[Story, dict[str, str]]]] = {
    "queued": (
        _queued(),
        {
            "start": "AttemptStarted",
            "complete": "AttemptStarted StepCompleted StepQueued",
            "fail": "AttemptStarted AttemptFailed RunWaiting",
            "release": "AttemptStarted AttemptReleased StepQueued",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "running": (
        _queued().take(),
        {
            "complete": "StepCompleted StepQueued",
            "fail": "AttemptFailed RunWaiting",
            "release": "AttemptReleased StepQueued",
            "time out": "AttemptFailed RunWaiting",
            "lose": "AttemptLost RunWaiting",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "backing off": (
        _queued().take().fail(),
        {
            "complete": "attempt-superseded",
            "fail": "attempt-superseded",
            "release": "attempt-superseded",
            "retry": "RunResumed StepQueued",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "queued again": (
        _queued().take().fail().retry(),
        {
            "complete": "attempt-superseded",
            "fail": "attempt-superseded",
            "release": "attempt-superseded",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "running again": (
        _queued().take().fail().retry().take(),
        {
            "complete": "attempt-superseded",
            "fail": "attempt-superseded",
            "release": "attempt-superseded",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "completed": (
        _queued().take().complete(0),
        {
            "complete": "already-recorded",
            "fail": "already-recorded",
            "release": "already-recorded",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
    "of a completed run": (
        _queued().complete(0, 1),
        {
            "complete": "run-finished",
            "fail": "run-finished",
            "release": "run-finished",
            "cancel": "run-finished",
            "redrive": "run-finished",
        },
    ),
    "of a failed run": (
        _failed(),
        {
            "complete": "run-finished",
            "fail": "run-finished",
            "release": "run-finished",
            "cancel": "run-finished",
            "redrive": "RunRedriven StepQueued",
        },
    ),
    "of a cancelled run": (
        _queued().take().do(CancelRun()),
        {"complete": "run-finished", "fail": "run-finished", "release": "run-finished", "redrive": "run-finished"},
    ),
    "of a run that timed out": (
        _queued().take().wait(60).do(TimeOutRun()),
        {
            "complete": "run-finished",
            "fail": "run-finished",
            "release": "run-finished",
            "cancel": "run-finished",
            "redrive": "run-finished",
        },
    ),
    "redriven": (
        _failed().do(RedriveStep(0)),
        {
            "complete": "attempt-superseded",
            "fail": "attempt-superseded",
            "release": "attempt-superseded",
            "cancel": "StepCancelled RunCancelled",
            "end of the run": "StepCancelled RunTimedOut",
            "redrive": "run-finished",
        },
    ),
}
"""A step in each state of its own and its run's life, and what each command does there; what is left out: nothing."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", STATES)
def test_every_command_in_every_state(state: str, command: str) -> None:
    story, outcomes = STATES[state]
    decision = machine.decide(story.plan, story.state, COMMANDS[command], at(120))
    if isinstance(decision, Rejection):
        outcome = str(decision)
    elif decision == NOTHING:
        outcome = ""
    else:
        outcome = " ".join(type(event).__name__ for event in decision.events)
    assert outcome == outcomes.get(command, "")
