"""Leases of jobs that went out through a broker: who has taken a job, who is silent about it, and which were lost.

Rule 1: nobody is taken for dead whose signs of life may be on their way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from orchestrator.app.command import Direct
from orchestrator.app.duties import perform
from orchestrator.app.pipeline import Pipeline
from orchestrator.engine.command import LoseAttempt, StartAttempt, TimeOutAttempt
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.job import JobRow, Rejection
from orchestrator.model.limits import Limits
from orchestrator.model.role import Duty
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, seconds
from orchestrator.ports.broker import Broker
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.duties import Duties
from orchestrator.ports.outbox import Outbox

_log = logging.getLogger(__name__)

WATCH_SECONDS: Final = 1.0
"""How often leases are looked at, and how far workers have read."""
LIMIT: Final = 1_000
"""Rows looked at in one look; the rest follow in the next."""
LAG_MAX: Final = 1_000
"""Records that may wait before no lease is ended: the signs of life may be among them."""
LOST_SECONDS: Final = 10.0
"""How often jobs are looked for that the broker has lost after it had acknowledged them."""
_HEARTBEATS_PER_LEASE: Final = 3


class BrokerLeases:
    """The duty `Duty.LEASES`. `run` is its service."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        pipeline: Pipeline,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        duties: Duties,
    ) -> None:
        self._broker = broker
        self._outbox = outbox
        self._pipeline = pipeline
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._duties = duties
        self._passed: set[tuple[RunId, int, int]] = set()
        """Attempts that nobody had told of at the last look, though some worker had taken them."""
        self._ends: Mapping[tuple[str, int], int] = {}
        """Where the topics ended at the last look."""
        self._looked_on = clock.monotonic()
        self.lost = 0
        """Jobs that the broker had acknowledged and lost."""
        self._trusted_from: int | None = None
        """From when on, by the monotonic clock, silence is the worker's own; None while nothing is known."""

    async def run(self) -> None:
        """Serve until cancelled."""
        failing = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                if not await perform(self._duties, Duty.LEASES, self.run_once):
                    self._trusted_from = None
                failing = False
            except OrchestratorError as error:
                # A store or a broker that is away keeps signs of life away as well.
                self._trusted_from = None
                if not failing:
                    _log.error("leases wait: %s", error)
                failing = True

    async def run_once(self) -> None:
        """Begin and end leases, once."""
        await self._find_taken()
        await self._find_lost()
        waiting = await self._broker.waiting()
        now_on = self._clock.monotonic()
        if self._trusted_from is None:
            # Nobody may have listened before: every worker gets the time to say something.
            heartbeat = self._limits.lease_seconds_default / _HEARTBEATS_PER_LEASE
            self._trusted_from = now_on + round(heartbeat * MICROS)
        if waiting <= LAG_MAX:
            await self._end_leases(silent=now_on >= self._trusted_from)

    async def _find_taken(self) -> None:
        """Give a lease to jobs that some worker has taken and not told of: it has until then to say so.

        Those that were seen here for the first time are left for the next look: who has them is about to say so.
        """
        actions = await self._outbox.actions()
        if not actions:
            return
        now = self._clock.now()
        lease = round(self._limits.lease_seconds_default * MICROS)
        starts: list[asyncio.Future[bool | Rejection]] = []
        taken = await self._broker.taken(actions)
        beating = {one.action for one in taken if one.beats}
        rows = await self._outbox.passed(taken, LIMIT)
        before, self._passed = self._passed, {(row.run_id, row.step, row.attempt) for row in rows}
        for row in rows:
            if (row.run_id, row.step, row.attempt) not in before:
                continue
            start = StartAttempt(row.step, row.attempt, "", now)
            until = now + (lease if row.timeout is None else min(lease, row.timeout))
            if row.timeout is not None and row.action not in beating:
                # Nothing will be heard of it before its answer: its own timeout counts, from now on.
                until = now + row.timeout
            direct = Direct(row.run_id, start, details=row.details, lease_until=until)
            starts.append(self._pipeline.submit(direct, refusable=False))
        await asyncio.gather(*starts)

    async def _find_lost(self) -> None:
        """Send jobs again that the broker acknowledged and has no more, as after a crash that took the end of its log.

        Nobody would ever take such a job. What may be one is read before the broker is asked where it ends: what was
        sent in between lies beyond the last look only.
        """
        now_on = self._clock.monotonic()
        if now_on - self._looked_on < LOST_SECONDS * MICROS:
            return
        suspects = await self._outbox.beyond(self._ends, LIMIT) if self._ends else []
        self._ends = await self._broker.ends()
        self._looked_on = now_on
        lost = [one for one in suspects if one.offset >= self._ends.get((one.topic, one.partition), one.offset + 1)]
        if lost:
            self.lost += len(lost)
            _log.warning("the broker has lost %d jobs that it had acknowledged: they are sent again", len(lost))
            await self._outbox.send_again(lost, self._clock.now())

    async def _end_leases(self, *, silent: bool) -> None:
        """End attempts that have timed out and, where silence means something, those of silent workers."""
        rows = await self._outbox.expired(self._clock.now(), LIMIT)
        rows = [row for row in rows if silent or self._has_timed_out(row)]
        await asyncio.gather(*(self._pipeline.submit(self._ending(row), refusable=False) for row in rows))

    def _has_timed_out(self, row: JobRow) -> bool:
        if row.timeout is None or row.started_at is None:
            return False
        return row.started_at + row.timeout <= self._clock.now()

    def _ending(self, row: JobRow) -> Direct:
        if self._has_timed_out(row):
            command: TimeOutAttempt | LoseAttempt = TimeOutAttempt(row.step, row.attempt, self._chance.draw())
        else:
            who = f"worker {row.worker}" if row.worker else "a worker that took the job"
            lease = seconds(Duration(round(self._limits.lease_seconds_default * MICROS)))
            reason = f"{who} gave no sign of life for {lease} s"
            most = self._limits.lost_attempts_max
            command = LoseAttempt(row.step, row.attempt, reason, most, self._chance.draw())
        return Direct(row.run_id, command, details=row.details, worker=row.worker or None)
