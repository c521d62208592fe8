"""Results that wait to be sent, and how many of them fit into one call."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from workersdk.outcomes import Outcome

RESULTS_MAX: Final = 1_000
ENVELOPE_BYTES: Final = 1_024


class Outbox:
    """A queue from which a call takes as many results as it may carry, and to which they return when it is lost."""

    def __init__(self) -> None:
        self.request_bytes_max = 16 * 1024 * 1024
        self._waiting: deque[Outcome] = deque()
        self._results_max = RESULTS_MAX

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._waiting)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self._waiting.extend(outcomes)

    def take(self) -> list[Outcome]:
        """Take what the next call carries: at least one result if there is any, however large it is."""
        batch: list[Outcome] = []
        room = self.request_bytes_max - ENVELOPE_BYTES
        while self._waiting and len(batch) < self._results_max:
            room -= len(self._waiting[0].body) + 1
            if room < 0 and batch:
                break
            batch.append(self._waiting.popleft())
        return batch

    def put_back(self, batch: Sequence[Outcome]) -> None:
        """Take back what a lost call carried: it goes first again."""
        self._waiting.extendleft(reversed(batch))

    def carry_fewer(self, than: int) -> None:
        """A call with so many results was too much: carry at most half of them from now on."""
        self._results_max = max(1, than // 2)

    def carry_more(self) -> None:
        """A call came through: come back to full calls, by doubling."""
        if self._results_max < RESULTS_MAX:
            self._results_max = min(RESULTS_MAX, self._results_max * 2)
