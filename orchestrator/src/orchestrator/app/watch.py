"""Runs that callers wait for here and that end elsewhere: another process commits, and this one finds out.

Hints say which runs to look at now; without them, or where one was lost, all that are waited for are looked at again
and again. What the store says counts either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from orchestrator.app.waits import Waits
from orchestrator.model.errors import Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.ports.hints import Hints
from orchestrator.ports.queries import Queries

_log = logging.getLogger(__name__)

WATCHED_MAX: Final = 1_000
"""Runs looked at in one query; where callers wait for more, these take turns."""


class Watch:
    """Wakes those who wait for a run that another process has ended."""

    def __init__(self, waits: Waits, queries: Queries, limits: Limits, hints: Hints | None = None) -> None:
        self._waits = waits
        self._queries = queries
        self._limits = limits
        self._hints = hints
        self._heard: dict[RunId, None] = {}
        self._called = asyncio.Event()
        self._seen: set[RunId] = set()
        """Runs that were waited for a look ago: those whose wait is younger may well end before the next one."""
        self._turn: list[RunId] = []
        """What is looked at next, where not all fit into one look."""
        self._failing = False
        if hints is not None:
            hints.listen(self._hear)

    def _hear(self, run_ids: list[RunId]) -> None:
        for run_id in run_ids:
            if self._waits.is_awaited(run_id):
                self._heard[run_id] = None
                self._called.set()

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        looked_on = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.watch_seconds):
                    await self._called.wait()
            self._called.clear()
            try:
                await self._look_at_heard()
                # Hints may stop coming at any moment: the pause is measured anew each time.
                if loop.time() - looked_on >= self._pause():
                    looked_on = loop.time()
                    await self.look()
            except Unavailable as error:
                if not self._failing:
                    _log.error("those who wait for runs wait for the store: %s", error)
                self._failing = True

    async def look(self) -> None:
        """Look once at runs that are waited for, and have been since the look before."""
        awaited = self._waits.awaited()
        turn = [run_id for run_id in self._turn if run_id in awaited] or [
            run_id for run_id in awaited if run_id in self._seen
        ]
        self._seen = set(awaited)
        self._turn = turn[WATCHED_MAX:]
        await self._look_at(turn[:WATCHED_MAX])

    async def _look_at_heard(self) -> None:
        while self._heard:
            heard = list(self._heard)[:WATCHED_MAX]
            for run_id in heard:
                del self._heard[run_id]
            await self._look_at(heard)

    async def _look_at(self, run_ids: list[RunId]) -> None:
        if run_ids:
            for run_id in await self._queries.ended(run_ids):
                self._waits.wake(run_id)
            self._failing = False

    def _pause(self) -> float:
        is_told = self._hints is not None and self._hints.report.is_listening
        return self._limits.watch_told_seconds if is_told else self._limits.watch_seconds
