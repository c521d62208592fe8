"""Runs whose steps go side by side: forks, joins, and what one branch does to the others."""

from __future__ import annotations

from typing import Final

import pytest

from orchestrator.engine import run as machine
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
    StartRun,
    TimeOutRun,
    Withdraw,
)
from orchestrator.model.definition import RetryPolicy
from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    Failure,
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
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import BROKE, DIAMOND, NOW, RUN, TWO_BRANCHES, Story, at, make_graph, seconds

NEVER: Final = RetryPolicy(max_retries=0)
SLOW: Final = RetryPolicy(delay=seconds(10))


def make_fork(*, policies: dict[int, RetryPolicy] | None = None) -> Story:
    """Give a diamond whose two sides are queued."""
    return Story(make_graph(DIAMOND, policies=policies)).complete(0)


# --- forks and joins ---------------------------------------------------------------------------------------------


def test_every_step_that_depends_on_nothing_is_queued_at_the_start() -> None:
    assert machine.start(make_graph(TWO_BRANCHES), StartRun(RUN), NOW) == Decision(
        events=(RunStarted(NOW, "flow", 1), StepQueued(NOW, 0, 1), StepQueued(NOW, 1, 1)),
        effects=(Dispatch(0, 1, "a0", None), Dispatch(1, 1, "a1", None)),
    )


def test_a_fork_queues_both_sides_with_the_same_input() -> None:
    assert Story(make_graph(DIAMOND)).take().ask(CompleteAttempt(0, 1)) == Decision(
        events=(StepCompleted(NOW, 0, 1), StepQueued(NOW, 1, 1), StepQueued(NOW, 2, 1)),
        effects=(Settle(0), Dispatch(1, 1, "a1", 0), Dispatch(2, 1, "a2", 0)),
    )


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_a_join_waits_for_the_slower_side(first: int, second: int) -> None:
    story = make_fork().take(first)
    assert story.ask(CompleteAttempt(first, 1)) == Decision((StepCompleted(NOW, first, 1),), (Settle(first),))
    story.complete(first)
    assert story.state.joins == {3: 1}
    assert story.state.status is RunStatus.RUNNING
    assert story.take(second).ask(CompleteAttempt(second, 1)) == Decision(
        events=(StepCompleted(NOW, second, 1), StepQueued(NOW, 3, 1)),
        effects=(Settle(second), Dispatch(3, 1, "a3", 2)),
    )
    story.complete(second)
    assert story.state.joins == {}
    assert story.complete(3).state.status is RunStatus.COMPLETED


def test_a_repeated_result_of_one_side_does_not_open_the_join() -> None:
    story = make_fork().complete(1)
    assert story.ask(CompleteAttempt(1, 1)) is Rejection.RECORDED
    assert story.state.joins == {3: 1}


def test_the_run_completes_with_the_last_of_its_branches() -> None:
    story = Story(make_graph(TWO_BRANCHES)).complete(0, 1, 3)
    assert story.state.status is RunStatus.RUNNING
    assert story.take(2).ask(CompleteAttempt(2, 1)) == Decision(
        events=(StepCompleted(NOW, 2, 1), RunCompleted(NOW)), effects=(Settle(2),)
    )


def test_a_wide_join_opens_with_the_last_of_its_fifty_sides() -> None:
    sides = tuple(range(1, 51))
    story = Story(make_graph({0: (), **dict.fromkeys(sides, (0,)), 51: sides})).complete(0)
    assert set(story.open) == set(sides)
    story.complete(*reversed(sides[1:]))
    assert story.state.joins == {51: 1}
    assert story.complete(1).open == {51: OpenStep(StepStatus.QUEUED, 1)}
    assert story.complete(51).state.status is RunStatus.COMPLETED


def test_two_joins_over_the_same_steps_open_together() -> None:
    story = Story(make_graph({0: (), 1: (), 2: (0, 1), 3: (0, 1)})).complete(0)
    assert story.state.joins == {2: 1, 3: 1}
    decision = story.ask(CompleteAttempt(1, 1))
    assert isinstance(decision, Decision)
    assert decision.effects == (Settle(1), Dispatch(2, 1, "a2", 1), Dispatch(3, 1, "a3", 1))


# --- waiting -----------------------------------------------------------------------------------------------------


def test_a_run_does_not_wait_while_another_side_is_queued() -> None:
    assert make_fork().take(1).ask(FailAttempt(1, 1, BROKE)) == Decision(
        events=(AttemptFailed(NOW, 1, 1, BROKE, at(1)),), effects=(Backoff(1, 1, at(1)),)
    )


def test_a_run_does_not_wait_while_another_side_is_being_done() -> None:
    story = make_fork().take(1).take(2).fail(1)
    assert story.state.status is RunStatus.RUNNING


def test_a_run_waits_when_its_last_busy_side_fails() -> None:
    assert make_fork().take(1).take(2).fail(1).wait(0.5).ask(FailAttempt(2, 1, BROKE)) == Decision(
        events=(AttemptFailed(at(0.5), 2, 1, BROKE, at(1.5)), RunWaiting(at(0.5))),
        effects=(Backoff(2, 1, at(1.5)),),
    )


def test_a_run_waits_when_its_last_busy_side_is_lost() -> None:
    gone = Failure("WorkerLost", "lease ran out")
    assert make_fork().take(1).take(2).fail(1).ask(LoseAttempt(2, 1, "lease ran out", 3)) == Decision(
        events=(AttemptLost(NOW, 2, 1, gone, at(1)), RunWaiting(NOW)),
        effects=(Withdraw(2, 1), Backoff(2, 1, at(1))),
    )


def test_a_run_waits_when_its_last_busy_side_completes() -> None:
    """Nothing is left to do but the retry of the other side, which the join needs too."""
    assert make_fork().take(1).fail(1).take(2).ask(CompleteAttempt(2, 1)) == Decision(
        events=(StepCompleted(NOW, 2, 1), RunWaiting(NOW)), effects=(Settle(2),)
    )


def test_a_run_does_not_wait_when_a_completed_step_queues_another() -> None:
    story = Story(make_graph(TWO_BRANCHES)).fail(0).take(1)
    assert story.ask(CompleteAttempt(1, 1)) == Decision(
        events=(StepCompleted(NOW, 1, 1), StepQueued(NOW, 3, 1)), effects=(Settle(1), Dispatch(3, 1, "a3", 1))
    )


def test_a_released_job_keeps_the_run_from_waiting() -> None:
    story = make_fork().fail(1).take(2)
    decision = story.ask(ReleaseAttempt(2, 1))
    assert isinstance(decision, Decision)
    assert decision.events[-1] == StepQueued(NOW, 2, 2)
    assert story.do(ReleaseAttempt(2, 1)).state.status is RunStatus.RUNNING


def test_the_first_retry_resumes_a_waiting_run_and_the_second_finds_it_running() -> None:
    story = make_fork().fail(1).wait(0.5).fail(2).wait(1)
    assert story.state.status is RunStatus.WAITING
    assert story.ask(StartRetry(1, 1)) == Decision(
        events=(RunResumed(at(1.5)), StepQueued(at(1.5), 1, 2)), effects=(Dispatch(1, 2, "a1", 0),)
    )
    assert story.do(StartRetry(1, 1)).ask(StartRetry(2, 1)) == Decision(
        events=(StepQueued(at(1.5), 2, 2),), effects=(Dispatch(2, 2, "a2", 0),)
    )


def test_a_run_waits_again_when_the_resumed_side_fails_again() -> None:
    story = make_fork(policies={2: SLOW}).fail(1).fail(2).wait(1).do(StartRetry(1, 1))
    assert story.state.status is RunStatus.RUNNING
    assert story.fail(1).state.status is RunStatus.WAITING
    assert story.history[-1] == RunWaiting(at(1))


def test_an_early_timer_of_a_waiting_run_leaves_it_waiting() -> None:
    story = make_fork().fail(1).fail(2)
    assert story.ask(StartRetry(2, 1)) == Decision((), (Backoff(2, 1, at(1)),))


def test_the_run_is_at_the_step_that_was_queued_last() -> None:
    story = make_fork()
    assert story.state.current_step == 2
    assert story.fail(1).retry(1).state.current_step == 1
    assert story.complete(1).state.current_step == 1
    assert story.complete(2).state.current_step == 3


# --- one side ends the others ------------------------------------------------------------------------------------


def test_a_failed_step_halts_the_others_whatever_they_are_at() -> None:
    """Side by side: one queued, one being done, one backing off; the fourth fails for good."""
    story = Story(make_graph({0: (), 1: (), 2: (), 3: ()}, policies={3: NEVER})).take(1).take(2).fail(2).take(3)
    assert story.wait(0.5).ask(FailAttempt(3, 1, BROKE)) == Decision(
        events=(
            AttemptFailed(at(0.5), 3, 1, BROKE, None),
            StepFailed(at(0.5), 3, 1),
            StepCancelled(at(0.5), 0, 1),
            StepCancelled(at(0.5), 1, 1),
            StepCancelled(at(0.5), 2, 1),
            RunFailed(at(0.5), 3, BROKE),
        ),
        effects=(
            Settle(3),
            DeadLetterStep(3, 1, 1, BROKE),
            Withdraw(0, 1),
            Settle(0),
            Withdraw(1, 1),
            Settle(1),
            Withdraw(2, 1),
            Settle(2),
        ),
    )
    story.fail(3)
    assert story.open == {}
    assert story.halted == {
        0: OpenStep(StepStatus.CANCELLED, 1),
        1: OpenStep(StepStatus.CANCELLED, 1),
        2: OpenStep(StepStatus.CANCELLED, 1, failures=1, retry_at=at(1), failure=BROKE),
        3: OpenStep(StepStatus.FAILED, 1, failures=1, failure=BROKE),
    }


def test_a_halted_side_can_neither_report_nor_retry() -> None:
    story = make_fork(policies={2: NEVER}).take(1).fail(2)
    assert story.ask(CompleteAttempt(1, 1)) is Rejection.RUN_FINISHED
    assert story.ask(LoseAttempt(1, 1, "lease ran out", 3)) == NOTHING
    assert story.ask(StartRetry(1, 1)) == NOTHING


def test_a_redrive_starts_every_halted_step_again_with_its_next_attempt() -> None:
    story = make_fork(policies={2: NEVER}).take(1).fail(1).retry(1).take(1).fail(2).wait(60)
    assert story.ask(RedriveStep(2)) == Decision(
        events=(RunRedriven(at(61), 2), StepQueued(at(61), 1, 3), StepQueued(at(61), 2, 2)),
        effects=(Dispatch(1, 3, "a1", 0), Dispatch(2, 2, "a2", 0)),
    )
    story.do(RedriveStep(2))
    assert story.open == {1: OpenStep(StepStatus.QUEUED, 3), 2: OpenStep(StepStatus.QUEUED, 2)}
    assert story.ask(CompleteAttempt(1, 2)) is Rejection.SUPERSEDED
    assert story.complete(1, 2, 3).state.status is RunStatus.COMPLETED


def test_a_redrive_lets_only_the_suspect_run_alone() -> None:
    story = make_fork(policies={2: NEVER}).take(1).take(2).lose(2)
    decision = story.ask(RedriveStep(2))
    assert isinstance(decision, Decision)
    assert decision.effects == (Dispatch(1, 2, "a1", 0), Dispatch(2, 2, "a2", 0, alone=True))


def test_a_side_that_completed_before_the_failure_is_not_done_again() -> None:
    story = make_fork(policies={2: NEVER}).complete(1).fail(2)
    assert story.ask(RedriveStep(2)) == Decision(
        events=(RunRedriven(NOW, 2), StepQueued(NOW, 2, 2)), effects=(Dispatch(2, 2, "a2", 0),)
    )
    assert story.ask(RedriveStep(1)) is Rejection.RUN_FINISHED
    assert story.do(RedriveStep(2)).complete(2, 3).state.status is RunStatus.COMPLETED


def test_steps_that_were_not_reached_stay_pending_through_a_redrive() -> None:
    story = make_fork(policies={2: NEVER}).fail(2)
    assert set(story.halted) == {1, 2}
    assert set(story.do(RedriveStep(2)).open) == {1, 2}


def test_another_side_may_fail_after_a_redrive() -> None:
    story = make_fork(policies={1: NEVER, 2: NEVER}).fail(2).do(RedriveStep(2)).fail(1)
    assert story.state.status is RunStatus.FAILED
    assert story.halted[1].status is StepStatus.FAILED
    assert story.halted[2].status is StepStatus.CANCELLED
    assert story.do(RedriveStep(1)).complete(2, 1, 3).state.status is RunStatus.COMPLETED


def test_cancelling_halts_every_side() -> None:
    assert make_fork().take(1).fail(2).ask(CancelRun("stop")) == Decision(
        events=(StepCancelled(NOW, 1, 1), StepCancelled(NOW, 2, 1), RunCancelled(NOW, "stop")),
        effects=(Withdraw(1, 1), Settle(1), Withdraw(2, 1), Settle(2)),
    )


def test_a_deadline_halts_every_side() -> None:
    story = Story(make_graph(TWO_BRANCHES, timeout=seconds(9))).take(1).wait(9)
    assert story.ask(TimeOutRun()) == Decision(
        events=(StepCancelled(at(9), 0, 1), StepCancelled(at(9), 1, 1), RunTimedOut(at(9))),
        effects=(Withdraw(0, 1), Settle(0), Withdraw(1, 1), Settle(1)),
    )


# --- the whole way -----------------------------------------------------------------------------------------------


def test_a_diamond_sees_both_sides_started_and_completed_in_one_history() -> None:
    story = make_fork().take(2).complete(2).take(1).complete(1).complete(3)
    started = [event.step for event in story.history if isinstance(event, AttemptStarted)]
    completed = [event.step for event in story.history if isinstance(event, StepCompleted)]
    assert started == completed == [0, 2, 1, 3]
    assert story.state.completed == 4
    assert story.state.current_step == 3
