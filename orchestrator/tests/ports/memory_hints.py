"""Hints in the memory of the test's process: what `RedisHints` is measured by, and what tests of the app use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.clock import Clock
from orchestrator.ports.hints import VALUE_BYTES_MAX, HintsReport


class Board:
    """What the processes of one installation share."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.values: dict[bytes, tuple[bytes, Time]] = {}
        self.members: list[MemoryHints] = []


class MemoryHints:
    """See `ports.hints.Hints`: one process's view of a board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._hear: Callable[[list[RunId]], None] = lambda run_ids: None
        self.report = HintsReport()

    async def recall(self, name: bytes) -> bytes | None:
        value, until = self._board.values.get(name, (b"", Time(0)))
        if self.report.condition != "up" or not value or until <= self._board.clock.now():
            self.report.misses += 1
            return None
        self.report.hits += 1
        return value if len(value) <= VALUE_BYTES_MAX else None

    def keep(self, name: bytes, value: bytes, until: Time) -> None:
        if self.report.condition == "up":
            self._board.values[name] = (value, until)
            self.report.kept += 1

    def tell(self, run_ids: Iterable[RunId]) -> None:
        if self.report.condition == "up":
            told = list(run_ids)
            self.report.told += len(told)
            for member in self._board.members:
                if member is not self:
                    member.report.heard += len(told)
                    member._hear(told)

    def listen(self, hear: Callable[[list[RunId]], None]) -> None:
        self._hear = hear

    async def run(self) -> None:
        self._board.members.append(self)
        self.report.condition, self.report.reason, self.report.is_listening = "up", "", True
        try:
            await asyncio.Event().wait()
        finally:
            self._board.members.remove(self)
            self.report.condition, self.report.is_listening = "down", False
