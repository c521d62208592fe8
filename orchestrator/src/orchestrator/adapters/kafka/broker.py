"""See `ports.broker.Broker`."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic

import msgspec
from confluent_kafka import KafkaError, KafkaException

from orchestrator.adapters.kafka import dead_letters
from orchestrator.adapters.kafka.backlog import Backlog
from orchestrator.adapters.kafka.config import LETTER_DELIVERY_SECONDS, KafkaConfig
from orchestrator.adapters.kafka.consumer import KafkaInbox
from orchestrator.adapters.kafka.dead_letters import Copy
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.adapters.kafka.homes import Homes
from orchestrator.adapters.kafka.outlets import Outlets
from orchestrator.adapters.kafka.producer import Fault, Records, total
from orchestrator.adapters.kafka.properties import without_secrets
from orchestrator.adapters.kafka.readers import Readers
from orchestrator.adapters.kafka.spread import Spread
from orchestrator.adapters.kafka.topics import prepare
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job, job_id
from orchestrator.model.record import StopRecord, job_headers, job_value
from orchestrator.model.times import MICROS, Duration
from orchestrator.ports.broker import BrokerReport, Incoming, Lags, Refused, Sent, Stop, Taken
from orchestrator.ports.strangers import Stranger

_log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class KafkaBroker:
    """One process's clients. Made by `open_broker`."""

    def __init__(self, config: KafkaConfig, partitions: dict[str, int], *, reads: bool) -> None:
        self._config = config
        self._topics = config.topics
        self._partitions = partitions
        self.homes = Homes(partitions.get(config.topics.results, 0))
        """Where the results of runs go."""
        self._spreads: dict[str, Spread] = {}
        """By topic."""
        self._letter_partitions = partitions.get(config.topics.dead_letters, 1)
        self._groups = Groups(config)
        self._readers = Readers(config, self._groups)
        self._backlog = Backlog(config, self._groups)
        self._inboxes: dict[str, KafkaInbox] = {}
        self._outlets = Outlets(config)
        # Apart: what it has not written soon it gives up, since another process may write it then.
        self._letters = Records(config, delivery_seconds=LETTER_DELIVERY_SECONDS)
        try:
            if reads:
                # Joins the groups, and finds out about properties that no consumer takes.
                _ = self.results, self.heartbeats
        except BaseException:
            self._outlets.stop()
            self._letters.stop()
            raise

    @property
    def routes(self) -> Mapping[str, str]:
        """See `ports.broker.Broker.routes`."""
        return self._config.routes

    @property
    def report(self) -> BrokerReport:
        """See `ports.broker.Broker.report`."""
        return total((self._outlets.report, self._letters.report))

    @property
    def results(self) -> KafkaInbox:
        """See `ports.broker.Broker.results`."""
        return self._inbox(self._topics.results)

    @property
    def heartbeats(self) -> KafkaInbox:
        """See `ports.broker.Broker.heartbeats`."""
        return self._inbox(self._topics.heartbeats)

    def _inbox(self, topic: str) -> KafkaInbox:
        """Join the group of a topic's readers when it is first asked for: not every process takes what comes in."""
        if topic not in self._inboxes:
            seen = self.homes.note if topic == self._topics.results else None
            self._inboxes[topic] = KafkaInbox(self._config, topic, seen)
        return self._inboxes[topic]

    def _spread(self, topic: str) -> Spread:
        if topic not in self._spreads:
            self._spreads[topic] = Spread(self._partitions.get(topic, 1))
        return self._spreads[topic]

    def send(
        self,
        jobs: Sequence[Job],
        on_sent: Callable[[list[Sent]], None],
        on_refused: Callable[[list[Refused]], None],
        on_failed: Callable[[list[Job]], None],
    ) -> None:
        """See `ports.broker.Broker.send`."""
        burst = _Burst(len(jobs), on_sent, on_refused, on_failed)
        routes, shared = self._config.routes, self._topics.jobs
        records = self._outlets.for_burst(len(jobs))
        for job in jobs:
            topic = routes.get(job.action, "")
            name = topic or shared
            partition = self._spread(name).choose(job.action)
            answered = partial(burst.answered, job, topic)
            headers = job_headers(job, self.homes.header_of(job.run_id))
            fault = records.send(name, job.run_id.encode(), job_value(job), headers, answered, partition)
            if fault is not None:
                answered(-1, -1, fault)

    def stop(self, attempts: Sequence[Stop]) -> None:
        """See `ports.broker.Broker.stop`."""
        records = self._outlets.for_burst(len(attempts))
        for stop in attempts:
            value = _encode(StopRecord(job_id=job_id(stop.run_id, stop.step), attempt=stop.attempt))
            headers: dead_letters.Headers = [("content-type", b"application/json")]
            records.send(self._topics.control, stop.run_id.encode(), value, headers, _nobody)

    async def dead_letter(self, letter: DeadLetter, sent: Sent | None, *, is_repeated: bool, within: Duration) -> None:
        """See `ports.broker.Broker.dead_letter`."""
        until = monotonic() + within / MICROS
        # Always the same partition: so it can be found again.
        partition = zlib.crc32(letter.id.encode()) % self._letter_partitions
        if is_repeated:
            try:
                if await asyncio.to_thread(dead_letters.is_written, self._config, letter, partition):
                    return
            except KafkaException as error:
                raise Unavailable(f"Kafka does not show its dead letters: {error}") from error
        if monotonic() > until:
            raise Unavailable("it took too long to find out whether the dead letter was written")
        home = self.homes.header_of(letter.run_id)
        await self._write(dead_letters.copies_of(letter, self._config, sent, home), letter.id, partition)

    async def refuse(self, record: Incoming, reason: str) -> None:
        """See `ports.broker.Broker.refuse`."""
        topic = self._topics.results
        copies = dead_letters.copies_of_refused(record, topic, reason)
        about = f"{topic}:{record.partition}:{record.offset}"
        await self._write(copies, about, record.partition % self._letter_partitions)

    async def waiting(self) -> int:
        """See `ports.broker.Broker.waiting`."""
        return await asyncio.to_thread(self._backlog.count)

    async def lags(self, actions: Collection[str]) -> Lags:
        """See `ports.broker.Broker.lags`."""
        return await asyncio.to_thread(self._backlog.lags, actions)

    async def ends(self) -> Mapping[tuple[str, int], int]:
        """See `ports.broker.Broker.ends`."""
        return await asyncio.to_thread(self._backlog.ends)

    async def taken(self, actions: Collection[str]) -> Sequence[Taken]:
        """See `ports.broker.Broker.taken`."""
        return await asyncio.to_thread(self._readers.taken, actions)

    async def strangers(self) -> Sequence[Stranger]:
        """See `ports.strangers.Strangers.strangers`."""
        return await asyncio.to_thread(self._readers.strangers)

    def topic_of(self, action: str) -> str:
        """See `ports.strangers.Strangers.topic_of`."""
        return self._config.routes.get(action, "")

    async def close(self) -> None:
        """Commit what is done, leave the groups, wait a moment for what is under way."""
        await asyncio.gather(*(inbox.close() for inbox in self._inboxes.values()))
        await asyncio.gather(self._outlets.close(), self._letters.close())
        await asyncio.to_thread(self._groups.close)

    async def _write(self, copies: Iterable[Copy], about: str, partition: int) -> None:
        """Write the first of the copies, each smaller than the one before, that the cluster takes."""
        fault: Fault | None = None
        for copy in copies:
            fault = await self._write_copy(copy, partition)
            if fault is None:
                return
            if not fault.is_final:
                raise Unavailable(f"a dead letter could not be written to Kafka: {fault.reason}")
        # Nothing could be kept there, and never will: who waited for it must not wait for ever.
        _log.error(
            "kafka: %s takes not even the headers of %s: %s",
            self._topics.dead_letters,
            about,
            fault.reason if fault is not None else "",
        )

    async def _write_copy(self, copy: Copy, partition: int) -> Fault | None:
        answer: asyncio.Future[Fault | None] = asyncio.get_running_loop().create_future()

        def acknowledged(_partition: int, _offset: int, fault: Fault | None) -> None:
            if not answer.done():
                answer.set_result(fault)

        fault = self._letters.send(
            self._topics.dead_letters, copy.key, copy.value, copy.headers, acknowledged, partition
        )
        return fault or await answer


class _Burst:
    """Jobs that were handed over together, and who is told of all of them at once."""

    def __init__(
        self,
        size: int,
        on_sent: Callable[[list[Sent]], None],
        on_refused: Callable[[list[Refused]], None],
        on_failed: Callable[[list[Job]], None],
    ) -> None:
        self._waiting = size
        self._on_sent = on_sent
        self._on_refused = on_refused
        self._on_failed = on_failed
        self._sent: list[Sent] = []
        self._refused: list[Refused] = []
        self._failed: list[Job] = []
        self._reason = ""

    def answered(self, job: Job, topic: str, partition: int, offset: int, fault: Fault | None) -> None:
        """Take what has become of one; called once for each."""
        self._waiting -= 1
        if fault is None and offset < 0:
            # Acknowledged as one that was there before; where, nobody says.
            self._failed.append(job)
            self._reason = "acknowledged without an offset"
        elif fault is None:
            self._sent.append(Sent(job.run_id, job.step, job.attempt, partition, offset, topic))
        elif fault.is_final:
            self._refused.append(Refused(job.run_id, job.step, job.attempt, fault.reason))
        else:
            self._failed.append(job)
            self._reason = fault.reason
        if not self._waiting:
            self._tell()

    def _tell(self) -> None:
        if self._failed:
            _log.warning("kafka: %d jobs were not sent, and will be again: %s", len(self._failed), self._reason)
            self._on_failed(self._failed)
        if self._refused:
            self._on_refused(self._refused)
        if self._sent:
            self._on_sent(self._sent)


def _nobody(partition: int, offset: int, fault: Fault | None) -> None:
    """A stop that is lost is told again with the worker's next heartbeat."""


@asynccontextmanager
async def open_broker(config: KafkaConfig, *, reads: bool = True) -> AsyncIterator[KafkaBroker]:
    """Connect, with the topics in place; with ``reads`` as one of those that results and heartbeats come to.

    Raises:
        Unavailable: the cluster does not answer, or a topic is missing, or the client does not take its properties.
    """
    try:
        broker = KafkaBroker(config, await asyncio.to_thread(prepare, config), reads=reads)
    except (KafkaException, TypeError, ValueError) as error:
        first = error.args[0] if error.args else error
        reason = first.str() if isinstance(first, KafkaError) else str(first)
        raise Unavailable(
            f"Kafka's client does not take its properties: {without_secrets(reason, config.properties)}"
        ) from None
    try:
        yield broker
    finally:
        await broker.close()
