"""A question that many may ask: asked once at a time, and its answer is good for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from orchestrator.model.errors import OrchestratorError, Unavailable

_T = TypeVar("_T")


class Look(Generic[_T]):
    """Any number of callers cost the part that is asked one question in ``good_seconds``."""

    def __init__(self, ask: Callable[[], Awaitable[_T]], good_seconds: float, patience_seconds: float) -> None:
        """Ask nothing yet.

        Args:
            ask: the question; raises `model.errors.OrchestratorError` where there is no answer.
            good_seconds: how long an answer is given to those who ask later.
            patience_seconds: how long a caller waits for one.
        """
        self._ask = ask
        self._good_seconds = good_seconds
        self._patience_seconds = patience_seconds
        self._asking: asyncio.Task[_T | OrchestratorError] | None = None
        self._found: tuple[float, _T | OrchestratorError] | None = None

    async def get(self) -> _T | OrchestratorError:
        """Give the answer, or why there is none."""
        now = asyncio.get_running_loop().time()
        if self._found is not None and now - self._found[0] < self._good_seconds:
            return self._found[1]
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
        done, _ = await asyncio.wait([self._asking], timeout=self._patience_seconds)
        silence = Unavailable(f"it has not answered within {self._patience_seconds:g} s")
        found = self._asking.result() if done else silence
        self._found = (asyncio.get_running_loop().time(), found)
        return found

    async def _answer(self) -> _T | OrchestratorError:
        try:
            return await self._ask()
        except OrchestratorError as error:
            return error

    def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
