"""Which partition the results of a run go to: its home, said in the run's id.

A worker that spreads results over the partitions lets each process find what another one wrote last. With a home a run
stays with the process that reads there: the one that has started it, as long as partitions do not move.

Rule 1: the home is the last digits of the run's id, modulo the number of partitions. So each process says the same of a
        run at any time, and a dead letter has the headers of its job.
Rule 2: a new run is at home in a partition that this process reads, and those of the next second in the next of them:
        each partition takes a request of its own, and may be at another broker.
Rule 3: a process that is behind, or reads no results, lets chance choose: the runs that it starts are then anybody's.
Rule 4: a home is a wish. Results that come to another process, as after partitions have moved, are as good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.clock import Chance

STAY_SECONDS: Final = 1.0
"""How long new runs are given the same home."""
BEHIND_SECONDS: Final = 0.25
"""Who has more before it than it took within so long, of late, is behind."""
WAITING_MIN: Final = 1_000
"""Fewer records are nothing to be behind with."""
HEADER: Final = "wf-result-partition"
_DIGITS: Final = 4
"""Hexadecimal digits of an id that say where the run is at home. They are random, whatever the id was made of."""
_NUMBERS: Final = 16**_DIGITS


class Homes:
    """What one process knows of the homes of runs."""

    def __init__(self, partitions: int, clock: Callable[[], float] = monotonic) -> None:
        """Begin with the number of partitions; without any (0), runs have no home."""
        self._headers = [((HEADER, b"%d" % partition),) for partition in range(partitions)]
        self._clock = clock
        self._read: Sequence[int] = ()
        self._is_behind = False
        self._turn = 0
        self._since = 0.0

    def note(self, partitions: Sequence[int], waiting: int, taken_per_second: float) -> None:
        """Take what was last seen: which partitions this process reads, how much waits there, how fast it is taken.

        Safe to call from any thread.
        """
        self._read = partitions
        self._is_behind = waiting > max(WAITING_MIN, taken_per_second * BEHIND_SECONDS)

    def header_of(self, run_id: RunId) -> tuple[tuple[str, bytes], ...]:
        """Give the header that tells a worker where the results of a run are read, if that is known."""
        headers = self._headers
        try:
            return headers[int(run_id[-_DIGITS:], 16) % len(headers)]
        except (ValueError, ZeroDivisionError):
            return ()

    def settle(self, run_id: RunId) -> RunId:
        """Give a new run its home: the same id, but for its last digits."""
        read, count = self._read, len(self._headers)
        if not read or not count or self._is_behind:
            return run_id
        now = self._clock()
        if now - self._since >= STAY_SECONDS:
            self._since = now
            self._turn += 1
        home = read[self._turn % len(read)]
        number = int(run_id[-_DIGITS:], 16)
        number += home - number % count
        if number >= _NUMBERS:
            number -= count
        return RunId(f"{run_id[:-_DIGITS]}{number:0{_DIGITS}x}")


class SettledChance:
    """See `ports.clock.Chance`: another one, whose runs are given their homes."""

    def __init__(self, chance: Chance, homes: Homes) -> None:
        self._chance = chance
        self._homes = homes

    def run_id(self, now: Time) -> RunId:
        """See `ports.clock.Chance.run_id`."""
        return self._homes.settle(self._chance.run_id(now))

    def draw(self) -> float:
        """See `ports.clock.Chance.draw`."""
        return self._chance.draw()
