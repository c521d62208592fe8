"""What comes in through a broker: results and heartbeats.

Rule 1: offsets follow the commit, never the other way round.
Rule 2: a record that cannot be read is kept with the dead letters, and the next one is taken.
Rule 3: a failing store stops the reading, and loses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final, NamedTuple, TypeVar

from orchestrator.app.command import Record
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.records import Beats, Heard, Results
from orchestrator.app.signs import Signs
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.job import Rejection, Report
from orchestrator.model.limits import Limits
from orchestrator.ports.broker import Broker, Stop
from orchestrator.ports.outbox import Beat

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

HAND_OVER_SECONDS: Final = 0.001
"""How long before the end of the pipeline's rest results are taken: as long as it takes to hand them over."""
AGAIN_SECONDS: Final = 0.5
"""The pause before a failing store or broker is tried again."""


class _Recorded(NamedTuple):
    """What was taken at once, and the answer of the pipeline to it where it has it."""

    results: Results
    answer: asyncio.Future[list[Rejection | None]] | None


class Incoming:
    """Takes what workers send. `run` is its service."""

    def __init__(self, broker: Broker, signs: Signs, pipeline: Pipeline, limits: Limits) -> None:
        self._broker = broker
        self._signs = signs
        self._pipeline = pipeline
        self._limits = limits
        self.heard: Callable[[Iterable[Heard]], None] = lambda workers: None
        """Called with the workers that have given signs of life."""
        self.rejected: Counter[str] = Counter()
        """Results that changed nothing, and records that could not be read, by reason."""

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._take_results())
            group.create_task(self._take_heartbeats())

    async def _take_results(self) -> None:
        inbox = self._broker.results
        under_way: asyncio.Queue[_Recorded] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._finish(under_way))
            while True:
                # What comes while the pipeline rests is taken at once, at the end: each piece costs as much as the
                # whole.
                if (rest := self._pipeline.rest - HAND_OVER_SECONDS) > 0:
                    await asyncio.sleep(rest)
                results = Results(self._limits)
                for record in await inbox.take():
                    results.add(record)
                await under_way.put(_Recorded(results, self._begin(results.reports) if results.reports else None))

    def _begin(self, reports: list[Report]) -> asyncio.Future[list[Rejection | None]] | None:
        """Hand reports to the pipeline, before what it got earlier is recorded; None where it takes none."""
        try:
            answer = self._record(reports)
        except OrchestratorError:
            return None
        # When this process goes, nobody asks for it any more.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        return answer

    async def _finish(self, under_way: asyncio.Queue[_Recorded]) -> None:
        """See to it that results are recorded, and say so in the order in which they were taken."""
        while True:
            results, answer = await under_way.get()
            for refused, reason in results.refused:
                self._note(Rejection.INVALID, reason)
                await self._insist(partial(self._broker.refuse, refused, reason))
            reports = results.reports
            for report, rejection in zip(reports, await self._recorded(reports, answer), strict=True):
                if rejection is not None:
                    self._note(rejection, f"run {report.run_id} step {report.step} attempt {report.attempt}")
            self._broker.results.done()

    async def _recorded(
        self, reports: list[Report], answer: asyncio.Future[list[Rejection | None]] | None
    ) -> list[Rejection | None]:
        async def attempt() -> list[Rejection | None]:
            nonlocal answer
            begun, answer = answer, None
            return await (begun or self._record(reports))

        return await self._insist(attempt) if reports else []

    async def _take_heartbeats(self) -> None:
        inbox = self._broker.heartbeats
        while True:
            beats = Beats(self._limits)
            for record in await inbox.take():
                beats.add(record)
            for reason in beats.refused:
                self._note(Rejection.INVALID, reason)
            self.heard(beats.workers.values())
            if beats.beats:
                await self._insist(partial(self._renew_or_stop, beats.beats))
            inbox.done()

    def _record(self, reports: list[Report]) -> asyncio.Future[list[Rejection | None]]:
        return self._pipeline.submit(Record(reports), refusable=False)

    async def _renew_or_stop(self, beats: list[Beat]) -> None:
        refused = await self._signs.renew(beats)
        if refused:
            self._broker.stop([Stop(beat.run_id, beat.step, beat.attempt) for beat in refused])

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
