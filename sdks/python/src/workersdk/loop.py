"""The event loop under `Worker.start`: uvloop where it is installed (`workersdk[uvloop]`), else asyncio's own."""

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
