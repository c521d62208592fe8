"""What has become durable here, counted: by the batch, so that a step costs next to nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final

from orchestrator.model.event import AttemptFailed, AttemptLost, Event

SIZES: Final = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0)
"""Upper bounds of the buckets of a batch's requests."""
SECONDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Upper bounds of the buckets of the time that a batch takes, from its beginning to after its commit."""


class Distribution:
    """How often a value was up to each bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Values of each bucket alone; the last one is of those beyond all bounds."""
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Tally:
    """Counts of one process since its start."""

    def __init__(self) -> None:
        self.events: Counter[type[Event]] = Counter()
        """Events that were committed, by kind."""
        self.timed_out = 0
        """Attempts among those that failed whose time ran out."""
        self.retries = 0
        """Attempts that ended badly and have another after them."""
        self.sizes = Distribution(SIZES)
        self.seconds = Distribution(SECONDS)
        self.again = 0
        """Batches that were decided again, since another process was faster."""
        self.failed = 0
        """Batches that were not recorded, or of which it is not known."""

    def committed(self, events: Sequence[Event], requests: int, seconds: float) -> None:
        """Count a batch."""
        kinds = Counter(map(type, events))
        self.events.update(kinds)
        if AttemptFailed in kinds or AttemptLost in kinds:
            for event in events:
                if isinstance(event, AttemptFailed | AttemptLost):
                    self.retries += event.retry_at is not None
                    self.timed_out += isinstance(event, AttemptFailed) and event.timed_out
        self.sizes.add(requests)
        self.seconds.add(seconds)
