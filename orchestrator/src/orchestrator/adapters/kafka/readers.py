"""How far workers have read: a job before the committed offset of its action's group is in some worker's hands.

Rule 1: where the group of an action exists, it alone says: SDK workers commit ahead of execution, and beat.
Rule 2: where it does not, any other group that reads the topic may stand for any action. It gives no signs of life.
Rule 3: what is said of the others may come later (`others`): nothing of an action with its own group waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from confluent_kafka import KafkaException
from msgspec.structs import astuple

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import Groups
from orchestrator.adapters.kafka.others import Others
from orchestrator.model.errors import Unavailable
from orchestrator.ports.broker import Taken
from orchestrator.ports.strangers import Stranger

_log = logging.getLogger(__name__)

STRANGERS_MAX: Final = 100
"""Strangers that are named."""


class Readers:
    """Asks the cluster; its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig, groups: Groups) -> None:
        self._config = config
        self._groups = groups
        self._topics = frozenset({config.topics.jobs, *config.routes.values()})
        self._jobs = config.topics.jobs
        self._own = config.group
        self._workers = config.worker_groups
        self._others = Others(config, groups)
        self._misled: set[str] = set()
        """Actions whose workers were found to read another topic; it is told once."""

    def taken(self, actions: Collection[str]) -> list[Taken]:
        """See `ports.broker.Broker.taken`."""
        try:
            return self._look(actions)
        except KafkaException as error:
            raise Unavailable(f"Kafka does not say how far its consumer groups have read: {error}") from error

    def _look(self, actions: Collection[str]) -> list[Taken]:
        groups = self._groups.all()
        there = [action for action in actions if self._workers + action in groups]
        asked = {self._workers + action: [self._config.topic_of(action)] for action in there}
        committed = self._groups.committed_each(asked)
        found: list[Taken] = []
        others: list[str] = []
        for action in actions:
            own = committed.get(self._workers + action, {}).get(self._config.topic_of(action))
            if own is None:
                others.append(action)
                if action in there and action not in self._misled:
                    self._note_misled(action)
            else:
                found += self._taken(action, own, beats=True)
        if others:
            furthest = self._others.furthest()
            for action in others:
                found += self._taken(action, furthest.get(self._config.topic_of(action), {}), beats=False)
        return found

    def _taken(self, action: str, offsets: Mapping[int, int], *, beats: bool) -> Iterator[Taken]:
        topic = self._config.routes.get(action, "")
        return (Taken(action, topic, partition, before, beats) for partition, before in offsets.items())

    def _note_misled(self, action: str) -> None:
        """Say once that workers look for jobs where there are none: they would wait for ever, and so would the jobs."""
        elsewhere = sorted(self._groups.committed(self._workers + action, self._topics))
        if elsewhere:
            self._misled.add(action)
            _log.warning(
                "kafka: jobs of %s go to %s, and its workers read %s: give both the same routes",
                action,
                self._config.topic_of(action),
                ", ".join(elsewhere),
            )

    def strangers(self) -> list[Stranger]:
        """See `ports.strangers.Strangers.strangers`."""
        try:
            members = self._groups.members()
        except KafkaException as error:
            raise Unavailable(f"Kafka does not describe its consumer groups: {error}") from error
        found: set[Stranger] = set()
        for member in members:
            name = member.group
            action = name.removeprefix(self._workers) if name.startswith(self._workers) else ""
            ours = self._config.client(f"jobs-{action}", {})["client.id"] if action else None
            if not name.startswith(self._own) and member.client_id != ours:
                topics = self._topics & member.assigned.keys()
                found |= {Stranger(name, "" if topic == self._jobs else topic, action) for topic in topics}
        return sorted(found, key=astuple)[:STRANGERS_MAX]
