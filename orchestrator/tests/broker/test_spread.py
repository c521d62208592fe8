"""Which partitions jobs go to."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from orchestrator.adapters.kafka.spread import TOGETHER_SECONDS, WINDOW_SECONDS, Spread
from tests.broker.hand import Hand

PARTITIONS = 12


def plentiful(spread: Spread, clock: Hand, *actions: str, per_second: int) -> None:
    """Let so many jobs of each action go by within a window, and a little more."""
    for _ in range(per_second):
        for action in actions:
            spread.choose(action)
        clock.now += 1 / per_second
    clock.now += WINDOW_SECONDS / 100


def test_a_burst_of_a_sparse_action_goes_to_all_partitions_alike() -> None:
    spread = Spread(PARTITIONS, Hand())
    assert set(Counter(spread.choose("rare") for _ in range(10 * PARTITIONS)).values()) == {10}


def test_jobs_of_plentiful_actions_share_a_partition_for_a_moment() -> None:
    clock = Hand()
    spread = Spread(PARTITIONS, clock)
    plentiful(spread, clock, "a", "b", per_second=1_000)
    first = {spread.choose(action) for action in "abab"}
    clock.now += TOGETHER_SECONDS
    second = {spread.choose(action) for action in "abab"}
    assert len(first) == len(second) == 1
    assert first != second


def test_no_partition_gets_more_of_an_action_than_comes_in_that_moment() -> None:
    clock = Hand()
    spread = Spread(PARTITIONS, clock)
    plentiful(spread, clock, "a", "b", per_second=1_000)
    most = 1_000 * TOGETHER_SECONDS
    burst = [spread.choose("a") for _ in range(PARTITIONS * 100)]
    assert all(len(list(together)) <= most for _, together in groupby(burst))
    counts = Counter(burst).values()
    assert len(counts) == PARTITIONS
    assert max(counts) - min(counts) <= most


def test_a_rare_action_among_plentiful_ones_is_spread_all_the_same() -> None:
    clock = Hand()
    spread = Spread(PARTITIONS, clock)
    plentiful(spread, clock, "a", per_second=1_000)
    burst = []
    for _ in range(PARTITIONS):
        spread.choose("a")
        burst.append(spread.choose("rare"))
    assert max(Counter(burst).values()) <= 2


def test_what_was_plentiful_once_is_sparse_after_a_pause() -> None:
    clock = Hand()
    spread = Spread(PARTITIONS, clock)
    plentiful(spread, clock, "a", per_second=1_000)
    spread.choose("a")
    clock.now += 60
    assert set(Counter(spread.choose("a") for _ in range(PARTITIONS)).values()) == {1}
