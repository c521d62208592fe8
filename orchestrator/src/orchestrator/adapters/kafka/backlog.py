"""What waits for the orchestrator: results and signs of life that none of its processes has done, in all partitions.

And where the topics of jobs end: a job beyond the end is one that the cluster has lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orchestrator.adapters.kafka.config import CALL_SECONDS, KafkaConfig
from orchestrator.model.errors import Unavailable
from orchestrator.ports.broker import Lags


class Backlog:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._group = config.group
        self._config = config
        self._incoming = (config.topics.results, config.topics.heartbeats)
        self._jobs = {"": config.topics.jobs} | {name: name for name in config.routes.values()}
        self._admin = AdminClient(config.client("backlog", {}))

    def count(self) -> int:
        """See `ports.broker.Broker.waiting`."""
        try:
            return sum(self._lag(topic) for topic in self._incoming)
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say what waits: {error}") from error

    def lags(self, actions: Collection[str]) -> Lags:
        """See `ports.broker.Broker.lags`."""
        try:
            results, heartbeats = (self._lag(topic) for topic in self._incoming)
            return Lags(results, heartbeats, self._behind(actions))
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say what waits: {error}") from error

    def _behind(self, actions: Collection[str]) -> dict[str, int]:
        """Count what the groups of workers have before them."""
        there = self._groups()
        groups = {action: group for action in actions if (group := self._config.worker_groups + action) in there}
        # All are asked before the first answer is waited for: the client takes one group a question.
        asked = {
            action: self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS
            )[group]
            for action, group in groups.items()
        }
        bounds = {topic: self._both_bounds(topic) for topic in {self._config.topic_of(action) for action in asked}}
        behind: dict[str, int] = {}
        for action, answer in asked.items():
            topic = self._config.topic_of(action)
            firsts, ends = bounds[topic]
            behind[action] = sum(
                max(0, ends.get(place.partition, 0) - max(place.offset, firsts.get(place.partition, 0)))
                for place in answer.result().topic_partitions
                if place.topic == topic and place.offset >= 0
            )
        return behind

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
        done = self._done(topic)
        firsts, ends = self._both_bounds(topic)
        begun = {partition: max(done.get(partition, 0), first) for partition, first in firsts.items()}
        return sum(max(0, end - begun.get(partition, 0)) for partition, end in ends.items())

    def _done(self, topic: str) -> dict[int, int]:
        group = f"{self._group}.{topic}"
        if group not in self._groups():
            return {}
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS
        )
        places = asked[group].result().topic_partitions
        return {place.partition: place.offset for place in places if place.topic == topic and place.offset >= 0}

    def _groups(self) -> set[str]:
        """Name the groups that have begun. On a new cluster that has no coordinator yet, to ask for the offsets of one
        that has not may crash librdkafka 2.x, and the process with it."""
        listed = self._admin.list_consumer_groups(request_timeout=CALL_SECONDS).result()
        return {one.group_id for one in listed.valid or ()}

    def _both_bounds(self, topic: str) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """Say where the partitions of a topic begin and end."""
        places = self._places(topic)
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._bounds(places, earliest), self._bounds(places, latest)

    def _bounds(self, places: list[TopicPartition], which: Any) -> dict[int, int]:
        asked = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=CALL_SECONDS)
        return {place.partition: answer.result().offset for place, answer in asked.items()}
