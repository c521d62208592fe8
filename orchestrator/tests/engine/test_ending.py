"""How a run ends from outside, and how a failed one is given another chance."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.engine.command import (
    NOTHING,
    Backoff,
    CancelRun,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    FailAttempt,
    LoseAttempt,
    RedriveStep,
    ReleaseAttempt,
    Settle,
    StartRetry,
    TimeOutRun,
    Withdraw,
)
from orchestrator.model.definition import RetryPolicy
from orchestrator.model.event import (
    AttemptFailed,
    Failure,
    RunCancelled,
    RunFailed,
    RunRedriven,
    RunTimedOut,
    RunWaiting,
    StepCancelled,
    StepFailed,
    StepQueued,
)
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import BROKE, NOW, Story, at, make_linear, seconds

NEVER: Final = RetryPolicy(max_retries=0)


# --- cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(make_linear()), id="queued"),
        pytest.param(Story(make_linear()).take(), id="running"),
        pytest.param(Story(make_linear()).take().fail(), id="waiting"),
    ],
)
def test_a_cancelled_run_withdraws_its_job(story: Story) -> None:
    assert story.ask(CancelRun("by hand")) == Decision(
        events=(StepCancelled(NOW, 0, 1), RunCancelled(NOW, "by hand")),
        effects=(Withdraw(0, 1), Settle(0)),
    )


def test_a_cancelled_run_keeps_what_it_was_at() -> None:
    story = Story(make_linear()).take().fail().wait(0.5).do(CancelRun())
    assert story.state.status is RunStatus.CANCELLED
    assert story.state.ended_at == at(0.5)
    assert story.open == {}
    assert story.halted == {
        0: OpenStep(StepStatus.CANCELLED, 1, failures=1, retry_at=at(1), failure=BROKE),
    }


def test_cancelling_twice_changes_nothing() -> None:
    assert Story(make_linear()).take().do(CancelRun("one")).ask(CancelRun("two")) == NOTHING


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(Story(make_linear(1)).complete(0), id="completed"),
        pytest.param(Story(make_linear(retry=NEVER)).fail(), id="failed"),
        pytest.param(Story(make_linear(timeout=seconds(5))).wait(5).do(TimeOutRun()), id="timed out"),
    ],
)
def test_a_run_that_ended_cannot_be_cancelled(story: Story) -> None:
    assert story.ask(CancelRun()) is Rejection.RUN_FINISHED


def test_no_step_starts_after_a_cancel() -> None:
    story = Story(make_linear()).take().do(CancelRun())
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.RUN_FINISHED
    assert story.ask(ReleaseAttempt(0, 1)) is Rejection.RUN_FINISHED
    assert story.ask(RedriveStep(0)) is Rejection.RUN_FINISHED


def test_a_retry_timer_of_a_cancelled_run_does_nothing() -> None:
    assert Story(make_linear()).take().fail().do(CancelRun()).wait(1).ask(StartRetry(0, 1)) == NOTHING


# --- the deadline ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0, 0.000_001, 3600])
def test_a_run_times_out_at_its_deadline_and_not_before(late: float) -> None:
    story = Story(make_linear(timeout=seconds(60))).take()
    story.wait(59.999_999)
    assert story.ask(TimeOutRun()) == NOTHING
    story.wait(0.000_001 + late)
    assert story.ask(TimeOutRun()) == Decision(
        events=(StepCancelled(at(60 + late), 0, 1), RunTimedOut(at(60 + late))),
        effects=(Withdraw(0, 1), Settle(0)),
    )


def test_a_waiting_run_times_out_too() -> None:
    story = Story(make_linear(retry=RetryPolicy(delay=seconds(90)), timeout=seconds(60))).take().fail().wait(60)
    story.do(TimeOutRun())
    assert story.state.status is RunStatus.TIMED_OUT
    assert story.state.ended_at == at(60)
    assert story.state.failure == Failure("RunTimeout", "the run was not over within 60 s: it was at step 0 (a0)")
    assert story.wait(30).ask(StartRetry(0, 1)) == NOTHING


def test_a_run_without_a_timeout_never_times_out() -> None:
    assert Story(make_linear()).wait(1e9).ask(TimeOutRun()) == NOTHING


def test_a_run_that_ended_does_not_time_out() -> None:
    assert Story(make_linear(1, timeout=seconds(60))).complete(0).wait(61).ask(TimeOutRun()) == NOTHING


# --- redrive -----------------------------------------------------------------------------------------------------


def test_a_redriven_step_starts_again_with_the_next_attempt_number() -> None:
    story = Story(make_linear()).complete(0).take(1).fail(1, retryable=False).wait(3600)
    assert story.ask(RedriveStep(1)) == Decision(
        events=(RunRedriven(at(3600), 1), StepQueued(at(3600), 1, 2)),
        effects=(Dispatch(1, 2, "a1", 0),),
    )


def test_a_redriven_run_is_open_again_and_forgets_its_end() -> None:
    story = Story(make_linear(1)).take().fail(retryable=False).wait(60).do(RedriveStep(0))
    assert story.state.status is RunStatus.RUNNING
    assert story.state.ended_at is None
    assert story.state.failure is None
    assert story.halted == {}
    assert story.open == {0: OpenStep(StepStatus.QUEUED, 2)}
    assert story.state.started_at == NOW
    assert story.take().complete(0).state.status is RunStatus.COMPLETED
    assert story.state.ended_at == at(60)


def test_a_redriven_step_has_a_fresh_budget() -> None:
    """Again four executions, numbered on, and the second dead letter counts only its own."""
    story = Story(make_linear(1))
    for _ in range(3):
        story.take().fail().retry()
    story.take().fail().do(RedriveStep(0))
    for attempt in (5, 6, 7):
        assert story.attempt(0) == attempt
        story.take().fail().retry()
    assert story.take().ask(FailAttempt(0, 8, BROKE)) == Decision(
        events=(
            AttemptFailed(story.now, 0, 8, BROKE, None),
            StepFailed(story.now, 0, 8),
            RunFailed(story.now, 0, BROKE),
        ),
        effects=(Settle(0), DeadLetterStep(0, 8, 4, BROKE)),
    )


def test_a_run_can_be_redriven_again_and_again() -> None:
    story = Story(make_linear(1, retry=NEVER))
    for attempt in range(1, 6):
        story.take().fail().do(RedriveStep(0))
        assert story.attempt(0) == attempt + 1
    assert story.take().complete(0).state.status is RunStatus.COMPLETED


def test_a_redriven_run_has_its_whole_timeout_again() -> None:
    story = Story(make_linear(retry=NEVER, timeout=seconds(60))).take().fail().wait(600)
    assert story.ask(RedriveStep(0)) == Decision(
        events=(RunRedriven(at(600), 0, at(660)), StepQueued(at(600), 0, 2)),
        effects=(Dispatch(0, 2, "a0", None),),
    )
    story.do(RedriveStep(0))
    assert story.ask(TimeOutRun()) == NOTHING
    assert story.wait(60).do(TimeOutRun()).state.status is RunStatus.TIMED_OUT


def test_a_suspect_that_is_redriven_runs_alone() -> None:
    story = Story(make_linear(1, retry=NEVER)).take().lose()
    assert story.ask(RedriveStep(0)) == Decision(
        events=(RunRedriven(NOW, 0), StepQueued(NOW, 0, 2, alone=True)),
        effects=(Dispatch(0, 2, "a0", None, alone=True),),
    )


def test_a_redriven_suspect_has_a_fresh_budget_of_losses() -> None:
    story = Story(make_linear(1, retry=RetryPolicy(max_retries=1)))
    story.take().lose().retry().take().lose().do(RedriveStep(0)).take()
    assert story.ask(LoseAttempt(0, 3, "lease ran out", 3)) != NOTHING
    assert story.lose().open[0].losses == 1


def test_a_redriven_suspect_that_is_released_stays_alone() -> None:
    """It was given back before anybody tried it: what it did to its worker is as true as before."""
    story = Story(make_linear(1, retry=NEVER)).take().lose().do(RedriveStep(0)).take().do(ReleaseAttempt(0, 2))
    assert story.history[-1] == StepQueued(NOW, 0, 3, alone=True)


def test_a_suspect_stays_one_in_every_later_life_of_its_run() -> None:
    """An error of its own between two redrives does not clear it."""
    story = Story(make_linear(1, retry=NEVER)).take().lose().do(RedriveStep(0)).take().fail().do(RedriveStep(0))
    assert story.history[-1] == StepQueued(NOW, 0, 3, alone=True)


def test_a_step_that_did_not_fail_cannot_be_redriven() -> None:
    story = Story(make_linear(retry=NEVER)).complete(0).take(1).fail(1)
    assert story.ask(RedriveStep(0)) is Rejection.RUN_FINISHED
    assert story.ask(RedriveStep(7)) is Rejection.RUN_FINISHED


def test_a_late_report_of_the_attempt_before_the_redrive_is_superseded() -> None:
    story = Story(make_linear(1, retry=NEVER)).take().fail().do(RedriveStep(0))
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.SUPERSEDED


def test_a_redriven_run_waits_and_resumes_as_any_other() -> None:
    story = Story(make_linear(1)).take().fail(retryable=False).do(RedriveStep(0)).take()
    assert story.ask(FailAttempt(0, 2, BROKE)) == Decision(
        events=(AttemptFailed(NOW, 0, 2, BROKE, at(1)), RunWaiting(NOW)),
        effects=(Backoff(0, 2, at(1)),),
    )
    assert story.fail().retry().take().complete(0).state.status is RunStatus.COMPLETED


def test_a_redriven_run_can_be_cancelled() -> None:
    story = Story(make_linear(1, retry=NEVER)).take().fail().do(RedriveStep(0), CancelRun())
    assert story.state.status is RunStatus.CANCELLED
    assert story.halted == {0: OpenStep(StepStatus.CANCELLED, 2)}
