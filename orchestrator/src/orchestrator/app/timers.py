"""What happens by itself as time goes on: retries, timeouts, lost leases, jobs that wait in the store."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from orchestrator.app.batch import make_job
from orchestrator.app.command import Direct, Requeue
from orchestrator.app.duties import EveryDuty, perform
from orchestrator.app.gateway import Gateway
from orchestrator.app.lease import Lease, Leases, length_of
from orchestrator.app.lease_end import lost_on_the_way, silent, start_of, timed_out
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.plans import Plans
from orchestrator.engine.command import Dispatch, StartRetry, TimeOutRun
from orchestrator.engine.plan import Plan
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.job import JobRow, Rejection
from orchestrator.model.json import NULL
from orchestrator.model.limits import Limits
from orchestrator.model.role import Duty
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.duties import Duties
from orchestrator.ports.queue import JobQueue
from orchestrator.ports.store import Store

_log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
"""How often the services look: the most that a timer is late on an idle machine."""
RECORD_AFTER: Final = Duration(MICROS // 2)
"""How long a lease lasts before the store learns of it. Short jobs end sooner and never cost that write."""
DUE_MAX: Final = 1_000
"""Timers fired in one look; the rest follow in the next."""
SWEEP_MAX: Final = 100
"""Rows, with their payloads, read in one step of the sweep."""
_BEGIN: Final = (0, 0)
"""Where a sweep begins."""
FORGET_MAX: Final = 1_000
RETAIN_MAX: Final = 200
"""Keys and runs removed in one look: little enough to hold nobody up. While there are more, a tick takes as many."""


class Timers:
    """One loop for everything that time moves on. Firing twice is harmless: the engine knows what is over."""

    def __init__(
        self,
        store: Store,
        pipeline: Pipeline,
        gateway: Gateway,
        queue: JobQueue,
        leases: Leases,
        plans: Plans,
        clock: Clock,
        chance: Chance,
        limits: Limits,
    ) -> None:
        self._store = store
        self._pipeline = pipeline
        self._gateway = gateway
        self._queue = queue
        self._leases = leases
        self._plans = plans
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self.keeps_leases = True
        """False where jobs go through a broker: `feeding` keeps their leases, and none is swept into the queue."""
        self.duties: Duties = EveryDuty()
        """What of all this is this process's; leases of its own gateway are always."""
        self._place = _BEGIN
        self._cleaned_on = clock.monotonic()
        self._forgetting = False
        """Whether there may be keys that have expired."""
        self._retaining = False
        """Whether there may be runs that were kept long enough."""

    async def run(self) -> None:
        """Look every tick until cancelled. A failing store is tried again at the next tick."""
        failing = False
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.run_once()
                failing = False
            except OrchestratorError as error:
                if not failing:
                    _log.error("timers wait for the store: %s", error)
                failing = True

    async def run_once(self) -> None:
        """Fire what is due, once."""
        if self.keeps_leases:
            await self.record_leases(RECORD_AFTER)
            await self._end_leases()
        await perform(self.duties, Duty.TIMERS, self._fire)
        if self.keeps_leases and (self._gateway.overflowed or self._place != _BEGIN):
            await self._sweep()
        if self._clock.monotonic() - self._cleaned_on > self._limits.cleaning_seconds * MICROS:
            self._cleaned_on = self._clock.monotonic()
            self._gateway.workers.forget(self._cleaned_on)
            self._forgetting = True
            self._retaining = self._limits.runs_kept_seconds > 0
        if self._forgetting:
            self._forgetting = await perform(self.duties, Duty.CLEANING, self._forget) and self._forgetting
        if self._retaining:
            self._retaining = await perform(self.duties, Duty.CLEANING, self._retain) and self._retaining

    async def _fire(self) -> None:
        await self._settle(await self._due())

    async def _forget(self) -> None:
        """Remove keys that have expired, a few at a time."""
        self._forgetting = await self._store.forget(self._clock.now(), FORGET_MAX) == FORGET_MAX

    async def _retain(self) -> None:
        """Remove runs that were kept long enough, a few at a time."""
        before = Time(self._clock.now() - round(self._limits.runs_kept_seconds * MICROS))
        self._retaining = await self._store.retain(before, RETAIN_MAX) == RETAIN_MAX

    async def recover(self) -> None:
        """After a start: know the leases that the last process knew, and queue what it had queued.

        A lease begins anew, so that a worker that lived through it has time to say so.
        """
        if not self.keeps_leases:
            return
        now_on = self._clock.monotonic()
        least, most = (
            round(lease * MICROS) for lease in (self._limits.lease_seconds_default, self._limits.lease_seconds_max)
        )
        for row in await self._store.leased():
            job = make_job(await self._plan(row), row.run_id, _dispatch(row), NULL, row.details)
            started_at = row.started_at if row.started_at is not None else self._clock.now()
            # As long as the worker was promised.
            promised = 0 if row.due_at is None else min(row.due_at - started_at, most)
            length = length_of(job, max(least, promised))
            spent = max(0, self._clock.now() - started_at)
            lease = Lease(
                job=job,
                worker=row.worker or "",
                started_at=started_at,
                length=length,
                ends_on=now_on + length,
                times_out_on=None if job.timeout is None else now_on + max(0, job.timeout - spent),
                granted_on=now_on,
                recorded=True,
                details=row.details,
            )
            self._leases.grant(lease)
        self._gateway.overflowed = True
        await self._sweep()

    async def record_leases(self, older_than: Duration = Duration(0)) -> None:
        """Tell the store of leases that last; of all of them before the process goes down."""
        leases = self._leases.unrecorded(self._clock.monotonic() - older_than)
        await self._settle([start_of(lease) for lease in leases])
        for lease in leases:
            self._leases.note_recorded(lease)

    async def _end_leases(self) -> None:
        """End attempts whose lease or timeout ran out."""
        now_on = self._clock.monotonic()
        leases = list(self._leases.over(now_on))
        # Whether the start of such an attempt is recorded does not matter: to record it twice changes nothing.
        starts = [start_of(lease) for lease in leases]
        endings = [self._ending(lease, now_on) for lease in leases]
        await self._settle(starts)
        for lease, changed in zip(leases, await self._settle(endings), strict=True):
            if changed is not True:
                # The attempt was over before: nothing else ends a lease that nobody reports on.
                self._gateway.take_back(lease.job.run_id, lease.job.step, lease.job.attempt)

    def _ending(self, lease: Lease, now_on: int) -> Direct:
        if lease.times_out_on is not None and lease.times_out_on <= now_on:
            return timed_out(lease, self._chance.draw(), suspect=self._gateway.has_hung_up(lease.worker))
        end = lost_on_the_way if lease.beats else silent
        return end(lease, self._limits.lost_attempts_max, self._chance.draw())

    async def _due(self) -> list[Direct]:
        """Start retries, and end runs that have outlived their timeout."""
        due = await self._store.due(self._clock.now(), DUE_MAX)
        return [
            *(Direct(row.run_id, StartRetry(row.step, row.attempt), details=row.details) for row in due.retries),
            *(Direct(run_id, TimeOutRun()) for run_id in due.runs),
        ]

    async def _settle(self, directs: list[Direct]) -> list[bool | Rejection]:
        answers = [self._pipeline.submit(direct, refusable=False) for direct in directs]
        if answers:
            await asyncio.wait(answers)
        for error in [answer.exception() for answer in answers]:
            if error is not None:
                raise error
        return [answer.result() for answer in answers]

    async def _sweep(self) -> None:
        """Queue jobs that wait in the store, oldest runs first, until the queue is full or none is left.

        A page that does not fit is read again once there is room; what overflows behind the place that a sweep has
        reached is for the sweep after it.
        """
        while self._queue.has_room:
            if self._place == _BEGIN:
                self._gateway.overflowed = False
            try:
                page, following = await self._store.pending(self._place, SWEEP_MAX)
                rows = [row for row in page if not self._queue.holds(row.run_id, row.step) and not self._has_begun(row)]
                waiting = await self._pipeline.submit(Requeue(rows), refusable=False) if rows else []
            except BaseException:
                self._gateway.overflowed = True
                raise
            if any(
                waits and not self._queue.holds(row.run_id, row.step) and not self._has_begun(row)
                for row, waits in zip(rows, waiting, strict=True)
            ):
                # It did not fit, or was taken meanwhile: read again.
                self._gateway.overflowed = True
                return
            self._place = following or _BEGIN
            if following is None:
                return

    def _has_begun(self, row: JobRow) -> bool:
        lease = self._leases.get((row.run_id, row.step))
        return lease is not None and lease.job.attempt == row.attempt

    async def _plan(self, row: JobRow) -> Plan:
        return await self._plans.find(self._store, row.workflow_id, row.version)


def _dispatch(row: JobRow) -> Dispatch:
    return Dispatch(row.step, row.attempt, row.action, row.input_of, row.alone)
