"""Exchanges that wait for a job: woken one for each job, the longest waiting first, so that no herd stampedes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from orchestrator.model.job import Job


@dataclass(slots=True, eq=False)
class Poll:
    """One exchange that waits."""

    worker: str
    actions: tuple[str, ...]
    woken: asyncio.Future[bool]


class Polls:
    """All exchanges that wait, by action and by worker."""

    def __init__(self) -> None:
        self._by_action: dict[str, dict[Poll, None]] = {}
        self._by_worker: dict[str, dict[Poll, None]] = {}
        self.closed = False
        """Whether the process goes down: nobody waits any more."""

    @contextmanager
    def waiting(self, poll: Poll) -> Iterator[None]:
        """Keep an exchange in the register while the block runs."""
        for action in poll.actions:
            self._by_action.setdefault(action, {})[poll] = None
        self._by_worker.setdefault(poll.worker, {})[poll] = None
        if self.closed:
            _wake(poll)
        try:
            yield
        finally:
            for action in poll.actions:
                _drop(self._by_action, action, poll)
            _drop(self._by_worker, poll.worker, poll)

    def wake_for(self, jobs: Iterable[Job]) -> None:
        """Wake an exchange for each job; all of them for one that runs alone, as most may have their hands full."""
        for job in jobs:
            if job.alone:
                for poll in self._by_action.get(job.action, ()):
                    _wake(poll)
            else:
                self._wake_one(job.action)

    def wake_some(self, action: str, count: int) -> None:
        """Wake so many exchanges that wait for jobs of an action."""
        for poll in list(self._by_action.get(action, ())):
            if count <= 0:
                return
            if not poll.woken.done():
                _wake(poll)
                count -= 1

    def actions(self) -> list[str]:
        """List the actions that exchanges wait for."""
        return list(self._by_action)

    def pass_on(self, poll: Poll) -> None:
        """An exchange was woken but cannot take a job: wake others in its place."""
        if poll.woken.done() and poll.woken.result():
            for action in poll.actions:
                self._wake_one(action)

    def wake_worker(self, worker: str) -> None:
        """Wake the exchanges of one worker."""
        for poll in self._by_worker.get(worker, ()):
            _wake(poll)

    def wake_all(self) -> None:
        """Wake everyone, now and from now on."""
        self.closed = True
        for polls in self._by_worker.values():
            for poll in polls:
                _wake(poll)

    def _wake_one(self, action: str) -> None:
        for poll in self._by_action.get(action, ()):
            if not poll.woken.done():
                _wake(poll)
                return


def _wake(poll: Poll) -> None:
    if not poll.woken.done():
        poll.woken.set_result(True)


def _drop(index: dict[str, dict[Poll, None]], key: str, poll: Poll) -> None:
    polls = index.get(key)
    if polls is not None:
        polls.pop(poll, None)
        if not polls:
            del index[key]
