"""Every answer that was ever given: the records on the topic of results, whoever wrote them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

CALL_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.1
BATCH: Final = 1_000


class Answers:
    """Reads a topic from its beginning, and on from where it was left."""

    def __init__(self, servers: str, topic: str) -> None:
        # It outlives the broker for a moment, and has nothing to say about that.
        common: dict[str, str | int | float | bool] = {"bootstrap.servers": servers, "log_level": 2}
        self._admin = AdminClient(common)
        self._consumer = Consumer({**common, "group.id": "mix", "enable.auto.commit": False})
        partitions = self._consumer.list_topics(topic, CALL_SECONDS).topics[topic].partitions
        self._places = dict.fromkeys(partitions, 0)
        self._topic = topic
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])

    def further(self) -> Iterator[dict[str, Any]]:
        """Give all that has been written since the last call."""
        ends = self._ends()
        while any(place < ends[partition] for partition, place in self._places.items()):
            for message in self._consumer.consume(BATCH, LOOK_SECONDS):
                if error := message.error():
                    raise KafkaException(error)
                self._places[message.partition() or 0] = (message.offset() or 0) + 1
                yield json.loads(message.value() or b"null")

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()

    def _ends(self) -> dict[int, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(self._topic, partition): latest for partition in self._places}
        found = self._admin.list_offsets(wanted, request_timeout=CALL_SECONDS)
        return {place.partition: one.result(CALL_SECONDS).offset for place, one in found.items()}
