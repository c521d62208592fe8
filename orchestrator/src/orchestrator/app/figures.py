"""What metrics say of the database and the broker, which all processes share: asked for when somebody looks."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final, NamedTuple

from orchestrator.app.look import Look
from orchestrator.app.plans import Plans
from orchestrator.app.roll import Roll
from orchestrator.app.workers import WorkerStatus
from orchestrator.model.errors import OrchestratorError, Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.worker import Transport
from orchestrator.ports.broker import Broker, Lags
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.queries import Counts, Queries

PATIENCE_SECONDS: Final = 3.0
"""How long each of them may take to answer, before it counts as down: who collects metrics waits for ten seconds."""


class Shared(NamedTuple):
    """What was found."""

    counts: Counts | None
    """None where the database does not answer."""
    lags: Lags | None
    """None without a broker, and where it does not answer."""
    workers: Counter[tuple[Transport, WorkerStatus]]
    """Workers of all processes; empty where the database does not answer."""


class Figures:
    """Looks at what is shared."""

    def __init__(
        self, queries: Queries, broker: Broker | None, outbox: Outbox | None, roll: Roll, plans: Plans, limits: Limits
    ) -> None:
        self._queries = queries
        self.broker = broker
        """What jobs go through; None where that is this process's own queue."""
        self._outbox = outbox
        self._plans = plans
        self._limits = limits
        self._counts = Look(self._count, limits.metrics_seconds, PATIENCE_SECONDS)
        self._lags = Look(self._find_lags, limits.metrics_seconds, PATIENCE_SECONDS)
        self._workers = Look(roll.count, limits.metrics_seconds, PATIENCE_SECONDS)

    async def look(self) -> Shared:
        """Give what is known, not older than `Limits.metrics_seconds`."""
        counts, lags, workers = await asyncio.gather(self._counts.get(), self._lags.get(), self._workers.get())
        return Shared(
            None if isinstance(counts, OrchestratorError) else counts,
            None if isinstance(lags, OrchestratorError) else lags,
            Counter() if isinstance(workers, OrchestratorError) else workers,
        )

    def close(self) -> None:
        """Stop looking."""
        self._counts.close()
        self._lags.close()
        self._workers.close()

    async def _count(self) -> Counts:
        return await self._queries.count(self._limits.metrics_rows_max)

    async def _find_lags(self) -> Lags:
        """Ask for the actions that have jobs with workers first, then for others of known workflows."""
        if self.broker is None or self._outbox is None:
            raise Unavailable("there is no broker")
        most = self._limits.metrics_actions_max
        try:
            sent = await self._outbox.actions()
        except OrchestratorError:
            # Whether the broker is there is worth knowing all the same.
            sent = []
        return await self.broker.lags(list(dict.fromkeys((*sent, *self._plans.actions(most))))[:most])
