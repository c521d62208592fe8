"""How far workers have read: a job before the committed offset of its action's group is in some worker's hands.

Offsets are committed ahead of execution by SDK workers, each of whose groups reads every record: where there is one for
an action, it alone says. Workers of other kinds read with groups of their own, which may stand for any other action.
"""

from __future__ import annotations

from collections.abc import Collection

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from orchestrator.adapters.kafka.config import CALL_SECONDS, KafkaConfig
from orchestrator.model.errors import Unavailable


class Readers:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._topic = config.topics.jobs
        self._own = config.group
        self._workers = config.worker_groups
        self._admin = AdminClient(config.client("readers", {}))

    def taken(self, actions: Collection[str]) -> dict[str, dict[int, int]]:
        """See `ports.broker.Broker.taken`."""
        groups = self._groups()
        wanted = {self._workers + action for action in actions}
        others = [name for name in groups if not name.startswith((self._workers, self._own))]
        offsets = {name: self._offsets(name) for name in [*(wanted & groups), *others]}
        strangers: dict[int, int] = {}
        for name in others:
            for partition, offset in offsets[name].items():
                strangers[partition] = max(offset, strangers.get(partition, 0))
        found: dict[str, dict[int, int]] = {}
        for action in actions:
            known = offsets.get(self._workers + action) or strangers
            if known:
                found[action] = known
        return found

    def _groups(self) -> set[str]:
        listed = self._admin.list_consumer_groups(request_timeout=CALL_SECONDS)
        try:
            return {group.group_id for group in listed.result().valid or ()}
        except KafkaException as error:
            raise Unavailable(f"Kafka does not list its consumer groups: {error}") from error

    def _offsets(self, group: str) -> dict[int, int]:
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS
        )
        try:
            places = asked[group].result().topic_partitions
        except KafkaException as error:
            raise Unavailable(f"Kafka does not give the offsets of {group}: {error}") from error
        return {place.partition: place.offset for place in places if place.topic == self._topic and place.offset >= 0}
