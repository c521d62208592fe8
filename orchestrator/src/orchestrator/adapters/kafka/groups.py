"""What consumer groups have committed and what they read, asked for without being a member.

The admin client's own questions about one group are not used: where the group's coordinator is away, moves, or is not
there yet, librdkafka 2.x follows a null pointer or trips over an assertion, and the process dies (issues 5040 and 4605
of confluentinc/librdkafka). A consumer that joins nothing asks the same in safety, and so does the old call that lists
groups with their members.

Rule 1: a consumer here never subscribes, so it is no member, and its group knows nothing of it.
Rule 2: nobody else has a consumer while it is asked; after a failure it is not used again.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, Final, NamedTuple, cast

from confluent_kafka import Consumer, ConsumerGroupState, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.paced import Paced

KEPT_MAX: Final = 50
"""Consumers that are kept for the next question: four threads and half a megabyte each."""
AT_ONCE: Final = 8
"""Groups that are asked at a time: the first answer about one takes 65 ms of waiting, and 3 ms of a processor."""
PARTITIONS_SECONDS: Final = 10.0
"""How long it is not asked again how many partitions a topic has."""
_LOOK_SECONDS: Final = 1.0
"""How often it is looked, while there is no answer, whether there will never be one."""
_NONE: Final = frozenset(
    {KafkaError.GROUP_ID_NOT_FOUND, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.INVALID_GROUP_ID}
)
"""Answers about a group that is gone, or of another kind, or none of our business."""

Offsets = dict[str, dict[int, int]]
"""By topic, then partition."""


class Member(NamedTuple):
    """Who is in a group."""

    group: str
    client_id: str
    assigned: dict[str, tuple[int, ...]]
    """Partitions by topic."""


class Groups:
    """Asks the cluster; its calls block, belong on a thread, and may be made on several at a time.

    Each raises `KafkaException` where the cluster does not answer within `KafkaConfig.call_seconds`.
    """

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._admin = AdminClient(config.client("groups", {}))
        self._lock = threading.Lock()
        self._idle: dict[str, Consumer] = {}
        """By group, the one that was used last at the end."""
        self._partitions: dict[str, tuple[float, int]] = {}
        """By topic, until when it is believed how many there are."""
        self._listed = Paced(self._list)
        self._described = Paced(self._describe)
        self._is_closed = False

    def all(self) -> Mapping[str, bool]:
        """Name the groups that there are, and say whether they have members; as of a moment ago, see `Paced`."""
        return self._listed.get()

    def _list(self) -> dict[str, bool]:
        listed = self._admin.list_consumer_groups(request_timeout=self._config.call_seconds).result().valid or ()
        return {group.group_id: group.state is not ConsumerGroupState.EMPTY for group in listed}

    def committed_each(self, asked: Mapping[str, Iterable[str]]) -> dict[str, Offsets]:
        """Ask for many groups what `committed` says of one."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return dict(zip(asked, pool.map(self.committed, asked.keys(), asked.values()), strict=True))

    def committed(
        self, group: str, topics: Iterable[str], seconds: float | None = None, *, keep: bool = True
    ) -> Offsets:
        """Say how far a group is in the partitions of topics; those where it has committed nothing are left out.

        Args:
            group: which.
            topics: they exist.
            seconds: how long the answer may take, instead of `KafkaConfig.call_seconds`.
            keep: whether it will be asked for again soon. Where it has committed something it is taken for that.
        """
        seconds = self._config.call_seconds if seconds is None else seconds
        places = [place for topic in topics for place in self._places(topic)]
        consumer = self._take(group)
        try:
            answers = _committed(consumer, places, seconds)
        except BaseException:
            consumer.close()
            raise
        if keep or any(place.offset >= 0 for place in answers):
            self._put_back(group, consumer)
        else:
            consumer.close()
        found: Offsets = {}
        for place in answers:
            if place.error is not None:
                raise KafkaException(place.error)
            if place.offset >= 0:
                found.setdefault(place.topic, {})[place.partition] = place.offset
        return found

    def members(self) -> Sequence[Member]:
        """Give the members of all groups; as of a moment ago, see `Paced`."""
        return self._described.get()

    def _describe(self) -> list[Member]:
        # The client's types say that its fields are None.
        listed = cast("list[Any]", self._admin.list_groups(timeout=self._config.call_seconds))
        for one in listed:
            if one.error is not None and one.error.code() not in _NONE:
                raise KafkaException(one.error)
        return [
            Member(one.id, member.client_id, dict(_assignment(member.assignment)))
            for one in listed
            for member in one.members
        ]

    def close(self) -> None:
        """Let go of all that is kept."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, {}
        for consumer in idle.values():
            consumer.close()

    # --- inside --------------------------------------------------------------------------------------------------

    def _places(self, topic: str) -> list[TopicPartition]:
        until, count = self._partitions.get(topic, (0.0, 0))
        if monotonic() >= until:
            count = len(self._admin.list_topics(topic, self._config.call_seconds).topics[topic].partitions)
            if count:
                self._partitions[topic] = (monotonic() + PARTITIONS_SECONDS, count)
        return [TopicPartition(topic, number) for number in range(count)]

    def _take(self, group: str) -> Consumer:
        with self._lock:
            consumer = self._idle.pop(group, None)
        if consumer is None:
            properties = {"group.id": group, "enable.auto.commit": False, "enable.auto.offset.store": False}
            consumer = Consumer(self._config.client("groups", properties))
        return consumer

    def _put_back(self, group: str, consumer: Consumer) -> None:
        extra: Consumer | None = consumer
        with self._lock:
            if not self._is_closed:
                extra = self._idle.pop(group, None)
                self._idle[group] = consumer
                if extra is None and len(self._idle) > KEPT_MAX:
                    extra = self._idle.pop(next(iter(self._idle)))
        if extra is not None:
            extra.close()


def _committed(consumer: Consumer, places: Sequence[TopicPartition], seconds: float) -> list[TopicPartition]:
    until = monotonic() + seconds
    while True:
        try:
            return consumer.committed(list(places), timeout=min(seconds, _LOOK_SECONDS))
        except KafkaException as error:
            refusal = _refusal(consumer)
            if refusal in _NONE or error.args[0].code() in _NONE:
                return []
            if monotonic() >= until:
                raise


def _refusal(consumer: Consumer) -> int | None:
    """Find out whether the coordinator has said that it will never answer."""
    message = consumer.poll(0)
    error = None if message is None else message.error()
    return None if error is None else error.code()


def _assignment(value: bytes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Read what the leader of a group has given to a member: version, then topics, each with its partitions.

    What is not written so belongs to a group that is none of consumers.
    """
    try:
        (count,) = struct.unpack_from(">i", value, 2)
        place = 6
        for _ in range(count):
            (length,) = struct.unpack_from(">h", value, place)
            topic = value[place + 2 : place + 2 + length].decode()
            place += 2 + length
            (partitions,) = struct.unpack_from(">i", value, place)
            yield topic, struct.unpack_from(f">{partitions}i", value, place + 4)
            place += 4 + 4 * partitions
    except (struct.error, UnicodeDecodeError):
        return
