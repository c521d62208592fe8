"""Callers that wait: for a run to end here, for a job in `gateway`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from orchestrator.model.errors import Busy
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId

WATCH_AFTER_SECONDS: Final = 1.0
"""How long a wait lasts before its caller is watched. Most waits are shorter, and a watcher costs more than they do."""


class Caller(Protocol):
    """Who waits for an answer."""

    def has_gone(self) -> bool:
        """Whether it has gone away: nobody would read an answer."""
        ...

    def leaving(self) -> Coroutine[None, None, None]:
        """Return once it has gone away."""
        ...


async def until(woken: asyncio.Future[bool], seconds: float, caller: Caller | None) -> bool:
    """Wait until a future is done; give its result, False when the time was over or the caller left before."""
    loop = asyncio.get_running_loop()
    watch: asyncio.Task[None] | None = None

    def expire(_: object = None) -> None:
        if not woken.done():
            woken.set_result(False)

    def begin_watch(caller: Caller) -> None:
        nonlocal watch
        watch = loop.create_task(caller.leaving())
        watch.add_done_callback(expire)

    timers = [loop.call_later(seconds, expire)]
    if caller is not None and seconds > WATCH_AFTER_SECONDS:
        timers.append(loop.call_later(WATCH_AFTER_SECONDS, begin_watch, caller))
    try:
        return await woken
    finally:
        for timer in timers:
            timer.cancel()
        if watch is not None:
            watch.cancel()


class Waits:
    """Futures by run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open = 0
        self._waiting: dict[RunId, set[asyncio.Future[bool]]] = {}
        self._closed = False

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
        """Wake those who wait for a run."""
        for woken in self._waiting.get(run_id, ()):
            if not woken.done():
                woken.set_result(True)

    def shut(self) -> None:
        """Wake everyone, now and from now on."""
        self._closed = True
        for run_id in list(self._waiting):
            self.run_ended(run_id)
