"""Growing pauses between tries."""

from __future__ import annotations

import random

FIRST_S = 0.1
MAX_S = 10.0


class Backoff:
    """Exponential backoff with full jitter: the n-th pause is anywhere between 0 and min(10 s, 0.1 s * 2^n).

    Full jitter keeps a thousand workers that lost the same orchestrator from coming back in step.
    """

    def __init__(self, *, first: float = FIRST_S, longest: float = MAX_S) -> None:
        self._first = first
        self._longest = longest
        self._count = 0

    def next(self) -> float:
        """Return the next pause in seconds."""
        ceiling = min(self._longest, self._first * 2.0 ** min(self._count, 32))
        self._count += 1
        return random.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._count = 0
