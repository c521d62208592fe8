"""How far workers have read: a job before the committed offset of its action's group is in some worker's hands.

Rule 1: where the group of an action exists, it alone says: SDK workers commit ahead of execution, and beat.
Rule 2: where it does not, any other group that reads the topic may stand for any action. It gives no signs of life.
Rule 3: a group that reads and commits nothing is taken to have read all that is there.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from time import monotonic
from typing import Any, Final

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from msgspec.structs import astuple

from orchestrator.adapters.kafka.config import CALL_SECONDS, KafkaConfig
from orchestrator.model.errors import Unavailable
from orchestrator.ports.broker import Taken
from orchestrator.ports.strangers import Stranger

_log = logging.getLogger(__name__)

ELSEWHERE_SECONDS: Final = 10.0
"""How long a group that has nothing to do with jobs is not asked again."""
STRANGERS_MAX: Final = 100
"""Groups of others that are asked in one look; the rest follow in the next."""
_ALL: Final = 2**62
_NO_CONSUMERS: Final = frozenset(
    {KafkaError.GROUP_ID_NOT_FOUND, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.INVALID_GROUP_ID}
)
"""Answers about a group that is gone, or of another kind, or none of our business."""

_Offsets = dict[str, dict[int, int]]
"""By topic, then partition."""


class Readers:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._topics = frozenset({config.topics.jobs, *config.routes.values()})
        self._jobs = config.topics.jobs
        self._own = config.group
        self._workers = config.worker_groups
        self._admin = AdminClient(config.client("readers", {}))
        self._elsewhere: dict[str, float] = {}
        """Groups that have nothing to do with jobs, until when they are let alone."""
        self._misled: set[str] = set()
        """Actions whose workers were found to read another topic; it is told once."""

    def taken(self, actions: Collection[str]) -> list[Taken]:
        """See `ports.broker.Broker.taken`."""
        groups = self._groups()
        found: list[Taken] = []
        others: list[str] = []
        for action in actions:
            group = self._workers + action
            offsets = self._offsets(group) if group in groups else {}
            own = offsets.get(self._config.topic_of(action))
            if own is None:
                others.append(action)
                self._note_misled(action, offsets)
            else:
                found += self._taken(action, own, beats=True)
        if others:
            strangers = self._strangers(groups)
            for action in others:
                found += self._taken(action, strangers.get(self._config.topic_of(action), {}), beats=False)
        return found

    def _taken(self, action: str, offsets: Mapping[int, int], *, beats: bool) -> Iterator[Taken]:
        topic = self._config.routes.get(action, "")
        return (Taken(action, topic, partition, before, beats) for partition, before in offsets.items())

    def _note_misled(self, action: str, offsets: _Offsets) -> None:
        """Say once that workers look for jobs where there are none: they would wait for ever, and so would the jobs."""
        elsewhere = sorted(self._topics & offsets.keys())
        if elsewhere and action not in self._misled:
            self._misled.add(action)
            _log.warning(
                "kafka: jobs of %s go to %s, and its workers read %s: give both the same routes",
                action,
                self._config.topic_of(action),
                ", ".join(elsewhere),
            )

    def _strangers(self, groups: Mapping[str, bool]) -> _Offsets:
        """Give the furthest that groups of workers of other kinds have read."""
        now = monotonic()
        theirs = [name for name in groups if not name.startswith((self._workers, self._own))]
        self._elsewhere = {name: until for name in theirs if (until := self._elsewhere.get(name, 0.0)) > now}
        furthest: _Offsets = {}
        for name in [name for name in theirs if name not in self._elsewhere][:STRANGERS_MAX]:
            offsets = {topic: places for topic, places in self._offsets(name).items() if topic in self._topics}
            if not offsets and groups[name]:
                offsets = self._assigned(name)
            if not offsets:
                self._elsewhere[name] = now + ELSEWHERE_SECONDS
            for topic, places in offsets.items():
                known = furthest.setdefault(topic, {})
                for partition, offset in places.items():
                    known[partition] = max(offset, known.get(partition, 0))
        return furthest

    def strangers(self) -> list[Stranger]:
        """See `ports.strangers.Strangers.strangers`."""
        names = [name for name, has_members in self._groups().items() if has_members and not name.startswith(self._own)]
        found: set[Stranger] = set()
        for name, members in self._members(names[:STRANGERS_MAX]):
            action = name.removeprefix(self._workers) if name.startswith(self._workers) else ""
            ours = self._config.client(f"jobs-{action}", {})["client.id"] if action else None
            for member in members:
                topics = {place.topic for place in _places(member)} & self._topics
                if member.client_id != ours:
                    found |= {Stranger(name, "" if topic == self._jobs else topic, action) for topic in topics}
        return sorted(found, key=astuple)

    def _groups(self) -> dict[str, bool]:
        """Give the names of all groups, and whether they have members."""
        listed = self._admin.list_consumer_groups(request_timeout=CALL_SECONDS)
        try:
            groups = listed.result().valid or ()
        except KafkaException as error:
            raise Unavailable(f"Kafka does not list its consumer groups: {error}") from error
        return {group.group_id: group.state is not ConsumerGroupState.EMPTY for group in groups}

    def _offsets(self, group: str) -> _Offsets:
        asked = self._admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=CALL_SECONDS
        )
        try:
            places = asked[group].result().topic_partitions
        except KafkaException as error:
            if error.args[0].code() in _NO_CONSUMERS:
                return {}
            raise Unavailable(f"Kafka does not give the offsets of {group}: {error}") from error
        found: _Offsets = {}
        for place in places:
            if place.offset >= 0:
                found.setdefault(place.topic, {})[place.partition] = place.offset
        return found

    def _assigned(self, group: str) -> _Offsets:
        """Give the partitions of jobs that a group which commits nothing reads, as if it had read all of them."""
        found: _Offsets = {}
        for _, members in self._members([group]):
            for place in [place for member in members for place in _places(member)]:
                if place.topic in self._topics:
                    found.setdefault(place.topic, {})[place.partition] = _ALL
        return found

    def _members(self, groups: list[str]) -> Iterator[tuple[str, Sequence[Any]]]:
        if not groups:
            return
        asked = self._admin.describe_consumer_groups(groups, request_timeout=CALL_SECONDS)
        for group in groups:
            try:
                yield group, asked[group].result().members
            except KafkaException as error:
                if error.args[0].code() not in _NO_CONSUMERS:
                    raise Unavailable(f"Kafka does not describe {group}: {error}") from error


def _places(member: Any) -> Sequence[TopicPartition]:
    return member.assignment.topic_partitions if member.assignment is not None else ()
