"""Which partition a job goes to.

Rule 1: jobs of a sparse action go to the partitions by turns: a burst of jobs of any length is spread over all workers.
Rule 2: jobs of plentiful actions keep each other company on one partition, and the partition changes before an action
        has more there than comes in `TOGETHER_SECONDS`. A request to a broker costs as much as a hundred records do,
        and each partition takes a request of its own.
Rule 3: what is plentiful is what was so a moment ago. The first jobs of an action are sparse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Final

TOGETHER_SECONDS: Final = 0.03
"""How long jobs of plentiful actions go to the same partition: how far one worker can get ahead of the others."""
PLENTIFUL_PER_SECOND: Final = 2 / TOGETHER_SECONDS
"""From how many jobs a second on an action is plentiful: some have to come within the time."""
WINDOW_SECONDS: Final = 1.0
"""How long jobs are counted for that."""


class Spread:
    """Gives out partitions; keeps counts of the actions of the last two seconds, and nothing else."""

    def __init__(self, partitions: int, clock: Callable[[], float] = monotonic) -> None:
        self._partitions = partitions
        self._clock = clock
        self._turn = 0
        self._counts: Counter[str] = Counter()
        """Jobs of this window, by action."""
        self._together_max: dict[str, int] = {}
        """How many jobs of a plentiful action go to one partition, as the last window was."""
        self._window_began = clock()
        self._shared = 0
        """The partition that jobs of plentiful actions go to."""
        self._shared_since = 0.0
        self._on_shared: Counter[str] = Counter()
        """How many have gone there, by action."""

    def choose(self, action: str) -> int:
        """Give the partition of the next job of an action."""
        now = self._clock()
        if now - self._window_began >= WINDOW_SECONDS:
            self._begin_window(now)
        self._counts[action] += 1
        most = self._together_max.get(action)
        if most is None:
            return self._next()
        if now - self._shared_since >= TOGETHER_SECONDS or self._on_shared[action] >= most:
            self._shared = self._next()
            self._shared_since = now
            self._on_shared.clear()
        self._on_shared[action] += 1
        return self._shared

    def _begin_window(self, now: float) -> None:
        length = now - self._window_began
        self._together_max = {
            action: int(count / length * TOGETHER_SECONDS)
            for action, count in self._counts.items()
            if count / length >= PLENTIFUL_PER_SECOND
        }
        self._window_began = now
        self._counts.clear()

    def _next(self) -> int:
        self._turn = (self._turn + 1) % self._partitions
        return self._turn
