"""Workers over HTTP where jobs go through a broker: their leases are rows, which any process may renew or end.

A lease is in the memory of the process that handed the job out, and in the store once it has lasted half a second.
What the memory is good for ends with it: a worker may go on at another process, whose store knows of its jobs.

Rule 1: silence ends a lease in the store only: the worker's signs of life may come in elsewhere.
Rule 2: what is over, whoever has decided it, is told to its worker by the process that has the lease.
Rule 3: what was claimed for a worker and not handed out is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from orchestrator.app.command import Direct, Record
from orchestrator.app.demand import Demand
from orchestrator.app.gateway import Gateway
from orchestrator.app.lease import Lease, Leases
from orchestrator.app.lease_end import lost_on_the_way, start_of, timed_out
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.signs import Signs
from orchestrator.app.waits import Caller
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.job import Job, Report, parse_job_id
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.wire import HeartbeatAnswer, HeartbeatBody
from orchestrator.ports.broker import Stop
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.feed import Feed
from orchestrator.ports.outbox import Beat

_log = logging.getLogger(__name__)

TICK_SECONDS: Final = 0.1
"""How often the service looks."""
RECORD_AFTER: Final = Duration(MICROS // 2)
"""How long a lease lasts before the store learns of it. Short jobs end sooner and never cost that write."""
LEFT_SECONDS: Final = 2.0
"""How long a claimed job waits for the worker it was claimed for."""


class Feeding:
    """Brings the feed, the gateway and the store together. `run` is its service."""

    def __init__(
        self,
        feed: Feed,
        demand: Demand,
        gateway: Gateway,
        leases: Leases,
        pipeline: Pipeline,
        signs: Signs,
        clock: Clock,
        chance: Chance,
        limits: Limits,
    ) -> None:
        self._feed = feed
        self._demand = demand
        self._gateway = gateway
        self._leases = leases
        self._pipeline = pipeline
        self._signs = signs
        self._clock = clock
        self._chance = chance
        self._limits = limits
        feed.listen(gateway.jobs_came, self._stopped)

    # --- the protocol --------------------------------------------------------------------------------------------

    async def heartbeat(self, worker_id: str, body: HeartbeatBody, caller: Caller | None) -> HeartbeatAnswer:
        """Renew the leases of the jobs that are named, also of those that another process has handed out."""
        answer = self._gateway.heartbeat(worker_id, body, caller)
        elsewhere = {(ref.job_id, ref.attempt) for ref in answer.unknown}
        lease = Duration(self._gateway.workers.find(worker_id).lease)
        beats: list[Beat] = []
        for job in body.in_flight:
            place = parse_job_id(job.job_id)
            if place is None:
                continue
            if (job.job_id, job.attempt) in elsewhere:
                details = self._gateway.checked_details(job)
                beats.append(Beat(*place, job.attempt, worker_id, lease, details))
            elif (held := self._leases.get(place)) is not None:
                beats.append(self._beat_of(held))
        if not beats:
            return answer
        refused = await self._renew(beats)
        # Told once: as cancelled what was in hand here, as unknown what another process had handed out.
        worker = self._gateway.workers.find(worker_id)
        answer.cancelled, worker.cancelled = answer.cancelled + worker.cancelled, []
        known = elsewhere - refused
        answer.unknown = [ref for ref in answer.unknown if (ref.job_id, ref.attempt) not in known]
        return answer

    # --- what the world says ---------------------------------------------------------------------------------------

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """An attempt is over: give it to nobody, and take it back from the worker that has it."""
        self._stopped([Stop(run_id, step, attempt)])

    def reported(self, run_id: RunId, step: int, attempt: int) -> None:
        """An attempt is over by a report: whoever has it here has it no more."""
        self._gateway.reported(run_id, step, attempt)

    def _stopped(self, stops: Sequence[Stop]) -> None:
        for stop in stops:
            self._demand.stop(stop.run_id, stop.step, stop.attempt)
            self._gateway.take_back(stop.run_id, stop.step, stop.attempt)

    # --- the service ---------------------------------------------------------------------------------------------

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
                    _log.error("leases of workers over HTTP wait: %s", error)
                failing = True

    async def run_once(self) -> None:
        """Do once what time asks for."""
        self._demand.ask(self._gateway.waited_for())
        self._demand.look()
        await self._give_back(self._feed.leftovers(LEFT_SECONDS))
        await self.record_leases(RECORD_AFTER)
        await self._end_leases()

    async def stop(self) -> None:
        """Before the process goes down: give back what no worker has, and let the store know of what workers have."""
        self._demand.close()
        await self._give_back(self._feed.leftovers(0))
        await self.record_leases()

    async def record_leases(self, older_than: Duration = Duration(0)) -> None:
        """Tell the store of leases that last."""
        leases = self._leases.unrecorded(self._clock.monotonic() - older_than)
        if leases:
            await self._renew([self._beat_of(lease) for lease in leases])
            for lease in leases:
                self._leases.note_recorded(lease)

    async def _renew(self, beats: list[Beat]) -> set[tuple[str, int]]:
        """Renew leases; those that are over are taken back here, and named."""
        refused: set[tuple[str, int]] = set()
        for beat in await self._signs.renew(beats):
            refused.add((f"{beat.run_id}:{beat.step}", beat.attempt))
            lease = self._leases.get((beat.run_id, beat.step))
            if lease is not None and lease.job.attempt == beat.attempt and lease.worker == beat.worker:
                self._gateway.take_back(beat.run_id, beat.step, beat.attempt)
        return refused

    def _beat_of(self, lease: Lease) -> Beat:
        """Write what is known of a lease: it ends in the store when it does here."""
        ends_on = lease.ends_on if lease.times_out_on is None else min(lease.ends_on, lease.times_out_on)
        left = Duration(max(0, ends_on - self._clock.monotonic()))
        job = lease.job
        return Beat(job.run_id, job.step, job.attempt, lease.worker, left, lease.details, lease.started_at)

    async def _end_leases(self) -> None:
        now_on = self._clock.monotonic()
        endings: list[tuple[Lease, Direct]] = []
        for lease in list(self._leases.over(now_on)):
            if lease.times_out_on is not None and lease.times_out_on <= now_on:
                suspect = self._gateway.has_hung_up(lease.worker)
                endings.append((lease, timed_out(lease, self._chance.draw(), suspect=suspect)))
            elif lease.beats:
                endings.append((lease, lost_on_the_way(lease, self._limits.lost_attempts_max, self._chance.draw())))
            else:
                self._gateway.let_go(lease)
        # Whether the start of such an attempt is recorded does not matter: to record it twice changes nothing.
        answers = [
            self._pipeline.submit(direct, refusable=False)
            for lease, ending in endings
            for direct in (start_of(lease), ending)
        ]
        await asyncio.gather(*answers)
        for lease, _ in endings:
            # Nothing else ends a lease of an attempt that was over before.
            self._gateway.take_back(lease.job.run_id, lease.job.step, lease.job.attempt)

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        if jobs:
            _log.info("%d jobs were claimed for workers over HTTP that did not come for them: given back", len(jobs))
            reports = [
                Report(run_id=job.run_id, step=job.step, attempt=job.attempt, outcome="released", details=job.details)
                for job in jobs
            ]
            await self._pipeline.submit(Record(reports), refusable=False)
