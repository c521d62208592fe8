"""The partitions that a group has here: how far they are passed, what of it is committed, where a new group begins."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from workersdk.kafka.reader import Reader, Share

LOOKBACK_S: Final = 3_600.0
ASK_TIMEOUT_S: Final = 10.0


class Partitions:
    """Offsets by partition number. Used by the thread of the group, under the lock of the reader.

    `unsafe`: the partitions of which no commit was confirmed since they were assigned.
    """

    def __init__(self, consumer: Consumer, topic: str, reader: Reader, share: Share) -> None:
        self.unsafe: set[int] = set()
        self.must_rejoin = False
        self._consumer = consumer
        self._topic = topic
        self._reader = reader
        self._share = share
        self._committed: dict[int, int] = {}  # what is committed, or expected to be
        self._count = 0  # partitions of the topic; 0 while nobody has asked since the last assignment

    def has_others(self) -> bool:
        """Tell whether the group has other members, as far as it shows: they have the partitions that are not here.

        With a single partition nothing shows; then there may be others. Not to be asked while the client calls back:
        a question about topics ends that for it, and the next call back ends the process.
        """
        if not self._count:
            with suppress(KafkaException):
                topic = self._consumer.list_topics(self._topic, ASK_TIMEOUT_S).topics[self._topic]
                self._count = len(topic.partitions)
        return len(self._committed) < self._count or self._count == 1

    def changes(self) -> dict[int, int]:
        """Return what is to be committed: up to the first job that was not started, everything else being passed."""
        first: dict[int, int] = {}
        for job in self._share.pending:
            first.setdefault(job.place[1], job.offset)
        return {
            partition: offset
            for (_, partition), after in self._reader.passed(self._share).items()
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

    def forget(self, changes: Mapping[int, int]) -> None:
        """A commit that was waited for was not confirmed, and may have been made: what is committed is not known.

        So it is due again, back to the first job that was not started as well: who has the partition next begins there.
        """
        for partition in changes.keys() & self._committed.keys():
            self._committed[partition] = OFFSET_INVALID

    def take_up(self, places: list[TopicPartition]) -> None:
        """Begin where the group was; where it never was, an hour ago, and commit that at once.

        Raises `KafkaException` when the broker does not say.
        """
        # The client joins the group and commits; what the group has is read by the reader, for all groups at once.
        self._consumer.assign([])
        if not places:
            return
        starts = {place.partition: place.offset for place in self._consumer.committed(places, ASK_TIMEOUT_S)}
        new = [partition for partition, offset in starts.items() if offset < 0]
        if new:
            begun = self._an_hour_ago(new)
            # A rebalance may refuse it: the first jobs are committed before they start, so that is not the end of it.
            with suppress(KafkaException):
                self._consumer.commit(offsets=self.write(begun), asynchronous=False)
            starts |= begun
        with self._reader.lock:
            self._count = 0
            self._committed.update(starts)
            self.unsafe.update(starts)
            self._reader.begin(self._share, {(self._topic, partition): start for partition, start in starts.items()})

    def stop(self, taken: Iterable[int]) -> None:
        """Have no more jobs of partitions, nor those that are pending."""
        self._reader.end(self._share, [(self._topic, partition) for partition in taken])

    def let_go(self, taken: Collection[int]) -> None:
        """Forget partitions."""
        self.stop(taken)
        for partition in taken:
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
