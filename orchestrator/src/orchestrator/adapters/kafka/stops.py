"""What is said to all workers: attempts that are over. Every process reads all of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.offsets import an_hour_ago, ends_of, places
from orchestrator.model.job import parse_job_id
from orchestrator.model.record import read_stop
from orchestrator.ports.broker import Stop

_log = logging.getLogger(__name__)

BEFORE_MAX: Final = 10_000
"""What was said before the start of this process: the last so many words."""
_POLL_SECONDS: Final = 0.2
_AT_ONCE_MAX: Final = 500
_AGAIN_SECONDS: Final = 0.5


class StopReader:
    """Joins no group. ``on_stops`` is called on the thread."""

    def __init__(self, config: KafkaConfig, on_stops: Callable[[list[Stop]], None]) -> None:
        self._topic = config.topics.control
        self._seconds = config.call_seconds
        self._on_stops = on_stops
        self._consumer = Consumer(
            config.client(
                "stops",
                {
                    # Asked for by the client though no group is joined.
                    "group.id": f"{config.group}.{config.topics.control}",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "latest",
                    "fetch.wait.max.ms": 100,
                    "error_cb": _note_error,
                },
            )
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-stops", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the reading. Blocks."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set() and not self._begin():
            self._stopping.wait(_AGAIN_SECONDS)
        try:
            while not self._stopping.is_set():
                first = self._consumer.poll(_POLL_SECONDS)
                if first is not None:
                    messages = [first, *self._consumer.consume(_AT_ONCE_MAX - 1, 0)]
                    stops = [stop for message in messages if (stop := _stop(message)) is not None]
                    if stops:
                        self._on_stops(stops)
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka: %s is not read any more: %s", self._topic, error)

    def _begin(self) -> bool:
        """Begin an hour ago: jobs of what was stopped since may wait still. A fixed place: no outage moves it."""
        try:
            topic = self._consumer.list_topics(self._topic, self._seconds).topics[self._topic]
            if topic.error is not None:
                raise KafkaException(topic.error)
            ends = ends_of(self._consumer, self._topic, topic.partitions, self._seconds)
            starts = an_hour_ago(self._consumer, self._topic, ends, self._seconds)
            self._consumer.assign(
                places(self._topic, {place: max(start, ends[place] - BEFORE_MAX) for place, start in starts.items()})
            )
        except KafkaException as error:
            _log.info("kafka: %s is not read yet: %s", self._topic, error)
            return False
        return True


def _stop(message: Message) -> Stop | None:
    if message.error() is not None:
        return None
    try:
        record = read_stop(message.value() or b"")
    except ValueError:
        return None
    place = parse_job_id(record.job_id)
    return None if place is None else Stop(*place, record.attempt)


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka: %s", error.str())
