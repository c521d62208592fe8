"""The orchestrator's words to all workers, and the first look at the brokers: one consumer that joins no group."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.records import read_control

# The client asks for a group's name though no group is joined; this one falls under the rights that a worker has.
GROUP_OF: Final = "$control"
LOOK_S: Final = 1.0
# What was said before this worker came still holds for jobs that wait: so much of it is read before the first job.
LOOKBACK_S: Final = 3_600.0
LOOKBACK_WORDS_MAX: Final = 10_000
CATCH_UP_S: Final = 5.0
POLL_S: Final = 0.5
WORDS_AT_ONCE: Final = 500
LOOK_AGAIN_S: Final = 5.0


class Control:
    """Reads the topic of control, the last hour of it first. `on_cancel` is called on the thread of the reader."""

    def __init__(
        self,
        config: KafkaConfig,
        client_id: str,
        actions: Sequence[str],
        logger: logging.Logger,
        on_cancel: Callable[[Sequence[dict[str, Any]]], None],
    ) -> None:
        self._topic = config.topics.control
        self._jobs_topics = sorted({config.topic_of(action) for action in actions})
        self._results_topic = config.topics.results
        self._logger = logger
        self._on_cancel = on_cancel
        self._quiet = Quiet(logger)
        self._consumer = Consumer(config.consumer(client_id, config.group_of(GROUP_OF), self._quiet))
        self._is_reading = False
        self.result_partitions = 0  # how many partitions results may go to; 0 when that is not known
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workersdk-control", daemon=True)

    def look(self) -> str | None:
        """Ask, for a second at most, whether the brokers are there and have jobs; return what is missing, if anything.

        What was said on the topic of control in the last hour has been heard then, and what follows will be.
        """
        try:
            self._consumer.poll(0)
            for topic in self._jobs_topics:
                jobs = self._consumer.list_topics(topic, LOOK_S).topics[topic]
                if jobs.error is not None:
                    return f"topic {topic}: {jobs.error.str()}"
            results = self._consumer.list_topics(self._results_topic, LOOK_S).topics[self._results_topic]
            self.result_partitions = len(results.partitions)
            self._is_reading = self._begin()
        except KafkaException as error:
            return self._quiet.reason or str(error.args[0].str())
        return None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the reading. Returns at once."""
        self._stopping.set()

    def _begin(self) -> bool:
        """Begin an hour ago, if the topic is there, and catch up. The place is a fixed one: an outage moves it not."""
        topic = self._consumer.list_topics(self._topic, LOOK_S).topics[self._topic]
        if topic.error is not None:
            self._logger.info(
                "topic %s: %s; runs that are cancelled will not be heard of", self._topic, topic.error.str()
            )
            return False
        ends: dict[int, int] = {}
        for partition in topic.partitions:
            _, ends[partition] = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), LOOK_S)
        then = int((time.time() - LOOKBACK_S) * 1_000)
        starts = self._consumer.offsets_for_times([TopicPartition(self._topic, one, then) for one in ends], LOOK_S)
        for place in starts:
            end = ends[place.partition]
            place.offset = max(place.offset, end - LOOKBACK_WORDS_MAX) if place.offset >= 0 else end
        self._consumer.assign(starts)
        self._catch_up({place.partition for place in starts if place.offset < ends[place.partition]}, ends)
        return True

    def _catch_up(self, behind: set[int], ends: Mapping[int, int]) -> None:
        """Read what was said before now; after some seconds the rest is left to the thread."""
        until = time.monotonic() + CATCH_UP_S
        while behind and time.monotonic() < until and not self._stopping.is_set():
            messages = self._consumer.consume(WORDS_AT_ONCE, POLL_S)
            self._hear(messages)
            for place in self._consumer.position(self._consumer.assignment()):
                if place.offset >= ends[place.partition]:
                    behind.discard(place.partition)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._is_reading:
                    self._read()
                elif not self._stopping.wait(LOOK_AGAIN_S):
                    self._is_reading = self._find()
            self._consumer.close()
        except Exception:
            self._logger.exception("topic %s is not read any more", self._topic)

    def _find(self) -> bool:
        try:
            topics = self._consumer.list_topics(timeout=LOOK_S).topics
            return self._topic in topics and self._begin()
        except KafkaException as error:
            self._logger.debug("topic %s: %s", self._topic, error)
            return False

    def _read(self) -> None:
        first = self._consumer.poll(POLL_S)
        if first is None:
            return
        self._hear([first, *self._consumer.consume(WORDS_AT_ONCE, 0)])

    def _hear(self, messages: Iterable[Message]) -> None:
        words = [
            word
            for message in messages
            if message.error() is None and (word := read_control(message.value())) is not None
        ]
        if words:
            self._on_cancel(words)
