"""The worker's places for jobs, shared by the threads of its consumers.

Rule 1: a job has a place from the moment it is claimed to the moment its result is written.
Rule 2: while somebody wishes to be alone, nobody else is given a place; once all are free, he has them all.
"""

from __future__ import annotations

import threading


class Slots:
    """Counts places. Safe to use from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free = limit
        self._alone: object | None = None  # who wishes to be alone, or is
        self._is_granted = False
        self._changed = threading.Condition(threading.Lock())

    @property
    def free(self) -> int:
        """How many jobs could be given a place now: none while somebody wishes to be alone."""
        with self._changed:
            return self._free if self._alone is None else 0

    def take(self, count: int) -> int:
        """Take up to so many places; return how many there were."""
        with self._changed:
            if self._alone is not None:
                return 0
            taken = min(count, self._free)
            self._free -= taken
            return taken

    def take_all(self, who: object) -> bool:
        """Take every place; False while not all are free, and from then on nobody else is given one."""
        with self._changed:
            if self._alone is None:
                self._alone = who
            if not self._would_give(who):
                return False
            self._free = 0
            self._is_granted = True
            return True

    def give_back(self, count: int) -> None:
        with self._changed:
            self._free += count
            self._changed.notify_all()

    def give_back_all(self) -> None:
        """End being alone."""
        with self._changed:
            self._free = self._limit
            self._alone = None
            self._is_granted = False
            self._changed.notify_all()

    def withdraw(self, who: object) -> None:
        """Let go of a wish to be alone, unless it was granted."""
        with self._changed:
            if self._alone is who and not self._is_granted:
                self._alone = None
                self._changed.notify_all()

    def wait_free(self, who: object, timeout: float) -> bool:
        """Wait, so many seconds at most, until `who` would be given what it wants; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._would_give(who), timeout)

    def wait_idle(self, timeout: float) -> bool:
        """Wait, so many seconds at most, until every place is free; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._free == self._limit, timeout)

    def _would_give(self, who: object) -> bool:
        if self._alone is None:
            return self._free > 0
        return self._alone is who and self._free == self._limit
