"""What comes in through a broker: results, heartbeats, and how far workers have read.

Rule 1: offsets follow the commit, never the other way round.
Rule 2: a record that cannot be read is kept with the dead letters, and the next one is taken.
Rule 3: a failing store stops the reading, and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from orchestrator.app.command import Direct, Record
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.records import Beats, Results
from orchestrator.engine.command import LoseAttempt, StartAttempt, TimeOutAttempt
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.job import JobRow, Rejection, Report
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Duration, seconds
from orchestrator.ports.broker import Broker, Stop
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.outbox import Beat, Outbox

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

AGAIN_SECONDS: Final = 0.5
"""The pause before a failing store or broker is tried again."""
WATCH_SECONDS: Final = 1.0
"""How often leases are looked at, and how far workers have read."""
LIMIT: Final = 1_000
"""Rows looked at in one look; the rest follow in the next."""
LAG_MAX: Final = 1_000
"""Records that may wait before no lease is ended: the signs of life may be among them."""


class Incoming:
    """Takes what workers send. `run` is its service."""

    def __init__(
        self, broker: Broker, outbox: Outbox, pipeline: Pipeline, clock: Clock, chance: Chance, limits: Limits
    ) -> None:
        self._broker = broker
        self._outbox = outbox
        self._pipeline = pipeline
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self.rejected: Counter[str] = Counter()
        """Results that changed nothing, and records that could not be read, by reason."""

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_results())
            group.create_task(self._take_heartbeats())
            group.create_task(self._watch())

    async def _take_results(self) -> None:
        inbox = self._broker.results
        while True:
            results = Results(self._limits)
            for record in await inbox.take():
                results.add(record)
            for refused, reason in results.refused:
                self._note(Rejection.INVALID, reason)
                await self._insist(partial(self._broker.refuse, refused, reason))
            if results.reports:
                answers = await self._insist(partial(self._record, results.reports))
                for report, rejection in zip(results.reports, answers, strict=True):
                    if rejection is not None:
                        self._note(rejection, f"run {report.run_id} step {report.step} attempt {report.attempt}")
            inbox.done()

    async def _take_heartbeats(self) -> None:
        inbox = self._broker.heartbeats
        while True:
            beats = Beats(self._limits)
            for record in await inbox.take():
                beats.add(record)
            for reason in beats.refused:
                self._note(Rejection.INVALID, reason)
            if beats.beats:
                await self._insist(partial(self._renew, beats.beats))
            inbox.done()

    async def _record(self, reports: list[Report]) -> list[Rejection | None]:
        return await self._pipeline.submit(Record(reports), refusable=False)

    async def _renew(self, beats: list[Beat]) -> None:
        renewed = await self._outbox.renew(beats, self._clock.now())
        unknown = [beat for beat, known in zip(beats, renewed, strict=True) if not known]
        starts = [self._pipeline.submit(self._start_of(beat), refusable=False) for beat in unknown]
        refused = [beat for beat, start in zip(unknown, starts, strict=True) if await start is not True]
        # Somebody else may have recorded the start meanwhile, without a name: then the attempt is this worker's.
        again = await self._outbox.renew(refused, self._clock.now()) if refused else []
        stops = [
            Stop(beat.run_id, beat.step, beat.attempt) for beat, known in zip(refused, again, strict=True) if not known
        ]
        if stops:
            # Over, or in another worker's hands.
            self._broker.stop(stops)

    def _start_of(self, beat: Beat) -> Direct:
        now = self._clock.now()
        start = StartAttempt(beat.step, beat.attempt, beat.worker, beat.started_at or now)
        return Direct(beat.run_id, start, details=beat.details, lease_until=now + beat.lease)

    async def _watch(self) -> None:
        failing = False
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._find_taken()
                if self._broker.results.lag() + self._broker.heartbeats.lag() <= LAG_MAX:
                    await self._end_leases()
                failing = False
            except OrchestratorError as error:
                if not failing:
                    _log.error("leases wait: %s", error)
                failing = True

    async def _find_taken(self) -> None:
        """Give a lease to jobs that some worker has taken and not told of: it has until then to say so."""
        actions = await self._outbox.actions()
        if not actions:
            return
        now = self._clock.now()
        lease = round(self._limits.lease_seconds_default * MICROS)
        starts: list[asyncio.Future[bool | Rejection]] = []
        taken = await self._broker.taken(actions)
        beating = {one.action for one in taken if one.beats}
        for row in await self._outbox.passed(taken, LIMIT):
            start = StartAttempt(row.step, row.attempt, "", now)
            until = now + (lease if row.timeout is None else min(lease, row.timeout))
            if row.timeout is not None and row.action not in beating:
                # Nothing will be heard of it before its answer: its own timeout counts, from now on.
                until = now + row.timeout
            direct = Direct(row.run_id, start, details=row.details, lease_until=until)
            starts.append(self._pipeline.submit(direct, refusable=False))
        for answer in starts:
            await answer

    async def _end_leases(self) -> None:
        rows = await self._outbox.expired(self._clock.now(), LIMIT)
        endings = [self._pipeline.submit(self._ending(row), refusable=False) for row in rows]
        for ending in endings:
            await ending

    def _ending(self, row: JobRow) -> Direct:
        is_over = row.timeout is not None and row.started_at is not None
        if is_over and (row.started_at or 0) + (row.timeout or 0) <= self._clock.now():
            command: TimeOutAttempt | LoseAttempt = TimeOutAttempt(row.step, row.attempt, self._chance.draw())
        else:
            who = f"worker {row.worker}" if row.worker else "a worker that took the job"
            lease = seconds(Duration(round(self._limits.lease_seconds_default * MICROS)))
            reason = f"{who} gave no sign of life for {lease} s"
            most = self._limits.lost_attempts_max
            command = LoseAttempt(row.step, row.attempt, reason, most, self._chance.draw())
        return Direct(row.run_id, command, details=row.details, worker=row.worker or None)

    def _note(self, rejection: Rejection, about: str) -> None:
        """Count what changed nothing; the first of its kind is logged, the others are for whoever looks."""
        self.rejected[rejection] += 1
        level = logging.WARNING if self.rejected[rejection] == 1 else logging.DEBUG
        _log.log(level, "a record changed nothing (%s): %s", rejection, about)

    async def _insist(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try until it works: what was taken from the broker is not given up."""
        while True:
            try:
                return await attempt()
            except OrchestratorError as error:
                _log.error("results wait: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
