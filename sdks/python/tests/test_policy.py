from __future__ import annotations

from typing import Any

import pytest

from workersdk.http import Backoff
from workersdk.outcomes import Failure
from workersdk.testing import RetryPolicy, parse_duration

FAILURE = Failure("Error", "it failed")


def delays(policy: RetryPolicy, failure: Failure = FAILURE) -> list[float | None]:
    found: list[float | None] = []
    while not found or found[-1] is not None:
        found.append(policy.next_delay(failure, len(found) + 1))
    return found


def test_three_retries_a_second_apart_unless_told_otherwise() -> None:
    assert delays(RetryPolicy()) == [1, 1, 1, None]


def test_an_exponential_delay_doubles_up_to_its_maximum() -> None:
    policy = RetryPolicy().refined({"maxRetries": 4, "delay": "500ms", "backoff": "exponential", "maxDelay": 1.5})
    assert delays(policy) == [0.5, 1.0, 1.5, 1.5, None]


def test_a_step_replaces_only_the_fields_that_it_names() -> None:
    workflow = RetryPolicy().refined({"maxRetries": 1, "delay": 5, "nonRetryable": ["Broken"]})
    assert workflow.refined({"delay": "2s"}) == RetryPolicy(max_retries=1, delay=2, non_retryable=("Broken",))
    assert workflow.refined(None) == workflow


def test_some_failures_are_final() -> None:
    policy = RetryPolicy(non_retryable=("Broken",))
    assert delays(policy, Failure("Broken", "")) == [None]
    assert delays(policy, Failure("Error", "", is_retryable=False)) == [None]


def test_a_handler_may_choose_the_delay() -> None:
    assert delays(RetryPolicy(max_delay=2), Failure("RetryLater", "", retry_after=90)) == [90, 90, 90, None]


@pytest.mark.parametrize(
    ("value", "seconds"), [(2, 2), (0.5, 0.5), ("500ms", 0.5), ("20s", 20), ("5 m", 300), ("2h", 7200), ("1.5", 1.5)]
)
def test_durations(value: Any, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["", "1 week", "-1s", -1, float("inf"), float("nan")])
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(value)


def test_an_unknown_backoff_is_refused() -> None:
    with pytest.raises(ValueError, match="linear"):
        RetryPolicy().refined({"backoff": "linear"})


def test_pauses_grow_up_to_their_ceiling() -> None:
    backoff = Backoff()
    ceilings = [min(10.0, 0.1 * 2**n) for n in range(40)]
    assert all(0 <= backoff.next() <= ceiling for ceiling in ceilings)
    backoff.reset()
    assert backoff.next() <= 0.1
