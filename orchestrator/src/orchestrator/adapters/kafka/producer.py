"""Records out: handed over in the event loop, acknowledged on a thread, told to the loop in batches."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from orchestrator.adapters.kafka.config import DELIVERY_SECONDS, RECORD_BYTES_MAX, KafkaConfig

_log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.05
_QUEUE_MAX: Final = 500_000
"""Records that wait for their acknowledgement; further ones are not taken, and sent later from their rows."""

Headers = list[tuple[str, str | bytes | None]]
"""Names and values, in order."""
Acknowledged = Callable[[int, int, str | None], None]
"""Is told partition, offset and, when the record was not delivered, the reason; called in the event loop."""


class Records:
    """A producer with its thread."""

    def __init__(self, config: KafkaConfig) -> None:
        self._loop = asyncio.get_running_loop()
        self._producer = Producer(
            config.client(
                "producer",
                {
                    "acks": "all",
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "compression.type": "lz4",
                    "partitioner": "murmur2_random",
                    "delivery.timeout.ms": DELIVERY_SECONDS * 1_000,
                    "queue.buffering.max.messages": _QUEUE_MAX,
                    "message.max.bytes": RECORD_BYTES_MAX,
                    "error_cb": _note_error,
                },
            )
        )
        self._answers: list[tuple[Acknowledged, int, int, str | None]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="kafka-producer", daemon=True)
        self._thread.start()

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        headers: Headers,
        on_acknowledged: Acknowledged,
        partition: int = -1,
    ) -> str | None:
        """Hand a record over; gives a reason when it cannot be taken, else ``on_acknowledged`` is called, once."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            answer = (on_acknowledged, -1, -1, str(error)) if error is not None else (
                on_acknowledged, message.partition() or 0, message.offset() or 0, None
            )  # fmt: skip
            self._answers.append(answer)

        try:
            self._producer.produce(topic, value, key, partition, on_delivery=delivered, headers=headers)
        except (BufferError, KafkaException) as error:
            return str(error)
        return None

    def close(self) -> None:
        """Wait a moment for what is under way, then stop."""
        self._closing = True
        self._thread.join()
        self._producer.flush(_POLL_SECONDS * 20)

    def _serve(self) -> None:
        while not self._closing:
            self._producer.poll(_POLL_SECONDS)
            if self._answers:
                answers, self._answers = self._answers, []
                try:
                    self._loop.call_soon_threadsafe(_tell, answers)
                except RuntimeError:
                    # The loop has ended; so will this.
                    return


def _tell(answers: list[tuple[Acknowledged, int, int, str | None]]) -> None:
    for acknowledged, partition, offset, reason in answers:
        acknowledged(partition, offset, reason)


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka: %s", error.str())
