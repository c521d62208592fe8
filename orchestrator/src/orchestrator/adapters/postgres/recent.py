"""What this process knows of open runs without asking: how it left them, and in which of the server's transactions.

A row that another process has changed since carries the number of another transaction, so that what is remembered here
is never taken for true: the statement that writes a decision compares, and takes itself back where the two differ.
Those numbers are one server's: whatever is known is forgotten when a connection is made, which may be to a standby.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from orchestrator.model.run import RunId, RunState

RECENT_MAX: Final = 50_000
"""Open runs that are remembered where no limit says otherwise (`model.limits.Limits.open_runs_cached_max`), a kilobyte
or two each; beyond it those that were not written for longest are read."""


class Known(NamedTuple):
    """A run as its row is, or was when this process last wrote it."""

    seq: int
    state: RunState
    written_by: int
    """The transaction that wrote the row: PostgreSQL's ``xmin``."""


class Recent:
    """Runs by their ids. Those that a transaction of this process is about are in its hands until it ends."""

    def __init__(self, most: int = RECENT_MAX) -> None:
        self._most = most
        self._known: dict[RunId, Known] = {}
        """Those that were written longest ago first."""
        self._held: dict[RunId, asyncio.Future[None]] = {}

    async def hold(self, ids: Collection[RunId], over: asyncio.Future[None]) -> dict[RunId, Known]:
        """Wait until no other transaction of this process has any of the runs, and take them; give what is known.

        Args:
            ids: all at once: who has some and waits for more could wait in a circle.
            over: done when the transaction has ended; who it is, too.
        """
        while True:
            other = next((held for run_id in ids if (held := self._held.get(run_id, over)) is not over), None)
            if other is None:
                break
            await asyncio.wait([other])
        found: dict[RunId, Known] = {}
        for run_id in ids:
            self._held[run_id] = over
            known = self._known.pop(run_id, None)
            if known is not None:
                found[run_id] = known
        return found

    def forget(self) -> None:
        """Know nothing any more."""
        self._known.clear()

    def let_go(self, ids: Iterable[RunId], over: asyncio.Future[None]) -> None:
        """End a transaction: what it held is free, and known to none until `remember` says how it is."""
        for run_id in ids:
            if self._held.get(run_id) is over:
                del self._held[run_id]
        over.set_result(None)

    def remember(self, runs: Iterable[Known]) -> None:
        """Keep runs as a transaction has committed them; to be called before it lets them go."""
        known = self._known
        for run in runs:
            if run.state.is_open:
                known[run.state.run_id] = run
        while len(known) > self._most:
            del known[next(iter(known))]
