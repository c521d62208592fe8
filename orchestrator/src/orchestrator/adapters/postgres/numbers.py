"""The numbers of runs: given out by the database in blocks, so that a process rarely has to ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

BLOCK: Final = 1_000
"""Numbers in a block. Part of the schema: every process has to count the same."""

_NEXT: Final = "SELECT nextval('run_blocks') FROM generate_series(1, $1::int)"

Fetch = Callable[..., Awaitable[list[Any]]]


class RunNumbers:
    """Numbers that no other process has. They grow within a process; between processes, by a block or so."""

    def __init__(self) -> None:
        self._free: list[range] = []
        self._left = 0

    async def reserve(self, fetch: Fetch, count: int) -> None:
        """See that so many can be taken, by asking for blocks as rows of one statement.

        To be called right before they are taken, without anything awaited between.
        """
        while self._left < count:
            blocks = -(-(count - self._left) // BLOCK)
            for (number,) in await fetch(_NEXT, blocks):
                self._free.append(range(number * BLOCK, (number + 1) * BLOCK))
                self._left += BLOCK

    def take(self) -> int:
        """Give the next number."""
        block = self._free[0]
        if len(block) == 1:
            self._free.pop(0)
        else:
            self._free[0] = block[1:]
        self._left -= 1
        return block[0]
