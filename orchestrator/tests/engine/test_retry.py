"""Failures, timeouts and losses: what is tried again, when, and when it is over."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine import retry
from orchestrator.engine.command import (
    NOTHING,
    Backoff,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    FailAttempt,
    LoseAttempt,
    ReleaseAttempt,
    Settle,
    StartRetry,
    TimeOutAttempt,
    Withdraw,
)
from orchestrator.engine.run import LOST_TYPE, TIMED_OUT_TYPE
from orchestrator.model import times
from orchestrator.model.definition import RetryPolicy
from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptStarted,
    Failure,
    RunFailed,
    RunResumed,
    RunWaiting,
    StepFailed,
    StepQueued,
)
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import BROKE, NOW, WORKER, Story, at, make_linear, seconds

NEVER: Final = RetryPolicy(max_retries=0)
DOUBLING: Final = RetryPolicy(max_retries=10, backoff="exponential", max_delay=seconds(5))


# --- errors ------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_followed_by_another_after_the_delay() -> None:
    assert Story(make_linear()).take().wait(2).ask(FailAttempt(0, 1, BROKE)) == Decision(
        events=(AttemptFailed(at(2), 0, 1, BROKE, at(3)), RunWaiting(at(2))),
        effects=(Backoff(0, 1, at(3)),),
    )


def test_an_error_before_the_recorded_start_records_both() -> None:
    assert Story(make_linear()).wait(2).ask(FailAttempt(0, 1, BROKE, worker=WORKER, started_at=at(1))) == Decision(
        events=(AttemptStarted(at(1), 0, 1, WORKER), AttemptFailed(at(2), 0, 1, BROKE, at(3)), RunWaiting(at(2))),
        effects=(Backoff(0, 1, at(3)),),
    )


def test_three_retries_are_four_executions_then_a_dead_letter_and_a_failed_run() -> None:
    """The default policy: a second apart, and the fourth error is the last."""
    story = Story(make_linear())
    for attempt in (1, 2, 3):
        story.take().fail()
        assert story.open[0] == OpenStep(
            StepStatus.BACKING_OFF, attempt, failures=attempt, retry_at=at(attempt), failure=BROKE
        )
        story.retry()
    assert story.take().now == at(3)
    assert story.ask(FailAttempt(0, 4, BROKE)) == Decision(
        events=(AttemptFailed(at(3), 0, 4, BROKE, None), StepFailed(at(3), 0, 4), RunFailed(at(3), 0, BROKE)),
        effects=(Settle(0), DeadLetterStep(0, 4, 4, BROKE)),
    )
    story.fail()
    assert story.state.status is RunStatus.FAILED
    assert story.state.failure == BROKE
    assert story.state.ended_at == at(3)
    assert sum(type(event) is AttemptStarted for event in story.history) == 4


def test_without_retries_the_first_error_is_the_last() -> None:
    assert Story(make_linear(retry=NEVER)).take().ask(FailAttempt(0, 1, BROKE)) == Decision(
        events=(AttemptFailed(NOW, 0, 1, BROKE, None), StepFailed(NOW, 0, 1), RunFailed(NOW, 0, BROKE)),
        effects=(Settle(0), DeadLetterStep(0, 1, 1, BROKE)),
    )


@pytest.mark.parametrize(
    ("policy", "command"),
    [
        pytest.param(RetryPolicy(), FailAttempt(0, 1, BROKE, retryable=False), id="the worker says so"),
        pytest.param(RetryPolicy(non_retryable=("X", BROKE.type)), FailAttempt(0, 1, BROKE), id="the policy says so"),
        pytest.param(
            RetryPolicy(), FailAttempt(0, 1, BROKE, retryable=False, retry_after=seconds(5)), id="a wish for a delay"
        ),
        pytest.param(NEVER, FailAttempt(0, 1, BROKE, retry_after=seconds(5)), id="a wish, but no retry left"),
    ],
)
def test_an_error_that_no_retry_can_mend_fails_the_run_at_once(policy: RetryPolicy, command: FailAttempt) -> None:
    assert Story(make_linear(retry=policy)).take().ask(command) == Decision(
        events=(AttemptFailed(NOW, 0, 1, BROKE, None), StepFailed(NOW, 0, 1), RunFailed(NOW, 0, BROKE)),
        effects=(Settle(0), DeadLetterStep(0, 1, 1, BROKE)),
    )


def test_a_type_is_compared_whole() -> None:
    story = Story(make_linear(retry=RetryPolicy(non_retryable=("Card", "carddeclined", "")))).take()
    assert story.fail().state.status is RunStatus.WAITING


def test_a_delay_that_the_worker_asks_for_replaces_the_one_of_the_policy() -> None:
    story = Story(make_linear(retry=RetryPolicy(max_delay=seconds(2), jitter=1.0))).take()
    assert story.ask(FailAttempt(0, 1, BROKE, retry_after=seconds(60), draw=0.5)) == Decision(
        events=(AttemptFailed(NOW, 0, 1, BROKE, at(60)), RunWaiting(NOW)),
        effects=(Backoff(0, 1, at(60)),),
    )


def test_a_delay_of_nothing_still_goes_by_the_timer() -> None:
    story = Story(make_linear()).take().do(FailAttempt(0, 1, BROKE, retry_after=seconds(0)))
    assert story.open[0].retry_at == NOW
    assert story.ask(StartRetry(0, 1)) == Decision(
        events=(RunResumed(NOW), StepQueued(NOW, 0, 2)),
        effects=(Dispatch(0, 2, "a0", None),),
    )


def test_the_budget_is_the_step_s_own() -> None:
    """Three errors at the first step leave the second step its three retries."""
    story = Story(make_linear())
    for step in (0, 1):
        for _ in range(3):
            story.take(step).fail(step).retry(step)
        story.take(step).complete(step)
    assert story.state.status is RunStatus.COMPLETED


def test_a_retry_knows_how_the_last_attempt_failed() -> None:
    story = Story(make_linear()).take().fail().retry()
    assert story.open[0] == OpenStep(StepStatus.QUEUED, 2, failures=1, failure=BROKE)


# --- the delay ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "delay"), [(1, 1), (2, 2), (3, 4), (4, 5), (5, 5), (70, 5), (10_000, 5)])
def test_an_exponential_delay_doubles_up_to_its_maximum(number: int, delay: int) -> None:
    assert retry.backoff(DOUBLING, number, 0.0) == seconds(delay)


@pytest.mark.parametrize("number", [1, 2, 3, 10_000])
def test_a_fixed_delay_stays(number: int) -> None:
    assert retry.backoff(RetryPolicy(delay=seconds(3)), number, 0.0) == seconds(3)


def test_a_fixed_delay_is_cut_by_its_maximum_too() -> None:
    assert retry.backoff(RetryPolicy(delay=seconds(3), max_delay=seconds(2)), 1, 0.0) == seconds(2)


def test_no_delay_stays_none_however_often_it_doubles() -> None:
    assert retry.backoff(RetryPolicy(delay=seconds(0), backoff="exponential"), 70, 0.5) == 0


@pytest.mark.parametrize(
    ("jitter", "draw", "delay"),
    [(0.0, 0.75, 4), (0.5, 0.0, 4), (0.5, 0.5, 3), (0.5, 0.75, 2.5), (1.0, 0.5, 2), (1.0, 0.75, 1)],
)
def test_jitter_takes_a_drawn_part_off_the_end(jitter: float, draw: float, delay: float) -> None:
    assert retry.backoff(RetryPolicy(delay=seconds(4), jitter=jitter), 1, draw) == seconds(delay)


def test_jitter_is_taken_off_the_longest_delay_so_that_it_stays_the_longest() -> None:
    policy = RetryPolicy(delay=seconds(4), backoff="exponential", max_delay=seconds(5), jitter=0.5)
    assert retry.backoff(policy, 9, 0.5) == seconds(3.75)


@given(
    delay=st.integers(0, 366 * 86_400 * times.MICROS),
    most=st.integers(1, 366 * 86_400 * times.MICROS),
    jitter=st.floats(0, 1),
    number=st.integers(1, 10_001),
    draw=st.floats(0, 1, exclude_max=True),
    backoff=st.sampled_from(["fixed", "exponential"]),
)
def test_a_delay_is_never_negative_and_never_above_its_maximum(
    delay: int, most: int, jitter: float, number: int, draw: float, backoff: str
) -> None:
    policy = RetryPolicy(
        delay=times.Duration(delay),
        max_delay=times.Duration(most),
        jitter=jitter,
        backoff="fixed" if backoff == "fixed" else "exponential",
    )
    given_delay = retry.backoff(policy, number, draw)
    assert type(given_delay) is int
    assert 0 <= given_delay <= most
    assert given_delay <= retry.backoff(policy, number, 0.0)


def test_a_delay_without_a_maximum_still_ends_at_a_time_that_can_be_written() -> None:
    """A worker that asks for its own short delays gets to the fiftieth retry within a minute."""
    story = Story(make_linear(retry=RetryPolicy(max_retries=100, backoff="exponential"))).take()
    for attempt in range(1, 50):
        story.do(FailAttempt(0, attempt, BROKE, retry_after=seconds(1))).retry().take()
    due = story.fail().open[0].retry_at
    assert due is not None
    assert times.iso(due)
    assert due < 2**63


def test_the_draw_of_the_caller_decides_the_time_of_the_next_attempt() -> None:
    story = Story(make_linear(retry=RetryPolicy(delay=seconds(10), jitter=0.5))).take()
    decision = story.ask(FailAttempt(0, 1, BROKE, draw=0.5))
    assert isinstance(decision, Decision)
    assert decision.effects == (Backoff(0, 1, at(7.5)),)


# --- the timer ---------------------------------------------------------------------------------------------------


def test_the_next_attempt_resumes_the_run() -> None:
    story = Story(make_linear()).take().fail().wait(1)
    assert story.state.status is RunStatus.WAITING
    assert story.ask(StartRetry(0, 1)) == Decision(
        events=(RunResumed(at(1)), StepQueued(at(1), 0, 2)),
        effects=(Dispatch(0, 2, "a0", None),),
    )


def test_a_retry_of_a_later_step_gets_the_same_input_again() -> None:
    story = Story(make_linear()).complete(0).take(1).fail(1).wait(1)
    decision = story.ask(StartRetry(1, 1))
    assert isinstance(decision, Decision)
    assert decision.effects == (Dispatch(1, 2, "a1", 0),)


@pytest.mark.parametrize("early", [-0.000_001, -1, -3600])
def test_a_timer_that_fires_early_is_set_again(early: float) -> None:
    """The clock was set back between the reading of the timer and the decision."""
    story = Story(make_linear()).take().fail().wait(1 + early)
    assert story.ask(StartRetry(0, 1)) == Decision((), (Backoff(0, 1, at(1)),))


def test_a_timer_that_fires_late_starts_the_attempt_once() -> None:
    story = Story(make_linear()).take().fail().wait(3600).do(StartRetry(0, 1))
    assert story.open[0] == OpenStep(StepStatus.QUEUED, 2, failures=1, failure=BROKE)
    assert story.ask(StartRetry(0, 1)) == NOTHING
    assert story.take().ask(StartRetry(0, 1)) == NOTHING


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_timer_of_another_attempt_does_nothing(attempt: int) -> None:
    assert Story(make_linear()).take().fail().wait(1).ask(StartRetry(0, attempt)) == NOTHING


def test_a_timer_of_a_step_that_is_not_open_does_nothing() -> None:
    assert Story(make_linear()).take().fail().wait(1).ask(StartRetry(1, 1)) == NOTHING


# --- timeouts ----------------------------------------------------------------------------------------------------


def test_an_attempt_that_times_out_is_withdrawn_and_tried_again() -> None:
    story = Story(make_linear(step_timeout=seconds(30))).take().wait(30)
    failure = Failure(TIMED_OUT_TYPE, "no result within 30 s of the start")
    assert story.ask(TimeOutAttempt(0, 1)) == Decision(
        events=(AttemptFailed(at(30), 0, 1, failure, at(31), timed_out=True), RunWaiting(at(30))),
        effects=(Withdraw(0, 1), Backoff(0, 1, at(31))),
    )


def test_who_may_have_taken_its_worker_down_runs_alone_from_then_on() -> None:
    story = Story(make_linear(step_timeout=seconds(30))).take().do(TimeOutAttempt(0, 1, suspect=True))
    assert story.open[0].is_suspect
    assert story.wait(1).retry().open[0].alone


def test_timeouts_and_errors_share_one_budget() -> None:
    story = Story(make_linear(retry=RetryPolicy(max_retries=1), step_timeout=seconds(0.25))).take().fail().retry()
    failure = Failure(TIMED_OUT_TYPE, "no result within 0.25 s of the start")
    assert story.take().ask(TimeOutAttempt(0, 2)) == Decision(
        events=(
            AttemptFailed(at(1), 0, 2, failure, None, timed_out=True),
            StepFailed(at(1), 0, 2),
            RunFailed(at(1), 0, failure),
        ),
        effects=(Withdraw(0, 2), Settle(0), DeadLetterStep(0, 2, 2, failure)),
    )


def test_a_timeout_can_be_told_not_to_be_retried() -> None:
    story = Story(make_linear(retry=RetryPolicy(non_retryable=(TIMED_OUT_TYPE,)), step_timeout=seconds(1))).take()
    assert story.do(TimeOutAttempt(0, 1)).state.status is RunStatus.FAILED


def test_the_jitter_applies_after_a_timeout_too() -> None:
    story = Story(make_linear(retry=RetryPolicy(delay=seconds(4), jitter=1.0), step_timeout=seconds(1))).take()
    assert story.do(TimeOutAttempt(0, 1, draw=0.75)).open[0].retry_at == at(1)


def test_a_result_after_the_timeout_is_superseded() -> None:
    story = Story(make_linear(step_timeout=seconds(1))).take().do(TimeOutAttempt(0, 1))
    assert story.ask(CompleteAttempt(0, 1)) is Rejection.SUPERSEDED


def test_a_long_timeout_is_written_out_in_seconds() -> None:
    story = Story(make_linear(step_timeout=seconds(30 * 86_400))).take().do(TimeOutAttempt(0, 1))
    assert story.open[0].failure == Failure(TIMED_OUT_TYPE, "no result within 2592000 s of the start")


# --- losses ------------------------------------------------------------------------------------------------------

GONE: Final = Failure(LOST_TYPE, "lease ran out")


def test_a_lost_attempt_is_withdrawn_and_tried_again() -> None:
    assert Story(make_linear()).take().wait(30).ask(LoseAttempt(0, 1, "lease ran out", 3)) == Decision(
        events=(AttemptLost(at(30), 0, 1, GONE, at(31)), RunWaiting(at(30))),
        effects=(Withdraw(0, 1), Backoff(0, 1, at(31))),
    )


def test_the_attempt_after_a_loss_runs_alone() -> None:
    assert Story(make_linear()).take().lose().wait(1).ask(StartRetry(0, 1)) == Decision(
        events=(RunResumed(at(1)), StepQueued(at(1), 0, 2, alone=True)),
        effects=(Dispatch(0, 2, "a0", None, alone=True),),
    )


def test_a_suspect_that_fails_by_its_own_error_stays_alone() -> None:
    """It killed a worker once, so a later attempt may do so again."""
    story = Story(make_linear()).take().lose().retry().take().fail().retry()
    assert story.history[-1] == StepQueued(story.now, 0, 3, alone=True)


def test_the_step_after_a_suspect_does_not_run_alone() -> None:
    story = Story(make_linear()).take().lose().retry().take().complete(0)
    assert story.history[-1] == StepQueued(story.now, 1, 1)


@pytest.mark.parametrize(
    ("max_retries", "lost_attempts_max", "losses"),
    [(3, 3, 4), (10, 3, 4), (1, 3, 2), (0, 3, 1), (10, 1, 2)],
)
def test_the_smaller_of_policy_and_limit_bounds_the_losses(
    max_retries: int, lost_attempts_max: int, losses: int
) -> None:
    story = Story(make_linear(retry=RetryPolicy(max_retries=max_retries)))
    for _ in range(losses - 1):
        story.take().lose(0, lost_attempts_max).retry()
    assert story.take().ask(LoseAttempt(0, losses, "lease ran out", lost_attempts_max)) == Decision(
        events=(
            AttemptLost(story.now, 0, losses, GONE, None),
            StepFailed(story.now, 0, losses),
            RunFailed(story.now, 0, GONE),
        ),
        effects=(Withdraw(0, losses), Settle(0), DeadLetterStep(0, losses, losses, GONE)),
    )


def test_losses_and_errors_are_counted_apart() -> None:
    """Two errors and two losses are within one limit of two each; the dead letter counts all of them."""
    story = Story(make_linear(retry=RetryPolicy(max_retries=2)))
    story.take().lose(0, 2).retry().take().fail().retry().take().lose(0, 2).retry().take().fail().retry()
    assert (story.open[0].failures, story.open[0].losses) == (2, 2)
    decision = story.take().ask(FailAttempt(0, 5, BROKE))
    assert isinstance(decision, Decision)
    assert decision.effects == (Settle(0), DeadLetterStep(0, 5, 5, BROKE))


def test_released_attempts_are_not_among_those_of_a_dead_letter() -> None:
    story = Story(make_linear(retry=NEVER)).take().do(ReleaseAttempt(0, 1)).take()
    decision = story.ask(FailAttempt(0, 2, BROKE))
    assert isinstance(decision, Decision)
    assert decision.effects == (Settle(0), DeadLetterStep(0, 2, 1, BROKE))


def test_losses_back_off_by_their_own_count() -> None:
    """The delay doubles with the losses, whatever the errors before them."""
    story = Story(make_linear(retry=DOUBLING)).take().fail().retry().take().fail().retry()
    story.take().lose()
    assert story.open[0].retry_at == story.now + seconds(1)
    story.retry().take().lose()
    assert story.open[0].retry_at == story.now + seconds(2)


def test_a_loss_can_be_told_not_to_be_retried() -> None:
    story = Story(make_linear(retry=RetryPolicy(non_retryable=(LOST_TYPE,)))).take()
    assert story.ask(LoseAttempt(0, 1, "lease ran out", 3)) == Decision(
        events=(AttemptLost(NOW, 0, 1, GONE, None), StepFailed(NOW, 0, 1), RunFailed(NOW, 0, GONE)),
        effects=(Withdraw(0, 1), Settle(0), DeadLetterStep(0, 1, 1, GONE)),
    )


def test_the_jitter_applies_after_a_loss_too() -> None:
    story = Story(make_linear(retry=RetryPolicy(delay=seconds(4), jitter=1.0))).take()
    assert story.do(LoseAttempt(0, 1, "lease ran out", 3, draw=0.5)).open[0].retry_at == at(2)
