"""What waits for the orchestrator: results and signs of life that none of its processes has done, in all partitions.

And where the topics of jobs end: a job beyond the end is one that the cluster has lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.model.errors import Unavailable
from orchestrator.ports.broker import Lags


class Backlog:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig, groups: Groups) -> None:
        self._groups = groups
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
        there = self._groups.all()
        groups = {action: self._config.worker_groups + action for action in actions}
        topics = {group: [self._config.topic_of(action)] for action, group in groups.items() if group in there}
        committed = self._groups.committed_each(topics)
        bounds: dict[str, tuple[Mapping[int, int], Mapping[int, int]]] = {}
        behind: dict[str, int] = {}
        for action, group in groups.items():
            topic = self._config.topic_of(action)
            taken = committed.get(group, {}).get(topic)
            if taken is None:
                continue
            if topic not in bounds:
                bounds[topic] = self._both_bounds(topic)
            firsts, ends = bounds[topic]
            behind[action] = sum(
                max(0, ends.get(partition, 0) - max(offset, firsts.get(partition, 0)))
                for partition, offset in taken.items()
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
        listed = self._admin.list_topics(topic, timeout=self._config.call_seconds)
        return [TopicPartition(topic, number) for number in listed.topics[topic].partitions]

    def _lag(self, topic: str) -> int:
        """Count what the readers of a topic have not done; of a partition they never read, all that is there."""
        done = self._groups.committed(f"{self._group}.{topic}", [topic]).get(topic, {})
        firsts, ends = self._both_bounds(topic)
        begun = {partition: max(done.get(partition, 0), first) for partition, first in firsts.items()}
        return sum(max(0, end - begun.get(partition, 0)) for partition, end in ends.items())

    def _both_bounds(self, topic: str) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """Say where the partitions of a topic begin and end."""
        places = self._places(topic)
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._bounds(places, earliest), self._bounds(places, latest)

    def _bounds(self, places: list[TopicPartition], which: Any) -> dict[int, int]:
        asked = self._admin.list_offsets(dict.fromkeys(places, which), request_timeout=self._config.call_seconds)
        return {place.partition: answer.result().offset for place, answer in asked.items()}
