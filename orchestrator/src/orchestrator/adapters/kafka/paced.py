"""A question whose answer grows with the cluster: it is asked so seldom that it costs little, however large that is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, Generic, TypeVar

from confluent_kafka import KafkaException

SHARE_MAX: Final = 0.02
"""How much of the time may be spent on one question."""
PAUSE_SECONDS_MAX: Final = 10.0
"""How old an answer becomes at most, however long it took to come."""

_T = TypeVar("_T")


class Paced(Generic[_T]):
    """Gives the last answer, also a failure, until `SHARE_MAX` allows to ask again; any thread may."""

    def __init__(self, ask: Callable[[], _T]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._answer: _T | KafkaException | None = None
        self._due = 0.0

    def get(self) -> _T:
        """Give the answer, or raise the failure."""
        with self._lock:
            answer = self._answer
            if answer is None or monotonic() >= self._due:
                began = monotonic()
                try:
                    answer = self._ask()
                except KafkaException as error:
                    answer = error
                ended = monotonic()
                self._answer, self._due = answer, ended + min((ended - began) / SHARE_MAX, PAUSE_SECONDS_MAX)
            if isinstance(answer, KafkaException):
                raise answer
            return answer
