"""See `ports.broker.Broker`."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from confluent_kafka import KafkaError, KafkaException

from orchestrator.adapters.kafka import dead_letters
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.consumer import KafkaInbox
from orchestrator.adapters.kafka.producer import Records
from orchestrator.adapters.kafka.properties import without_secrets
from orchestrator.adapters.kafka.readers import Readers
from orchestrator.adapters.kafka.topics import prepare
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job, job_id
from orchestrator.model.record import StopRecord, job_headers, job_value
from orchestrator.ports.broker import Incoming, Sent, Stop

_log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class KafkaBroker:
    """One process's clients. Made by `open_broker`."""

    def __init__(self, config: KafkaConfig, partitions: dict[str, int]) -> None:
        self._config = config
        self._topics = config.topics
        self._job_partitions = partitions.get(config.topics.jobs, 1)
        self._letter_partitions = partitions.get(config.topics.dead_letters, 1)
        self._next_partition = 0
        self._readers = Readers(config)
        self._records = Records(config)
        try:
            self.results = KafkaInbox(config, config.topics.results)
            self.heartbeats = KafkaInbox(config, config.topics.heartbeats)
        except BaseException:
            self._records.close()
            raise

    def send(self, jobs: Sequence[Job], on_sent: Callable[[list[Sent]], None]) -> None:
        """See `ports.broker.Broker.send`."""
        waiting = len(jobs)
        sent: list[Sent] = []

        def acknowledged(job: Job, partition: int, offset: int, reason: str | None) -> None:
            nonlocal waiting
            waiting -= 1
            if reason is None:
                sent.append(Sent(job.run_id, job.step, job.attempt, partition, offset))
            else:
                _log.warning("kafka: job %s attempt %d was not sent: %s", job.job_id, job.attempt, reason)
            if not waiting and sent:
                on_sent(sent)

        for job in jobs:
            # By turns: a partitioner puts a burst without keys on one partition, and one with keys wherever it falls.
            self._next_partition = (self._next_partition + 1) % self._job_partitions

            def answered(partition: int, offset: int, reason: str | None, job: Job = job) -> None:
                acknowledged(job, partition, offset, reason)

            reason = self._records.send(
                self._topics.jobs,
                job.run_id.encode(),
                job_value(job),
                job_headers(job),
                answered,
                self._next_partition,
            )
            if reason is not None:
                answered(-1, -1, reason)

    def stop(self, attempts: Sequence[Stop]) -> None:
        """See `ports.broker.Broker.stop`."""
        for stop in attempts:
            value = _encode(StopRecord(job_id=job_id(stop.run_id, stop.step), attempt=stop.attempt))
            headers: dead_letters.Headers = [("content-type", b"application/json")]
            self._records.send(self._topics.control, stop.run_id.encode(), value, headers, _nobody)

    async def dead_letter(self, letter: DeadLetter, sent: Sent | None, *, is_repeated: bool) -> None:
        """See `ports.broker.Broker.dead_letter`."""
        # Always the same partition: so it can be found again.
        partition = zlib.crc32(letter.id.encode()) % self._letter_partitions
        if is_repeated:
            try:
                if await asyncio.to_thread(dead_letters.is_written, self._config, letter, partition):
                    return
            except KafkaException as error:
                raise Unavailable(f"Kafka does not show its dead letters: {error}") from error
        headers = dead_letters.headers_of(letter, self._config, sent)
        await self._write(letter.run_id.encode(), dead_letters.value_of(letter), headers, partition)

    async def refuse(self, record: Incoming, reason: str) -> None:
        """See `ports.broker.Broker.refuse`."""
        headers = dead_letters.refused_headers(record, self._topics.results, reason)
        await self._write(record.key, record.value, headers, record.partition % self._letter_partitions)

    async def taken(self, actions: Collection[str]) -> Mapping[str, Mapping[int, int]]:
        """See `ports.broker.Broker.taken`."""
        return await asyncio.to_thread(self._readers.taken, actions)

    async def close(self) -> None:
        """Commit what is done, leave the groups, wait a moment for what is under way."""
        await asyncio.gather(self.results.close(), self.heartbeats.close())
        await asyncio.to_thread(self._records.close)

    async def _write(self, key: bytes | None, value: bytes, headers: dead_letters.Headers, partition: int) -> None:
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        def acknowledged(_partition: int, _offset: int, reason: str | None) -> None:
            if not answer.done():
                answer.set_result(reason)

        reason = self._records.send(self._topics.dead_letters, key, value, headers, acknowledged, partition)
        reason = reason or await answer
        if reason is not None:
            raise Unavailable(f"a dead letter could not be written to Kafka: {reason}")


def _nobody(partition: int, offset: int, reason: str | None) -> None:
    """A stop that is lost is told again with the worker's next heartbeat."""


@asynccontextmanager
async def open_broker(config: KafkaConfig) -> AsyncIterator[KafkaBroker]:
    """Connect, with the topics in place.

    Raises:
        Unavailable: the cluster does not answer, or a topic is missing, or the client does not take its properties.
    """
    try:
        broker = KafkaBroker(config, await asyncio.to_thread(prepare, config))
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
