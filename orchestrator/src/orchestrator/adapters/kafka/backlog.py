"""What waits for the orchestrator: results and signs of life that none of its processes has done, in all partitions.

And where the topics of jobs end: a job beyond the end is one that the cluster has lost.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orchestrator.adapters.kafka.config import CALL_SECONDS, KafkaConfig
from orchestrator.model.errors import Unavailable


class Backlog:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._group = config.group
        self._incoming = (config.topics.results, config.topics.heartbeats)
        self._jobs = {"": config.topics.jobs} | {name: name for name in config.routes.values()}
        self._admin = AdminClient(config.client("backlog", {}))

    def count(self) -> int:
        """See `ports.broker.Broker.waiting`."""
        try:
            return sum(self._lag(topic) for topic in self._incoming)
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say what waits: {error}") from error

    def ends(self) -> dict[tuple[str, int], int]:
        """See `ports.broker.Broker.ends`."""
        found: dict[tuple[str, int], int] = {}
        try:
            for name, topic in self._jobs.items():
                ends = self._bounds(self._places(topic), OffsetSpec.latest())  # type: ignore[no-untyped-call]
                found |= {(name, partition): end for partition, end in ends.items()}
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say where its topics end: {error}") from error
        return found

    def _places(self, topic: str) -> list[TopicPartition]:
        listed = self._admin.list_topics(topic, timeout=CALL_SECONDS)
        return [TopicPartition(topic, number) for number in listed.topics[topic].partitions]

    def _lag(self, topic: str) -> int:
        """Count what the readers of a topic have not done; of a partition they never read, all that is there."""
        places = self._places(topic)
        done = self._done(topic)
        firsts = self._bounds(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        ends = self._bounds(places, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        begun = {partition: max(done.get(partition, 0), first) for partition, first in firsts.items()}
        return sum(max(0, end - begun.get(partition, 0)) for partition, end in ends.items())

    def _done(self, topic: str) -> dict[int, int]:
        group = f"{self._group}.{topic}"
        if not self._is_there(group):
            return {}
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS
        )
        places = asked[group].result().topic_partitions
        return {place.partition: place.offset for place in places if place.topic == topic and place.offset >= 0}

    def _is_there(self, group: str) -> bool:
        """Whether a group has begun. On a new cluster that has no coordinator yet, to ask for its offsets may crash
        librdkafka 2.x, and the process with it."""
        listed = self._admin.list_consumer_groups(request_timeout=CALL_SECONDS).result()
        return any(one.group_id == group for one in listed.valid or ())

    def _bounds(self, places: list[TopicPartition], which: Any) -> dict[int, int]:
        asked = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=CALL_SECONDS)
        return {place.partition: answer.result().offset for place, answer in asked.items()}
