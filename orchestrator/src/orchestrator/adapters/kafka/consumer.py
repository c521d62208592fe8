"""Records in: a thread polls while the event loop works; each `take` gets all that has come meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orchestrator.adapters.kafka.config import (
    COMMIT_SECONDS,
    PREFETCH_KIB,
    SESSION_SECONDS,
    KafkaConfig,
)
from orchestrator.model.errors import Unavailable
from orchestrator.model.times import Time
from orchestrator.ports.broker import Incoming

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
_LOOK_SECONDS: Final = 1.0
_UNKNOWN: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001 - its name


Seen = Callable[[Sequence[int], int, float], None]
"""Is told the partitions of this process, how many records wait there, and how many it took in a second of late."""


class KafkaInbox:
    """See `ports.broker.Inbox`."""

    def __init__(self, config: KafkaConfig, topic: str, seen: Seen | None = None) -> None:
        """Join the group of a topic's readers; ``seen`` is told now and then, on a thread, how that goes."""
        self._topic = topic
        self._seen = seen
        self._records_max = config.records_max
        self._loop = asyncio.get_running_loop()
        self._consumer = Consumer(
            config.client(
                f"{topic}-reader",
                {
                    "group.id": f"{config.group}.{topic}",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": "cooperative-sticky",
                    "session.timeout.ms": SESSION_SECONDS * 1_000,
                    "heartbeat.interval.ms": 1_000,
                    "fetch.wait.max.ms": 100,
                    "queued.max.messages.kbytes": PREFETCH_KIB,
                    "error_cb": _note_error,
                },
            )
        )
        self._consumer.subscribe([topic], on_revoke=self._revoked, on_lost=self._lost)
        self._wanted = threading.Event()
        self._answer: asyncio.Future[list[Incoming]] | None = None
        self._given: deque[dict[int, int]] = deque()
        """The next offset of each partition after what a `take` gave, of each that is not done."""
        self._done: dict[int, int] = {}
        """The same for what need not come again; written in the loop, read on the thread."""
        self._committed: dict[int, int] = {}
        self._committed_on = 0.0
        self._lag = 0
        self._taken = 0
        """Records since the last look."""
        self._looked_on = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name=f"kafka-{topic}", daemon=True)
        self._thread.start()

    async def take(self) -> Sequence[Incoming]:
        """See `ports.broker.Inbox.take`."""
        if self._closing:
            raise Unavailable("the orchestrator is shutting down")
        self._answer = self._loop.create_future()
        self._wanted.set()
        batch = await self._answer
        self._given.append({record.partition: record.offset + 1 for record in batch})
        return batch

    def done(self) -> None:
        """See `ports.broker.Inbox.done`."""
        self._done = self._done | self._given.popleft()

    def lag(self) -> int:
        """See `ports.broker.Inbox.lag`."""
        return self._lag

    async def close(self) -> None:
        """Commit what is done, and leave the group."""
        self._closing = True
        self._wanted.set()
        await asyncio.to_thread(self._thread.join)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable("the orchestrator is shutting down"))

    # --- on the thread -------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        kept: list[Message] = []
        while not self._closing:
            try:
                self._commit(wait=False)
                self._look()
                if kept and self._wanted.is_set():
                    kept = self._give(kept)
                    continue
                if kept:
                    # One record is taken ahead at most, and then who wants it is waited for.
                    self._wanted.wait(_POLL_SECONDS)
                    continue
                message = self._consumer.poll(_POLL_SECONDS)
                if message is not None and not self._is_error(message):
                    kept.append(message)
            except KafkaException as error:
                _log.warning("kafka: reading %s: %s", self._topic, error)
            except RuntimeError:
                # The loop has ended; so will this.
                break
        try:
            self._commit(wait=True)
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka: offsets of %s are not committed, their records come again: %s", self._topic, error)
        try:
            # Whatever became of the commit: a member that does not leave keeps its partitions from the others, and
            # one that is not closed keeps its process from ending.
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka: leaving the group of %s: %s", self._topic, error)

    def _look(self) -> None:
        """Count what waits, now and then; only this thread may ask the consumer."""
        now = monotonic()
        if now - self._looked_on < _LOOK_SECONDS:
            return
        taken_per_second = self._taken / (now - self._looked_on)
        self._looked_on, self._taken = now, 0
        waiting = 0
        assigned = self._consumer.assignment()
        for place in self._consumer.position(assigned):
            if place.offset >= 0:
                _, end = self._consumer.get_watermark_offsets(place, cached=True) or (0, 0)
                waiting += max(0, end - place.offset)
        self._lag = waiting
        if self._seen is not None:
            self._seen(sorted(place.partition for place in assigned), waiting, taken_per_second)

    def _give(self, kept: list[Message]) -> list[Message]:
        """Answer a `take` with what is there."""
        kept += [one for one in self._consumer.consume(self._records_max - len(kept), 0) if not self._is_error(one)]
        self._wanted.clear()
        self._taken += len(kept)
        self._loop.call_soon_threadsafe(self._answered, [_incoming(message) for message in kept])
        return []

    def _answered(self, batch: list[Incoming]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(batch)

    def _is_error(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.code() not in _UNKNOWN:
            _log.warning("kafka: reading %s: %s", self._topic, error.str())
        return True

    def _commit(self, *, wait: bool) -> None:
        now = monotonic()
        if not wait and now - self._committed_on < COMMIT_SECONDS:
            return
        news = {place: offset for place, offset in self._done.items() if self._committed.get(place) != offset}
        if not news:
            return
        self._committed_on = now
        places = [TopicPartition(self._topic, partition, offset) for partition, offset in news.items()]
        if wait:
            self._consumer.commit(offsets=places, asynchronous=False)
        else:
            self._consumer.commit(offsets=places, asynchronous=True)
        self._committed.update(news)

    def _revoked(self, _: Consumer, places: list[TopicPartition]) -> None:
        try:
            self._commit(wait=True)
        except KafkaException as error:
            _log.info("kafka: offsets of %s are not committed, their records come again: %s", self._topic, error)
        self._forget(places)

    def _lost(self, _: Consumer, places: list[TopicPartition]) -> None:
        self._forget(places)

    def _forget(self, places: list[TopicPartition]) -> None:
        gone = {place.partition for place in places}

        def forget() -> None:
            # Another process may be further: what this one knows must not be committed over it.
            for known in (*self._given, self._done):
                for partition in gone & known.keys():
                    del known[partition]

        self._loop.call_soon_threadsafe(forget)
        for partition in gone & self._committed.keys():
            del self._committed[partition]
        if self._seen is not None:
            # What is left is seen at the next look.
            self._seen((), 0, 0.0)


def _incoming(message: Message) -> Incoming:
    kind, millis = message.timestamp()
    return Incoming(
        value=message.value() or b"",
        produced_at=Time(millis * 1_000 if kind else 0),
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=message.key(),
    )


def _note_error(error: Any) -> None:
    _log.warning("kafka: %s", error.str())
