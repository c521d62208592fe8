"""Callers that wait: for a run to end here, for a job in `gateway`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from orchestrator.model.errors import Busy
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId


class Caller:
    """The connection that a request came on."""

    __slots__ = ("_watchers", "is_there", "waited")

    def __init__(self) -> None:
        self.is_there = True
        """False once it is closed, by whichever side: nobody would read an answer."""
        self.waited = 0.0
        """Seconds that its requests have waited because that was asked for."""
        self._watchers: set[Callable[[], None]] = set()

    def leave(self) -> None:
        """Note that the connection is closed, and tell those who watch."""
        self.is_there = False
        while self._watchers:
            self._watchers.pop()()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` when the connection closes; at once where it is closed already."""
        if self.is_there:
            self._watchers.add(watcher)
        else:
            watcher()

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Call it no more."""
        self._watchers.discard(watcher)


async def until(woken: asyncio.Future[bool], seconds: float, caller: Caller | None) -> bool:
    """Wait until a future is done; give its result, False when the time was over or the caller left before."""

    def expire() -> None:
        if not woken.done():
            woken.set_result(False)

    loop = woken.get_loop()
    began_on = loop.time()
    timer = loop.call_later(seconds, expire)
    if caller is not None:
        caller.watch(expire)
    try:
        return await woken
    finally:
        timer.cancel()
        if caller is not None:
            caller.unwatch(expire)
            caller.waited += loop.time() - began_on


class Waits:
    """Futures by run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open = 0
        self._waiting: dict[RunId, set[asyncio.Future[bool]]] = {}
        self._closed = False
        self.tell: Callable[[RunId], None] = lambda run_id: None
        """Called when a run ends here: others may wait for it elsewhere."""

    @contextmanager
    def waiting(self, run_id: RunId) -> Iterator[asyncio.Future[bool]]:
        """Give a future that is done when the run ends; look at the run's state inside the block, then wait for it.

        Raises:
            Busy: too many wait.
        """
        if self._open >= self._limits.waits_open_max:
            raise Busy(f"{self._limits.waits_open_max:,} requests wait for runs already (waits_open_max)")
        woken: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._closed:
            woken.set_result(True)
        self._open += 1
        self._waiting.setdefault(run_id, set()).add(woken)
        try:
            yield woken
        finally:
            self._open -= 1
            others = self._waiting[run_id]
            others.discard(woken)
            if not others:
                del self._waiting[run_id]

    def run_ended(self, run_id: RunId) -> None:
        """Wake those who wait for a run that this process has ended, and tell others."""
        self.wake(run_id)
        self.tell(run_id)

    def is_awaited(self, run_id: RunId) -> bool:
        """Say whether somebody waits for a run here."""
        return run_id in self._waiting

    def awaited(self) -> AbstractSet[RunId]:
        """Give the runs that somebody waits for here, those of the longest waits first."""
        return self._waiting.keys()

    def wake(self, run_id: RunId) -> None:
        """Wake those who wait for a run here."""
        for woken in self._waiting.get(run_id, ()):
            if not woken.done():
                woken.set_result(True)

    def shut(self) -> None:
        """Wake everyone, now and from now on."""
        self._closed = True
        for run_id in list(self._waiting):
            self.wake(run_id)
