"""What librdkafka says about its connections, kept out of the user's log: the worker says it once, in its own words."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import KafkaError


class Quiet:
    """Takes the log lines and the errors of one client. All of it is called on the thread that polls the client."""

    def __init__(self, logger: logging.Logger, on_down: Callable[[str], None] = lambda reason: None) -> None:
        self._logger = logger
        self._on_down = on_down
        self.reason = ""

    def log(self, level: int, message: str, *values: object) -> None:
        """Take a log line; this is the part of a `logging.Logger` that the client uses."""
        self._logger.debug(message, *values)

    def heard(self, error: KafkaError) -> None:
        """Take an error. The one before "all brokers are down" is the one that says why."""
        self._logger.debug("librdkafka: %s", error)
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._on_down(self.reason or error.str())
        else:
            self.reason = _short(error.str())


def _short(text: str) -> str:
    """Leave out what librdkafka adds for its own developers: `(after 0ms in state CONNECT, 1 identical error(s) …)`."""
    return text.partition(" (after ")[0].strip()
