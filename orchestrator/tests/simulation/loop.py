"""An event loop without time and without a world: it jumps to the next moment at which something happens."""

from __future__ import annotations

import asyncio
from asyncio.base_events import BaseEventLoop
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

TURNS_WITHOUT_TIME_MAX: Final = 100_000
"""Turns of the loop at one moment before something is taken to go round in circles."""


class Stalled(BaseException):
    """Nothing can happen any more, or time stands still."""


class _Selector:
    """Waits for no file: to wait is to move the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._turns = 0

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Stalled("every task waits for another")
        if timeout > 0:
            self.now += timeout
            self._turns = 0
        self._turns += 1
        if self._turns > TURNS_WITHOUT_TIME_MAX:
            raise Stalled("the tasks go round in circles and time stands still")
        return []


class VirtualLoop(BaseEventLoop):
    """Asyncio's own loop with a clock that is moved by waiting: same tasks, same order, every time."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()

    def time(self) -> float:
        """Give the seconds since the loop was made."""
        return self._selector.now

    def _process_events(self, event_list: list[object]) -> None:
        assert not event_list

    def _write_to_self(self) -> None:
        raise AssertionError("another thread has no place in a simulation")


def run(main: Coroutine[Any, Any, _T], seconds_max: float) -> _T:
    """Run a coroutine to its end in virtual time.

    Raises:
        Stalled: it is not done after so many virtual seconds.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:

        async def bounded() -> _T:
            try:
                async with asyncio.timeout(seconds_max):
                    return await main
            except TimeoutError:
                raise Stalled(f"not done after {seconds_max:g} virtual seconds") from None

        return runner.run(bounded())
