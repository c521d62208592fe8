"""Which client records go out through: a few at once, many together.

Rule 1: a few records do not wait for others. Many go through a client that waits a moment for the last of them: one
        that does not wait is woken up for each, and sends the first by itself. One client cannot do both.
Rule 2: the client for many is made when it is needed first, and used when it is ready: a process with little to do has
        one client.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.producer import Records, total
from orchestrator.ports.broker import BrokerReport

_log = logging.getLogger(__name__)

MANY: Final = 8
"""From how many records on a burst is worth the wait. A batch of the pipeline is large from as many on."""
LINGER_MS: Final = 2
"""How long the client for many waits: with 1,000 runs in flight, five save nothing more."""
READY_SECONDS: Final = 1.0
"""A new client looks for the leaders of partitions once a second; what it is given before that waits for it."""


class Outlets:
    """The clients of one process for its jobs. Used in the event loop only."""

    def __init__(self, config: KafkaConfig, clock: Callable[[], float] = monotonic) -> None:
        self._config = config
        self._clock = clock
        self._few = Records(config)
        self._many: Records | None = None
        self._ready_at = 0.0

    def for_burst(self, count: int) -> Records:
        """Give the client for so many records."""
        if count < MANY:
            return self._few
        if self._many is None:
            try:
                self._many = Records(self._config, linger_ms=LINGER_MS)
            except KafkaException as error:
                # The process may have no more threads.
                _log.warning("kafka: no client for many records: %s", error)
                return self._few
            self._ready_at = self._clock() + READY_SECONDS
        return self._many if self._clock() >= self._ready_at else self._few

    @property
    def report(self) -> BrokerReport:
        """See `ports.broker.Broker.report`."""
        return total(client.report for client in self._clients())

    def stop(self) -> None:
        """Collect no more acknowledgements."""
        for client in self._clients():
            client.stop()

    async def close(self) -> None:
        """Wait a moment for what is under way, then stop."""
        await asyncio.gather(*(client.close() for client in self._clients()))

    def _clients(self) -> Iterator[Records]:
        yield self._few
        if self._many is not None:
            yield self._many
