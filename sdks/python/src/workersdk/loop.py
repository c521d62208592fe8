"""The event loop under `Worker.start`: uvloop where it is installed (`workersdk[uvloop]`), else asyncio's own.

And the one way to wait on it that several parts share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]


def run_loop(main: Coroutine[object, object, None]) -> None:
    """Run a coroutine on a loop of its own until it is done."""
    if uvloop is None:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, so many seconds at most. What was set before does not count."""
    event.clear()
    try:
        await asyncio.wait_for(event.wait(), max(0.0, seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return
