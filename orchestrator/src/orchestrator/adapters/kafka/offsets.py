"""Where a reader of jobs begins: where its group was, or an hour ago where it never was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from time import time
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

LOOKBACK_SECONDS: Final = 3_600
"""How far back the first reader of an action begins. SDK workers begin there too; a job that is older is lost to the
group, is taken for lost with its worker, and goes out again."""


def places(topic: str, offsets: Mapping[int, int]) -> list[TopicPartition]:
    """Write offsets by partition as the client wants them."""
    return [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]


def take_up(consumer: Consumer, topic: str, assigned: list[TopicPartition], seconds: float) -> dict[int, int]:
    """Begin to read what was assigned; each question may take so many seconds. Give the offsets, by partition.

    For when the client calls back: a question about topics (`list_topics`) would end that for it, and the next call
    back would end the process.

    Raises:
        KafkaException: the broker does not say where to begin.
    """
    if not assigned:
        consumer.assign([])
        return {}
    starts: dict[int, int] = {place.partition: place.offset for place in consumer.committed(assigned, seconds)}
    new = [partition for partition, offset in starts.items() if offset < 0]
    if new:
        begun = an_hour_ago(consumer, topic, ends_of(consumer, topic, new, seconds), seconds)
        # A rebalance may refuse it: the first jobs are committed before they are given, so that is not the end of it.
        with suppress(KafkaException):
            consumer.commit(offsets=places(topic, begun), asynchronous=False)
        starts |= begun
    consumer.assign(places(topic, starts))
    # The client remembers a pause of the last assignment.
    consumer.resume(places(topic, starts))
    return starts


def ends_of(consumer: Consumer, topic: str, partitions: Iterable[int], seconds: float) -> dict[int, int]:
    """Find out where partitions end.

    Raises:
        KafkaException: the broker does not say.
    """
    return {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), seconds)[1]
        for partition in partitions
    }


def an_hour_ago(consumer: Consumer, topic: str, ends: Mapping[int, int], seconds: float) -> dict[int, int]:
    """Find out where partitions were an hour ago; their ends, where nothing has come since.

    Args:
        consumer: asks.
        topic: of these partitions.
        ends: asked for before: what is written between the two questions must not be passed over.
        seconds: how long it may take.

    Raises:
        KafkaException: the broker does not say.
    """
    then = round((time() - LOOKBACK_SECONDS) * 1_000)
    found = consumer.offsets_for_times([TopicPartition(topic, partition, then) for partition in ends], seconds)
    return {place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in found}
