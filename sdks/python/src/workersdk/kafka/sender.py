"""Sending records: results that must arrive, and heartbeats.

Rule 1: a record is kept until the brokers have acknowledged it, and sent again when they have not.
Rule 2: there is no future and no wake-up for each record: acknowledgements are collected on the event loop, many at
        once, a few milliseconds after they came.
Rule 3: a result goes to the partition that its job names: there reads the process that knows its run. The others that
        are sent together go to one partition, those after them to the next: each partition takes a request of its own,
        and that costs the broker as much as a hundred records do. Nothing depends on a result's partition but time.
Rule 4: a few records go out at once. Many results go through a client that waits a millisecond for the last of them:
        one that does not wait sends the first by itself, and spins while there are as many requests as may be on the
        way. One client cannot do both. The second one is made when it is needed first, and used when it is ready.
Rule 5: a broker that finds a batch too large says so of every record in it. Those are sent again one by one; the one
        that is still too large is given up.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from workersdk.kafka.records import KafkaJob

COLLECT_S_MIN: Final = 0.01
COLLECT_S_MAX: Final = 0.1
IDLE_S: Final = 1.0
RETRY_S: Final = 0.5
MANY: Final = 8
READY_S: Final = 1.0
"""A new client looks for the leaders of partitions once a second; what it is given before that waits for it."""
UNASSIGNED: Final = -1


class Sending:
    """One record on its way; `job` is the one that it is the result of.

    `on_end` gets the error for which it is given up, or None when it has arrived. Of a result it gets only the former:
    those that arrive are many.
    """

    __slots__ = ("ended", "error", "is_single", "job", "key", "on_end", "topic", "value")

    def __init__(
        self,
        topic: str,
        key: bytes,
        value: bytes,
        on_end: Callable[[Sending, KafkaError | None], None],
        job: KafkaJob | None = None,
    ) -> None:
        self.job = job
        self.topic = topic
        self.key = key
        self.value = value
        self.on_end = on_end
        self.is_single = False
        self.error: KafkaError | None = None
        self.ended: list[Sending] | None = None  # where the report goes

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        """Take the delivery report. Being the callback itself saves one object for each record."""
        self.error = error
        if self.ended is not None:
            self.ended.append(self)


class Sender:
    """The producers, used on the event loop only.

    `config` is that of the client for a few records, `config_of_many` that of the one for many, which is made when it
    is needed first. `on_room` is called when there are fewer results on their way than before.
    """

    def __init__(
        self,
        config: dict[str, object],
        config_of_many: dict[str, object],
        logger: logging.Logger,
        on_room: Callable[[], None],
    ) -> None:
        self.results_count = 0
        """How many results are not acknowledged."""
        self.results_bytes = 0
        self._config = config
        self._config_of_many = config_of_many
        self._logger = logger
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(config)
        self._producer_of_many: Producer | None = None
        self._ready_at = 0.0  # when that may be used
        self._ended: list[Sending] = []
        self._on_way: set[Sending] = set()
        self._waiting: deque[Sending] = deque()  # the client's queue is full, or they go one by one
        self._singles = 0
        self._pause = COLLECT_S_MIN
        self._retry_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._at_rest = asyncio.Event()
        self._partitions = 0
        self._partition = UNASSIGNED
        self._collect_in(IDLE_S)

    def __len__(self) -> int:
        """How many records are not acknowledged."""
        return len(self._on_way) + len(self._waiting)

    def share(self, partitions: int) -> None:
        """Send results to so many partitions by turns; 0 leaves the choice to the client, by their keys."""
        self._partitions = partitions
        self._partition = random.randrange(partitions) if partitions else UNASSIGNED

    def send(self, sending: Sending) -> None:
        """Send a record that is no result. It is acknowledged, or given up, later: never within this call."""
        self._produce_or_wait((sending,))

    def send_results(self, sendings: Sequence[Sending]) -> None:
        """Send results; those of jobs that name no partition, to the next. They are acknowledged, or given up later."""
        if self._partitions:
            self._partition = (self._partition + 1) % self._partitions
        self.results_count += len(sendings)
        self.results_bytes += sum([len(sending.value) for sending in sendings])
        self._produce_or_wait(sendings)

    def _produce_or_wait(self, sendings: Sequence[Sending]) -> None:
        producer = self._producer_for(len(sendings))
        for sending in sendings:
            if self._waiting or self._singles:
                self._waiting.append(sending)
            else:
                self._produce(sending, producer)
        self._pause = COLLECT_S_MIN
        self._collect_in(COLLECT_S_MIN)

    def jobs(self) -> Iterator[KafkaJob]:
        """Yield the jobs whose results are not acknowledged."""
        for sending in (*self._on_way, *self._waiting):
            if sending.job is not None:
                yield sending.job

    async def wait_sent(self) -> None:
        """Return when every record has arrived or was given up."""
        while len(self):
            self._at_rest.clear()
            await self._at_rest.wait()

    def close(self) -> None:
        """Stop collecting. What has not been acknowledged may be lost."""
        if self._timer is not None:
            self._timer.cancel()
        for producer in self._producers():
            producer.purge(blocking=False)
            producer.poll(0)

    def _producers(self) -> Iterator[Producer]:
        yield self._producer
        if self._producer_of_many is not None:
            yield self._producer_of_many

    def _producer_for(self, count: int) -> Producer:
        if count < MANY:
            return self._producer
        if self._producer_of_many is None:
            try:
                self._producer_of_many = Producer(self._config_of_many)
                self._ready_at = self._loop.time() + READY_S
            except KafkaException as error:  # the process may have no more threads
                self._logger.debug("no producer for many results: %s", error)
                return self._producer
        return self._producer_of_many if self._loop.time() >= self._ready_at else self._producer

    def _produce(self, sending: Sending, producer: Producer) -> None:
        sending.ended = self._ended
        if (job := sending.job) is None:
            headers, partition = None, UNASSIGNED
        else:
            headers, partition = job.result_headers(), job.result_partition
            if not 0 <= partition < self._partitions:
                partition = self._partition
        try:
            producer.produce(sending.topic, sending.value, sending.key, partition, sending, headers=headers)
        except BufferError:
            self._waiting.appendleft(sending)
            return
        except KafkaException as error:
            sending.error = error.args[0]
            self._ended.append(sending)
        self._on_way.add(sending)

    def _collect_in(self, seconds: float) -> None:
        when = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._collect)

    def _collect(self) -> None:
        self._timer = None
        for producer in self._producers():
            producer.poll(0)
        ended = self._ended[:]
        self._ended.clear()
        self._on_way.difference_update(ended)
        is_fatal = False
        results, before = 0, self.results_count
        for sending in ended:
            if sending.error is None and sending.job is not None and not sending.is_single:
                results += 1
                self.results_bytes -= len(sending.value)
            else:
                is_fatal |= sending.error is not None and sending.error.fatal()
                self._end(sending)
        self.results_count -= results
        if is_fatal:
            self._open_again()
        self._send_waiting()
        if self.results_count < before:
            self._on_room()
        if len(self):
            self._pause = COLLECT_S_MIN if ended else min(COLLECT_S_MAX, self._pause * 1.5)
            self._collect_in(self._pause)
        else:
            self._at_rest.set()
            self._collect_in(IDLE_S)

    def _end(self, sending: Sending) -> None:
        error, sending.error = sending.error, None
        if error is not None and error.code() == KafkaError._UNKNOWN_PARTITION:
            self.share(0)  # the topic was made anew, with fewer partitions
        if sending.is_single:
            self._singles -= 1
        if error is None:
            sending.is_single = False
            self._end_for_good(sending, None)
        elif error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
            self._logger.debug("sending to %s again: %s", sending.topic, error)
            sending.is_single = False
            self._waiting.append(sending)
            self._retry_at = self._loop.time() + RETRY_S
        elif sending.is_single:
            sending.is_single = False
            self._end_for_good(sending, error)
        else:
            sending.is_single = True
            self._singles += 1
            self._waiting.appendleft(sending)

    def _end_for_good(self, sending: Sending, error: KafkaError | None) -> None:
        if sending.job is not None:
            self.results_count -= 1
            self.results_bytes -= len(sending.value)
        if sending.job is None or error is not None:
            sending.on_end(sending, error)

    def _send_waiting(self) -> None:
        """Send what waits: all of it, or one at a time while one of them is to show whether it is too large."""
        if self._loop.time() < self._retry_at:
            return
        producer = self._producer_for(0 if self._singles else len(self._waiting))
        while self._waiting and not (self._singles and self._on_way):
            before = len(self._waiting)
            self._produce(self._waiting.popleft(), producer)
            if len(self._waiting) == before:
                break  # the client's queue is still full

    def _open_again(self) -> None:
        """A producer has given up for good: another one sends everything that is not acknowledged."""
        self._logger.debug("the producer is opened anew")
        self._producer = Producer(self._config)
        self._producer_of_many = None
        self._ended = []
        self._waiting.extend(self._on_way)
        self._on_way.clear()
