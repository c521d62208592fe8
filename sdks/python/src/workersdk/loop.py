"""The event loop under `Worker.start`: uvloop where it is installed (`workersdk[uvloop]`), else asyncio's own.

And the one way to wait on it that several parts share.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Final

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]


# The collector's first threshold, as each version of Python sets it, and ours.
_THRESHOLDS_OF_PYTHON: Final = frozenset({700, 2_000, 10_000})
_THRESHOLD: Final = 20_000


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run a coroutine on a loop of its own until it is done."""
    with _rare_collections():
        if uvloop is None:
            asyncio.run(main)
        else:
            uvloop.run(main)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the garbage collector look less often, unless the program has said how often.

    Jobs in flight are many, live shortly and hold no cycles: with Python's own thresholds a fifth of the time at a
    thousand jobs in flight goes into looking through them.
    """
    before = gc.get_threshold()
    if before[0] in _THRESHOLDS_OF_PYTHON:
        gc.set_threshold(_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so many seconds at most. What was set before does not count."""
    event.clear()
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return
