"""See `ports.feed.Feed`: one consumer for each action that workers of this process ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager

from confluent_kafka import KafkaException

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.job_reader import JobReader
from orchestrator.adapters.kafka.stops import StopReader
from orchestrator.model.job import Job
from orchestrator.ports.broker import Stop
from orchestrator.ports.queue import Room

_log = logging.getLogger(__name__)


class KafkaFeed:
    """One process's readers of jobs. Made by `open_feed`."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._on_jobs: Callable[[str, int, bool], None] = lambda action, count, alone: None
        self._on_stops: Callable[[Sequence[Stop]], None] = lambda stops: None
        self._readers: dict[str, JobReader] = {}
        self._unreadable: set[str] = set()
        """Actions whose reader could not be made; it is tried again each time they are asked for."""
        self._left: set[JobReader] = set()
        """Readers that were told to leave their groups."""
        self._turn = 0
        self._stops = StopReader(config, self._stopped)

    def listen(self, on_jobs: Callable[[str, int, bool], None], on_stops: Callable[[Sequence[Stop]], None]) -> None:
        """See `ports.feed.Feed.listen`."""
        self._on_jobs = on_jobs
        self._on_stops = on_stops

    def read(self, actions: Collection[str]) -> None:
        """See `ports.feed.Feed.read`."""
        for action in [action for action in self._readers if action not in actions]:
            _log.info("kafka: nobody asks for jobs of %s any more: leaving its group", action)
            self._leave(action)
        for action in actions:
            if action not in self._readers:
                try:
                    self._readers[action] = JobReader(action, self._config, self._teller(action))
                except KafkaException as error:
                    if action not in self._unreadable:
                        _log.error("kafka: jobs of %s cannot be read: %s", action, error)
                    self._unreadable.add(action)
                else:
                    self._unreadable.discard(action)
                    _log.info("kafka: a worker over HTTP asks for jobs of %s: joining its group", action)

    def take(self, actions: Collection[str], room: Room) -> list[Job]:
        """See `ports.queue.JobSource.take`."""
        readers = [reader for action in actions if (reader := self._readers.get(action)) is not None]
        first = 0
        if len(readers) > 1:
            # By turns: no action is served only once the others have nothing.
            self._turn += 1
            first = self._turn % len(readers)
            readers = [*readers[first:], *readers[:first]]
        taken: list[Job] = []
        for place, reader in enumerate(readers, first):
            if not room.jobs:
                break
            taken += reader.take(room)
            if room.has_refused:
                # What did not fit comes first next time.
                self._turn = place % len(readers) - 1
        return taken

    def take_alone(self, actions: Collection[str]) -> Job | None:
        """See `ports.queue.JobSource.take_alone`."""
        for action in actions:
            reader = self._readers.get(action)
            if reader is not None and reader.shelf.waiting_alone():
                job = reader.take_alone()
                if job is not None:
                    return job
        return None

    def waiting_alone(self, actions: Collection[str]) -> int:
        """See `ports.queue.JobSource.waiting_alone`."""
        return sum(reader.shelf.waiting_alone() for action in actions if (reader := self._readers.get(action)))

    def leftovers(self, seconds: float) -> list[Job]:
        """See `ports.feed.Feed.leftovers`."""
        found = [job for reader in self._readers.values() for job in reader.shelf.leftovers(seconds)]
        return found + [job for reader in self._left for job in reader.shelf.leftovers(0)]

    def depths(self) -> dict[str, int]:
        """See `ports.feed.Feed.depths`."""
        return {action: reader.shelf.count for action, reader in self._readers.items()}

    async def close(self) -> None:
        """Leave all groups, what was claimed being committed."""
        self.read(())
        await asyncio.to_thread(self._join)

    # --- inside --------------------------------------------------------------------------------------------------

    def _leave(self, action: str) -> None:
        reader = self._readers.pop(action)
        reader.stop()
        self._left.add(reader)
        self._left = {reader for reader in self._left if not reader.is_over or reader.shelf.has_secured}

    def _join(self) -> None:
        for reader in self._left:
            reader.join()
        self._stops.close()

    def _teller(self, action: str) -> Callable[[int, bool], None]:
        def tell(count: int, alone: bool) -> None:  # noqa: FBT001 - as the port has it
            self._call(self._tell_jobs, action, count, alone)

        return tell

    def _tell_jobs(self, action: str, count: int, alone: bool) -> None:  # noqa: FBT001 - as the port has it
        self._on_jobs(action, count, alone)

    def _stopped(self, stops: list[Stop]) -> None:
        self._call(self._tell_stops, stops)

    def _tell_stops(self, stops: list[Stop]) -> None:
        self._on_stops(stops)

    def _call(self, call: Callable[..., None], *values: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *values)
        except RuntimeError:
            # The loop has ended, and whoever would have been told with it.
            return


@asynccontextmanager
async def open_feed(config: KafkaConfig) -> AsyncIterator[KafkaFeed]:
    """Make the readers' place; groups are joined when actions are asked for."""
    feed = KafkaFeed(config)
    try:
        yield feed
    finally:
        await feed.close()
