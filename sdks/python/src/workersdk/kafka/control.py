"""The orchestrator's words to all workers, and the first look at the brokers: one consumer that joins no group."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.records import read_control

# The client asks for a group's name though no group is joined; this one falls under the rights that a worker has.
GROUP: Final = "workflow-worker.$control"
LOOK_S: Final = 1.0
POLL_S: Final = 0.5
WORDS_AT_ONCE: Final = 500
LOOK_AGAIN_S: Final = 5.0


class Control:
    """Reads the topic of control from its end. `on_cancel` is called on the thread of this reader."""

    def __init__(
        self,
        config: KafkaConfig,
        client_id: str,
        logger: logging.Logger,
        on_cancel: Callable[[Sequence[dict[str, Any]]], None],
    ) -> None:
        self._topic = config.topics.control
        self._jobs_topic = config.topics.jobs
        self._logger = logger
        self._on_cancel = on_cancel
        self._quiet = Quiet(logger)
        self._consumer = Consumer(config.consumer(client_id, GROUP, self._quiet))
        self._is_reading = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workersdk-control", daemon=True)

    def look(self) -> str | None:
        """Ask, for a second at most, whether the brokers are there and have jobs; return what is missing, if anything.

        What is said on the topic of control from now on will be heard.
        """
        try:
            self._consumer.poll(0)
            jobs = self._consumer.list_topics(self._jobs_topic, LOOK_S).topics[self._jobs_topic]
            if jobs.error is not None:
                return f"topic {self._jobs_topic}: {jobs.error.str()}"
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
        """Begin at the end, if the topic is there. The place is a fixed one: an outage does not move it."""
        topic = self._consumer.list_topics(self._topic, LOOK_S).topics[self._topic]
        if topic.error is not None:
            self._logger.info(
                "topic %s: %s; runs that are cancelled will not be heard of", self._topic, topic.error.str()
            )
            return False
        ends = []
        for partition in topic.partitions:
            place = TopicPartition(self._topic, partition)
            _, place.offset = self._consumer.get_watermark_offsets(place, LOOK_S)
            ends.append(place)
        self._consumer.assign(ends)
        return True

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
        messages = [first, *self._consumer.consume(WORDS_AT_ONCE, 0)]
        words = [
            word
            for message in messages
            if message.error() is None and (word := read_control(message.value())) is not None
        ]
        if words:
            self._on_cancel(words)
