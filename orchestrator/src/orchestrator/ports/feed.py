"""Jobs that come out of a broker again, for the workers over HTTP of this process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from orchestrator.model.job import Job
from orchestrator.ports.broker import Stop
from orchestrator.ports.queue import JobSource


class Feed(JobSource, Protocol):
    """One more reader among all that take jobs from the broker: each job comes to one of them.

    * What `take` and `take_alone` give is claimed: no other reader gets it any more, also when this process dies a
      moment later. Until the first claim of a while is known to be safe, they may give nothing and say so by a later
      ``on_jobs``: a job that kills the process must not come again unnoticed.
    * What is read and not taken is nobody's. An adapter reads few jobs ahead, and lets go of them within seconds when
      nobody here takes them and another reader could have them; it comes back when somebody asks.
    * A job may come twice (a broker repeats): whoever takes it looks whether it is in hand already.
    """

    def listen(self, on_jobs: Callable[[str, int, bool], None], on_stops: Callable[[Sequence[Stop]], None]) -> None:
        """Say whom to tell, once, before anything else is called; both are called in the event loop.

        Args:
            on_jobs: is told an action, how many of its jobs can be taken that could not be before, and whether one
                of them runs alone.
            on_stops: is told what any process of the orchestrator says to workers: attempts that are over.
        """
        ...

    def read(self, actions: Collection[str]) -> None:
        """Read the jobs of these actions from now on, and of no others. Returns at once; said again and again."""
        ...

    def leftovers(self, seconds: float) -> list[Job]:
        """Give the jobs that were claimed for somebody who did not come for them for so long, and forget them."""
        ...

    def depths(self) -> dict[str, int]:
        """Count the jobs that were read and not taken, by action."""
        ...
