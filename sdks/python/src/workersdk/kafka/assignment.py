"""The partitions that a consumer has: how far each was read, what of it is committed, where a new group begins."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, Message, TopicPartition

from workersdk.kafka.records import KafkaJob

LOOKBACK_S: Final = 3_600.0
ASK_TIMEOUT_S: Final = 10.0


class Partitions:
    """Positions by partition number. Used on the consumer's thread only.

    `unsafe`: the partitions of which no commit was confirmed since they were assigned.
    """

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self.unsafe: set[int] = set()
        self.must_rejoin = False
        self._consumer = consumer
        self._topic = topic
        self._next: dict[int, int] = {}  # the offset after the last record that was read
        self._committed: dict[int, int] = {}  # what is committed, or expected to be
        self._count = 0

    def has_others(self) -> bool:
        """Tell whether the group has other members, as far as it shows: they have the partitions that are not here.

        With a single partition nothing shows; then there may be others.
        """
        return len(self._committed) < self._count or self._count == 1

    def read(self, message: Message) -> bool:
        """Note that a record was read; False for one of a partition that is not here any more."""
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None or partition not in self._committed:
            return False
        self._next[partition] = offset + 1
        return True

    def changes(self, pending: Iterable[KafkaJob]) -> dict[int, int]:
        """Return what is to be committed: up to the first job that was not started, everything else being passed."""
        first: dict[int, int] = {}
        for job in pending:
            first.setdefault(job.partition, job.offset)
        return {
            partition: offset
            for partition, after in self._next.items()
            if (offset := first.get(partition, after)) != self._committed.get(partition)
        }

    def write(self, changes: Mapping[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition, offset) for partition, offset in changes.items()]

    def expect(self, changes: Mapping[int, int]) -> None:
        """A commit is on its way that nobody waits for."""
        self._committed.update(changes)

    def confirm(self, changes: Mapping[int, int]) -> None:
        self._committed.update(changes)
        self.unsafe.difference_update(changes)

    def doubt(self, changes: Mapping[int, int]) -> None:
        """A commit did not come through: unless a later one is on its way, it is due again."""
        for partition, offset in changes.items():
            if self._committed.get(partition) == offset:
                self._committed[partition] = OFFSET_INVALID

    def take_up(self, places: list[TopicPartition]) -> None:
        """Begin where the group was; where it never was, an hour ago, and commit that at once.

        Raises `KafkaException` when the broker does not say.
        """
        if not places:
            self._consumer.assign([])
            return
        starts = {place.partition: place.offset for place in self._consumer.committed(places, ASK_TIMEOUT_S)}
        new = [partition for partition, offset in starts.items() if offset < 0]
        if new:
            begun = self._an_hour_ago(new)
            # A rebalance may refuse it: the first jobs are committed before they start, so that is not the end of it.
            with suppress(KafkaException):
                self._consumer.commit(offsets=self.write(begun), asynchronous=False)
            starts |= begun
        topic = self._consumer.list_topics(self._topic, ASK_TIMEOUT_S).topics.get(self._topic)
        self._count = len(topic.partitions) if topic is not None else len(places)
        self._committed.update(starts)
        self.unsafe.update(starts)
        self._consumer.assign(self.write(starts))
        self._consumer.resume(self.write(starts))  # the client keeps what was paused under the last assignment

    def let_go(self, taken: Iterable[int]) -> None:
        for partition in taken:
            self._next.pop(partition, None)
            self._committed.pop(partition, None)
            self.unsafe.discard(partition)

    def _an_hour_ago(self, partitions: Iterable[int]) -> dict[int, int]:
        # The ends are asked for first: a job that is written between the two questions must not be passed over.
        ends = {
            partition: self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), ASK_TIMEOUT_S)[1]
            for partition in partitions
        }
        then = int((time.time() - LOOKBACK_S) * 1_000)
        asked = [TopicPartition(self._topic, partition, then) for partition in ends]
        found = self._consumer.offsets_for_times(asked, ASK_TIMEOUT_S)
        return {place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in found}
