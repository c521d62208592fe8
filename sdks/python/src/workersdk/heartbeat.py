"""Signs of life for the jobs in hand, and the worker's own fence when they cannot be given."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from workersdk.errors import RegistrationError
from workersdk.exchange import Exchanges
from workersdk.jobs import Job, JobsInHand, Stop
from workersdk.link import Link
from workersdk.outcomes import Outcome
from workersdk.transport import Pulse, Refused, TransportError, WorkerUnknown

BEATS_PER_TIMEOUT: Final = 3
RETRY_S_MIN: Final = 0.05

# A fenced job may still be this worker's: its sync handler goes on, and the result is reported.
KEPT_ALIVE: Final = frozenset({None, Stop.FENCED})


class Heartbeats:
    """Names every job in hand, often enough for the shortest of their time-outs.

    A job whose result waits here to be sent is named too; one whose result is on its way is not.
    """

    def __init__(
        self,
        link: Link,
        jobs: JobsInHand,
        exchanges: Exchanges,
        logger: logging.Logger,
        on_draining: Callable[[], None],
    ) -> None:
        self._link = link
        self._jobs = jobs
        self._exchanges = exchanges
        self._logger = logger
        self._on_draining = on_draining
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._short_lease = asyncio.Event()
        self._untold: list[Outcome] = []
        self._telling: asyncio.Task[None] | None = None

    def accepted(self, jobs: Sequence[Job]) -> None:
        """Note new jobs: one with a heartbeat time-out moves the next beat forward, and has a shorter lease."""
        if any(job.heartbeat_timeout for job in jobs):
            self._news.set()
            self._short_lease.set()

    def resume(self) -> None:
        """The orchestrator is there again: do not wait for the end of a pause."""
        self._news.set()

    def report_with_details(self, outcomes: Sequence[Outcome]) -> None:
        """Report failures whose attempts said something that has not been told: it goes first, for the next attempt."""
        self._untold.extend(outcomes)
        if self._telling is None:
            self._telling = self._loop.create_task(self._tell())

    async def run(self) -> None:
        """Beat until cancelled."""
        last = self._loop.time()
        while True:
            timeout = self._jobs.heartbeat_timeout_min()
            every = self._link.terms.heartbeat
            if timeout is not None:
                every = min(every, timeout / BEATS_PER_TIMEOUT)
            due = last + every * random.uniform(0.8, 1.0)
            await _pause(self._news, due - self._loop.time())
            if self._loop.time() >= due:
                last = self._loop.time()
                await self._beat_until_heard()

    async def guard(self) -> None:
        """Watch over the leases until cancelled, whatever the calls are doing."""
        while True:
            now = self._loop.time()
            self.fence(now)
            ends = [job.seen_at + job.lease for job in self._jobs if job.stop is None]
            next_look = min([*ends, now + self._link.terms.lease])
            await _pause(self._short_lease, max(RETRY_S_MIN, next_look - now))

    def fence(self, now: float) -> None:
        """Stop the jobs whose lease has run out unheard: another worker may have them by now."""
        late = [job for job in self._jobs if job.stop is None and now >= job.seen_at + job.lease]
        self._exchanges.stop_jobs(late, Stop.FENCED)

    async def close(self) -> None:
        """End what `report_with_details` began; the outcomes that are left go out untold."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait([self._telling])
        self._exchanges.report(self._untold)
        self._untold = []

    async def _beat_until_heard(self) -> None:
        while True:
            try:
                await self.beat()
            except TransportError as error:
                await _pause(self._news, max(RETRY_S_MIN, self._link.failed(error)))
            else:
                return

    async def beat(self) -> None:
        """Send one heartbeat, if there is anything to name. Raises `TransportError`."""
        alive = [job for job in self._jobs if job.stop in KEPT_ALIVE]
        named = [*alive, *(outcome.job for outcome in self._exchanges.outbox)]
        if not named:
            return
        told = {job: job.details for job in named if job.details is not None}
        sent_at = self._loop.time()
        pulse = await self._send(named)
        self._link.reached()
        for job in named:
            job.seen_at = sent_at
            if job.details is told.get(job):
                job.details_are_told = True
        self._apply(pulse, named)

    async def _send(self, named: Sequence[Job]) -> Pulse:
        registrations = self._link.registrations
        try:
            return await self._link.transport.heartbeat(self._entries(named))
        except WorkerUnknown:
            await self._link.register_again(registrations)
        except Refused as error:
            if all(job.details is None for job in named):
                raise
            # Details are the handlers' own; what is wrong with one of them must not cost the others their leases.
            self._logger.warning("the details of the jobs in hand were refused and are left out: %s", error)
            for job in named:
                job.details = None
        return await self._link.transport.heartbeat(self._entries(named))

    def _entries(self, jobs: Iterable[Job]) -> list[bytes]:
        """Write the jobs with their details; those that were told before are left out when the call gets too large."""
        room = self._exchanges.outbox.request_bytes_max // 2
        entries = []
        for job in jobs:
            head = job.wire_head()
            if job.details is not None and (room > 0 or not job.details_are_told):
                entry = b"".join((head, b',"details":', job.details, b"}"))
            else:
                entry = head + b"}"
            room -= len(entry)
            entries.append(entry)
        return entries

    def _apply(self, pulse: Pulse, named: Sequence[Job]) -> None:
        # Only what this heartbeat named: a job that came since then may be a later attempt with the same id.
        cancelled, unknown = set(pulse.cancelled), set(pulse.unknown)
        mine = [job for job in named if self._jobs.holds(job)]
        self._exchanges.stop_jobs([job for job in mine if job.id in cancelled], Stop.CANCELLED)
        self._exchanges.stop_jobs([job for job in mine if job.id in unknown], Stop.LEASE_LOST)
        if pulse.is_draining:
            self._on_draining()

    async def _tell(self) -> None:
        while self._untold:
            batch = list(self._untold)
            try:
                await self.beat()
            except (TransportError, RegistrationError) as error:
                self._logger.warning("the last details of %d failed attempts were not told: %s", len(batch), error)
            del self._untold[: len(batch)]
            self._exchanges.report(batch)
        self._telling = None


async def _pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so many seconds at most."""
    event.clear()
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return
