"""Which process does what only one has to do at a time."""

from __future__ import annotations

from typing import Protocol

from orchestrator.model.role import Duty


class Duties(Protocol):
    """The duties of this process: taken by themselves where nobody has them.

    No more than a way to save work: an adapter sees to it that a duty is had by one process nearly always, and by none
    for a bounded time only, whatever dies or freezes. It may be had by two for a moment, so whoever does a duty must
    leave the decision to the rows it works on.
    """

    def has(self, duty: Duty) -> bool:
        """Whether this process has a duty now, as far as it knows. Asked before each round; never waits."""
        ...

    def give_up(self, duty: Duty) -> None:
        """Let another process have a duty that this one cannot do; it stands in line again after a while."""
        ...
