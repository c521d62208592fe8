"""Callers that wait for a run to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.model.errors import Busy
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration

Gone = Callable[[], Awaitable[None]]
"""Gives an awaitable that is done when a caller has gone away; asked for only by those who wait."""


class Waits:
    """Futures by run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open = 0
        self._waiting: dict[RunId, set[asyncio.Future[None]]] = {}
        self._closed = False

    def begin(self, run_id: RunId) -> asyncio.Future[None]:
        """Start to wait; look at the run's state after this call, then hand the future to `end`.

        Raises:
            Busy: too many wait.
        """
        if self._open >= self._limits.waits_open_max:
            raise Busy(f"{self._limits.waits_open_max:,} requests wait for runs already (waits_open_max)")
        self._open += 1
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, set()).add(waiting)
        if self._closed:
            waiting.set_result(None)
        return waiting

    async def end(self, run_id: RunId, waiting: asyncio.Future[None], wait: Duration, gone: Gone | None = None) -> None:
        """Wait until the run has ended, or the time is over, or the caller went away."""
        leaving = None if gone is None else asyncio.ensure_future(gone())
        try:
            watched = {waiting} if leaving is None else {waiting, leaving}
            await asyncio.wait(watched, timeout=wait / MICROS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if leaving is not None:
                leaving.cancel()
            self.forget(run_id, waiting)

    def forget(self, run_id: RunId, waiting: asyncio.Future[None]) -> None:
        """Stop to wait."""
        self._open -= 1
        others = self._waiting.get(run_id)
        if others is not None:
            others.discard(waiting)
            if not others:
                del self._waiting[run_id]

    def run_ended(self, run_id: RunId) -> None:
        """Wake those who wait for a run."""
        for waiting in self._waiting.get(run_id, ()):
            if not waiting.done():
                waiting.set_result(None)

    def shut(self) -> None:
        """Wake everyone, now and from now on."""
        self._closed = True
        for run_id in list(self._waiting):
            self.run_ended(run_id)
