"""Records on the topic of jobs that are no jobs: passed over, counted, and told once."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from typing import Final

from confluent_kafka import Message

REMEMBERED_MAX: Final = 10_000


class Undecodable:
    """One for a worker. Every consumer of it meets the same records; each record counts once."""

    def __init__(self, logger: logging.Logger) -> None:
        self.count = 0
        self._logger = logger
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str | None, int | None, int | None], None] = OrderedDict()

    def add(self, message: Message, fault: str) -> None:
        """Note a record and why it is no job."""
        place = (message.topic(), message.partition(), message.offset())
        with self._lock:
            if place in self._seen:
                return
            self._seen[place] = None
            if len(self._seen) > REMEMBERED_MAX:
                self._seen.popitem(last=False)
            self.count += 1
            level = logging.WARNING if self.count == 1 else logging.DEBUG
        self._logger.log(
            level,
            "%s partition %s offset %s is not a job and is passed over: %s (further ones are counted, not told)",
            *place,
            fault,
        )
