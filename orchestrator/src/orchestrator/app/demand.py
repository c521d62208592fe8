"""What the workers over HTTP of this process ask for, and what a feed has for them.

Rule 1: the feed reads the jobs of an action while somebody asks for such, and `feed_idle_seconds` after that.
Rule 2: an attempt that is over, or in hand here already, is not given out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final

from orchestrator.app.lease import Leases
from orchestrator.model.job import Job
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS
from orchestrator.ports.clock import Clock
from orchestrator.ports.feed import Feed
from orchestrator.ports.queue import Room

STOPPED_MAX: Final = 10_000
"""Attempts that were stopped and are remembered: their jobs may still be in the broker."""


class Demand:
    """See `ports.queue.JobSource`: takes from the feed, and tells it what is asked for."""

    def __init__(self, feed: Feed, leases: Leases, clock: Clock, limits: Limits) -> None:
        self._feed = feed
        self._leases = leases
        self._clock = clock
        self._idle = round(limits.feed_idle_seconds * MICROS)
        self._asked: dict[str, int] = {}
        """When each action was last asked for, on the monotonic clock."""
        self._closed = False
        self._stopped: OrderedDict[tuple[RunId, int, int], None] = OrderedDict()

    def take(self, actions: Collection[str], room: Room) -> list[Job]:
        """See `ports.queue.JobSource.take`."""
        self.ask(actions)
        if self._closed:
            return []
        found: list[Job] = []
        # Nobody is told again of what is there already: what is passed over must not cost a worker its turn.
        while room.jobs and (taken := self._feed.take(actions, room)):
            for job in taken:
                if self._is_wanted(job):
                    found.append(job)
                else:
                    room.put_out(job)
        return found

    def take_alone(self, actions: Collection[str]) -> Job | None:
        """See `ports.queue.JobSource.take_alone`."""
        while (job := self._feed.take_alone(actions)) is not None:
            if self._is_wanted(job):
                return job
        return None

    def waiting_alone(self, actions: Collection[str]) -> int:
        """See `ports.queue.JobSource.waiting_alone`."""
        return self._feed.waiting_alone(actions)

    def ask(self, actions: Iterable[str]) -> None:
        """Note that somebody waits for jobs of these actions."""
        if self._closed:
            return
        now_on = self._clock.monotonic()
        known = len(self._asked)
        for action in actions:
            self._asked[action] = now_on
        if len(self._asked) != known:
            self._feed.read(self._asked)

    def look(self) -> None:
        """Read no longer what nobody has asked for in a while.

        What is asked for is said again each time: a reader that could not be made may be made now.
        """
        before_on = self._clock.monotonic() - self._idle
        for action in [action for action, on in self._asked.items() if on <= before_on]:
            del self._asked[action]
        if not self._closed:
            self._feed.read(self._asked)

    def close(self) -> None:
        """Read nothing any more."""
        self._closed = True
        self._feed.read(())

    def stop(self, run_id: RunId, step: int, attempt: int) -> None:
        """Give an attempt to nobody any more."""
        self._stopped[run_id, step, attempt] = None
        if len(self._stopped) > STOPPED_MAX:
            self._stopped.popitem(last=False)

    def _is_wanted(self, job: Job) -> bool:
        if (job.run_id, job.step, job.attempt) in self._stopped:
            return False
        lease = self._leases.get((job.run_id, job.step))
        return lease is None or lease.job.attempt < job.attempt
