"""Signs of life over Kafka, and the worker's own fence when nobody acknowledges them.

Rule 1: a heartbeat names every job in hand, and every job whose result is not acknowledged.
Rule 2: a short job costs no heartbeat. One that has run for a second is named soon after, and so is what its handler
        says; both make at most one heartbeat more a second. That no other job could start is said soon after it has
        been so for a second, and that one could again with the next heartbeat: so a worker is not free because all that
        it does is short, and what comes and goes costs little.
Rule 3: idle or busy, a worker says every ten seconds at the latest that it is there.
Rule 4: one heartbeat is on its way at a time. When it took long, the next one follows at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import KafkaError

from workersdk.execution import Execution
from workersdk.heartbeat import BEATS_PER_TIMEOUT, KEPT_ALIVE
from workersdk.jobs import JobsInHand, Stop
from workersdk.kafka.records import BeatWriter, KafkaJob, write_in_flight
from workersdk.kafka.sender import Sender, Sending
from workersdk.loop import pause

PRESENCE_S: Final = 10.0
NAMED_AFTER_S: Final = 1.0
TICK_S: Final = 1.0
OLD_S: Final = 2.0
DETAILS_BYTES_AT_ONCE: Final = 512 * 1024


class Heartbeats:
    """Beats for one worker. `lease` in seconds; `unreported` gives the jobs whose results are on their way.

    `capacity` gives how many more jobs could start now.
    """

    def __init__(
        self,
        writer: BeatWriter,
        topic: str,
        key: bytes,
        lease: float,
        sender: Sender,
        jobs: JobsInHand,
        unreported: Callable[[], Iterable[KafkaJob]],
        capacity: Callable[[], int],
        execution: Execution,
        on_heard: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._topic = topic
        self._key = key
        self._lease = lease
        self._sender = sender
        self._jobs = jobs
        self._unreported = unreported
        self._capacity = capacity
        self._execution = execution
        self._on_heard = on_heard
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._is_idle = True
        self._on_way: Sending | None = None
        self._has_left = False
        self._last = 0.0
        self._full_since: float | None = None  # as far as was looked
        self._is_full_told = False

    def accepted(self) -> None:
        """Note new jobs: an idle worker looks after them from now on."""
        if self._is_idle:
            self._is_idle = False
            self._news.set()

    def beat(self) -> None:
        """Beat now, unless the last one is not acknowledged yet or was the goodbye."""
        if self._on_way is None and not self._has_left:
            named = list(self._named())
            news = self._news_of(named)
            self._send([write_in_flight(job, news.get(job)) for job in named], named, news)

    def say_goodbye(self) -> None:
        """Send the last heartbeat."""
        self._has_left = True
        self._send([], [], {}, is_leaving=True)

    async def run(self) -> None:
        """Beat until cancelled."""
        self.beat()
        while True:
            self._is_idle = not self._jobs and not any(True for _ in self._unreported())
            every, tick = self._pace()
            due = self._last + every * random.uniform(0.8, 1.0)
            await pause(self._news, min(tick, due - self._loop.time()))
            now = self._loop.time()
            self._fence(now)
            self._look_for_places(now)
            if now >= due or (now >= self._last + min(TICK_S, every) and self._has_news(now)):
                self.beat()
            if self._on_way is not None and now >= due:
                await pause(self._news, min(TICK_S, tick))  # it is on its way: no hurry until it is heard

    def _pace(self) -> tuple[float, float]:
        """Return the seconds between two heartbeats, and those between two looks at what there is."""
        if self._is_idle:
            return PRESENCE_S, PRESENCE_S
        every = min(PRESENCE_S, self._lease / BEATS_PER_TIMEOUT)
        timeout = self._jobs.heartbeat_timeout_min()
        if timeout is not None:
            every = min(every, timeout / BEATS_PER_TIMEOUT)
        return every, min(TICK_S, every)

    def _named(self) -> Iterable[KafkaJob]:
        for job in self._jobs:
            if isinstance(job, KafkaJob) and job.has_id and job.stop in KEPT_ALIVE:
                yield job
        for job in self._unreported():
            if job.has_id:
                yield job

    def _look_for_places(self, now: float) -> None:
        if self._capacity():
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now

    def _has_news(self, now: float) -> bool:
        if self._full_since is not None and not self._is_full_told and now >= self._full_since + NAMED_AFTER_S:
            return True
        for job in self._jobs:
            if isinstance(job, KafkaJob) and job.has_id and job.stop in KEPT_ALIVE:
                if not job.is_named and now >= job.seen_at + NAMED_AFTER_S:
                    return True
                if job.details is not job.details_told:
                    return True
        return False

    def _news_of(self, jobs: Iterable[KafkaJob]) -> dict[KafkaJob, bytes]:
        """Return the details that are not told yet, as many as a record should carry; the others go with the next."""
        room = DETAILS_BYTES_AT_ONCE
        news: dict[KafkaJob, bytes] = {}
        for job in jobs:
            details = job.details
            if details is not None and details is not job.details_told and len(details) <= room:
                news[job] = details
                room -= len(details)
        return news

    def _send(
        self, entries: list[bytes], named: list[KafkaJob], news: dict[KafkaJob, bytes], *, is_leaving: bool = False
    ) -> None:
        sent_at = self._last = self._loop.time()
        capacity = self._capacity()
        self._is_full_told = not capacity

        def heard(sending: Sending, error: KafkaError | None) -> None:
            if self._on_way is sending:
                self._on_way = None
            if error is not None:
                return
            for job in named:
                job.seen_at = max(job.seen_at, sent_at)
                job.is_named = True
                job.details_told = news.get(job, job.details_told)
            self._on_heard()
            if self._loop.time() > sent_at + OLD_S:
                self.beat()

        value = self._writer.write(entries, capacity, is_leaving=is_leaving)
        self._on_way = Sending(self._topic, self._key, value, heard)
        self._sender.send(self._on_way)

    def _fence(self, now: float) -> None:
        """Stop the jobs of which nobody has heard for longer than their lease: another worker may have them by now."""
        late = [job for job in self._jobs if job.stop is None and now >= job.seen_at + job.lease]
        if late:
            self._execution.stop_jobs(late, Stop.FENCED)
