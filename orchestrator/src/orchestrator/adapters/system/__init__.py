"""The machine's clock and randomness."""

from __future__ import annotations

import os
import random
import time

from orchestrator.model.run import RunId
from orchestrator.model.times import Time


class SystemClock:
    """See `ports.clock.Clock`.

    Follows the machine's time of day forward; when that is set back, goes on at the pace of the monotonic clock until
    the time of day has caught up, so that no timer waits for an hour to pass twice.
    """

    def __init__(self) -> None:
        self._now = time.time_ns() // 1_000
        self._monotonic = self.monotonic()

    def now(self) -> Time:
        """See `ports.clock.Clock.now`."""
        monotonic = self.monotonic()
        self._now = max(time.time_ns() // 1_000, self._now + monotonic - self._monotonic)
        self._monotonic = monotonic
        return Time(self._now)

    def monotonic(self) -> int:
        """See `ports.clock.Clock.monotonic`."""
        return time.monotonic_ns() // 1_000


class SystemChance:
    """See `ports.clock.Chance`."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(16))

    def run_id(self, now: Time) -> RunId:
        """See `ports.clock.Chance.run_id`."""
        return uuid7(now, self._random.getrandbits(74))

    def draw(self) -> float:
        """See `ports.clock.Chance.draw`."""
        return self._random.random()


def uuid7(now: Time, bits: int) -> RunId:
    """Write a UUID of version 7 (RFC 9562, 5.7) from a time and 74 random bits."""
    number = (now // 1_000) << 80 | 0x7 << 76 | (bits >> 62) << 64 | 0b10 << 62 | bits & (1 << 62) - 1
    text = f"{number:032x}"
    return RunId(f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")
