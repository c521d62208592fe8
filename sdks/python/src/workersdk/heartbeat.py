"""Signs of life for the jobs in hand, and the worker's own fence when they cannot be given."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from workersdk.exchange import Exchanges
from workersdk.jobs import Job, JobsInHand, Stop
from workersdk.link import Link
from workersdk.loop import pause
from workersdk.transport import TransportError, WorkerUnknown

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
        self._told_at_registration = 0

    def accepted(self, jobs: Sequence[Job]) -> None:
        """Note new jobs: one with a heartbeat time-out moves the next beat forward, and has a shorter lease."""
        if any(job.heartbeat_timeout for job in jobs):
            self._news.set()
            self._short_lease.set()

    def resume(self) -> None:
        """The orchestrator is there again: do not wait for the end of a pause."""
        self._news.set()

    async def run(self) -> None:
        """Beat until cancelled."""
        last = self._loop.time()
        while True:
            timeout = self._jobs.heartbeat_timeout_min()
            every = self._link.terms.heartbeat
            if timeout is not None:
                every = min(every, timeout / BEATS_PER_TIMEOUT)
            due = last + every * random.uniform(0.8, 1.0)
            await pause(self._news, due - self._loop.time())
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
            await pause(self._short_lease, max(RETRY_S_MIN, next_look - now))

    def fence(self, now: float) -> None:
        """Stop the jobs whose lease has run out unheard: another worker may have them by now."""
        late = [job for job in self._jobs if job.stop is None and now >= job.seen_at + job.lease]
        self._exchanges.execution.stop_jobs(late, Stop.FENCED)

    async def _beat_until_heard(self) -> None:
        while True:
            registrations = self._link.registrations
            try:
                await self._beat()
            except WorkerUnknown:
                await self._link.register_again(registrations)
            except TransportError as error:
                await pause(self._news, max(RETRY_S_MIN, self._link.failed(error)))
            else:
                return

    async def _beat(self) -> None:
        """Send one heartbeat, if there is anything to name. Raises `TransportError`."""
        alive = [job for job in self._jobs if job.stop in KEPT_ALIVE]
        named = [*alive, *(outcome.job for outcome in self._exchanges.outbox)]
        if not named:
            return
        news = self._news_of(named)
        sent_at = self._loop.time()
        pulse = await self._link.transport.heartbeat([_entry(job, news.get(job)) for job in named])
        self._link.reached()
        for job in named:
            job.seen_at = sent_at
            job.details_told = news.get(job, job.details_told)
        self._exchanges.execution.stop_jobs(self._jobs.find_all(pulse.cancelled), Stop.CANCELLED)
        self._exchanges.execution.stop_jobs(self._jobs.find_all(pulse.unknown), Stop.LEASE_LOST)
        if pulse.is_draining:
            self._on_draining()

    def _news_of(self, jobs: Sequence[Job]) -> dict[Job, bytes]:
        """Return the details that are not told yet, as many as a call may carry; the others go with the next one."""
        if self._told_at_registration != self._link.registrations:
            self._told_at_registration = self._link.registrations
            for job in jobs:
                job.details_told = None  # an orchestrator that had to be told of the worker knows nothing of this
        room = self._exchanges.outbox.request_bytes_max // 2
        news = {}
        for job in jobs:
            details = job.details
            if details is not None and details is not job.details_told and len(details) <= room:
                news[job] = details
                room -= len(details)
        return news


def _entry(job: Job, details: bytes | None) -> bytes:
    return job.wire_head() + (b"}" if details is None else b',"details":' + details + b"}")
