"""Records out: handed over in the event loop, which also collects their acknowledgements, many at a time.

There is no thread for it: one that waits for acknowledgements wakes up for each, and takes the interpreter from the
loop every time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from msgspec.structs import astuple

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.ports.broker import BrokerReport

_log = logging.getLogger(__name__)

_COLLECT_SECONDS: Final = 0.01
"""How often acknowledgements are collected while records are under way."""
_IDLE_SECONDS: Final = 1.0
"""How often the client is looked after while none is."""
_FLUSH_SECONDS: Final = 1.0
"""How long what is under way is waited for at the end."""
_QUEUE_MAX: Final = 500_000
"""Records that wait for their acknowledgement; further ones are not taken, and sent later from their rows."""
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

Headers = list[tuple[str, str | bytes | None]]
"""Names and values, in order."""


class Fault(msgspec.Struct, frozen=True):
    """Why a record was not delivered."""

    reason: str
    is_final: bool = False
    """The cluster will not take it, however often it is sent: it is too large."""


Acknowledged = Callable[[int, int, Fault | None], None]
"""Is told partition, offset (-1 when the cluster does not say) and, when the record was not delivered, why; called in
the event loop."""


class _Sending:
    """A record under way. It is its own call-back: a closure for each costs more than to hand it over."""

    __slots__ = ("_ended", "error", "headers", "key", "offset", "on_acknowledged", "partition", "topic", "value")

    def __init__(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        on_acknowledged: Acknowledged,
        partition: int,
        ended: list[_Sending],
    ) -> None:
        self.topic = topic
        self.key = key
        self.value = value
        self.headers = headers
        self.on_acknowledged = on_acknowledged
        self.partition = partition
        """Where it is to go; where it is, once it has arrived."""
        self.offset = -1
        self.error: KafkaError | None = None
        self._ended = ended

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.partition = message.partition() or 0
            offset = message.offset()
            self.offset = -1 if offset is None else offset
        else:
            self.error = error
        self._ended.append(self)


class Records:
    """A producer. Used in the event loop only."""

    def __init__(
        self, config: KafkaConfig, *, singly: bool = False, delivery_seconds: float = 0.0, linger_ms: int = 0
    ) -> None:
        """Connect.

        Args:
            config: where to, and how.
            singly: send each record in a batch of its own.
            delivery_seconds: how long a record is tried, in place of the configuration's.
            linger_ms: how long a record waits for others.

        Raises:
            KafkaException: the client does not take its properties, or there are no threads for it.
        """
        delivery_seconds = delivery_seconds or config.delivery_seconds
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            config.client(
                "producer",
                {
                    "acks": "all",
                    "enable.idempotence": True,
                    "linger.ms": linger_ms,
                    "compression.type": "lz4",
                    "partitioner": "murmur2_random",
                    "delivery.timeout.ms": round(delivery_seconds * 1_000),
                    "queue.buffering.max.messages": _QUEUE_MAX,
                    "message.max.bytes": config.record_bytes_max,
                    "error_cb": _note_error,
                },
            )
            | ({"batch.num.messages": 1} if singly else {})
        )
        self._singly = singly
        self._delivery_seconds = delivery_seconds
        self._alone: Records | None = None
        """Sends what was refused in company once more, by itself."""
        self._answers: list[_Sending] = []
        self._closing = False
        self._under_way = 0
        self._bytes = 0
        """Of the values that are under way."""
        self._acknowledged = 0
        self._failed = 0
        self._collect_at = self._loop.time() + _IDLE_SECONDS
        self._timer = self._loop.call_at(self._collect_at, self._collect)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        on_acknowledged: Acknowledged,
        partition: int = -1,
    ) -> Fault | None:
        """Hand a record over; gives a reason when it cannot be taken, else ``on_acknowledged`` is called, once."""
        sending = _Sending(topic, key, value, headers, on_acknowledged, partition, self._answers)
        try:
            self._producer.produce(topic, value, key, partition, on_delivery=sending, headers=headers)
        except BufferError as error:
            self._failed += 1
            return Fault(str(error))
        except KafkaException as error:
            self._failed += 1
            return _fault_of(error.args[0])
        self._under_way += 1
        self._bytes += len(value)
        if self._collect_at - self._loop.time() > _COLLECT_SECONDS:
            self._collect_in(_COLLECT_SECONDS)
        return None

    @property
    def report(self) -> BrokerReport:
        """See `ports.broker.Broker.report`."""
        ours = BrokerReport(self._under_way, self._bytes, self._acknowledged, self._failed)
        if self._alone is None:
            return ours
        return total((ours, self._alone.report))

    def stop(self) -> None:
        """Collect no more."""
        self._closing = True
        self._timer.cancel()

    async def close(self) -> None:
        """Wait a moment for what is under way, then stop."""
        self.stop()
        await asyncio.to_thread(self._producer.flush, _FLUSH_SECONDS)
        if self._alone is not None:
            await self._alone.close()

    def _send_alone(self, sending: _Sending) -> None:
        if self._closing:
            sending.on_acknowledged(-1, -1, Fault("the orchestrator is shutting down"))
            return
        if self._alone is None:
            self._alone = Records(self._config, singly=True, delivery_seconds=self._delivery_seconds)
        fault = self._alone.send(
            sending.topic, sending.key, sending.value, sending.headers, sending.on_acknowledged, sending.partition
        )
        if fault is not None:
            sending.on_acknowledged(-1, -1, fault)

    def _collect_in(self, seconds: float) -> None:
        self._timer.cancel()
        self._collect_at = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._collect_at, self._collect)

    def _collect(self) -> None:
        self._producer.poll(0)
        answers = self._answers.copy()
        self._answers.clear()
        self._under_way -= len(answers)
        self._collect_in(_COLLECT_SECONDS if self._under_way else _IDLE_SECONDS)
        for sending in answers:
            self._bytes -= len(sending.value)
            error = sending.error
            if error is None:
                self._acknowledged += 1
                sending.on_acknowledged(sending.partition, sending.offset, None)
            elif error.code() in _TOO_LARGE and not self._singly:
                # The cluster measures batches: a small record may have been in large company.
                self._send_alone(sending)
            else:
                self._failed += 1
                sending.on_acknowledged(-1, -1, _fault_of(error))


def total(reports: Iterable[BrokerReport]) -> BrokerReport:
    """Add up what several clients say."""
    return BrokerReport(*map(sum, zip(*map(astuple, reports), strict=True)))


def _fault_of(error: KafkaError) -> Fault:
    return Fault(error.str(), is_final=error.code() in _TOO_LARGE)


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka: %s", error.str())
