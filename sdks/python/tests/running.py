"""A worker that runs beside a test, in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.gateway import WAIT_FOR_S, Gateway
from workersdk import Worker


@asynccontextmanager
async def running(worker: Worker, gateway: Gateway) -> AsyncIterator[asyncio.Task[None]]:
    """Run a worker until the block ends; it must then leave in good order."""
    task = asyncio.create_task(worker.run(gateway.url))
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait_for(task, WAIT_FOR_S)


async def do(handler: Callable[..., Any], payload: Any = None, **fields: Any) -> dict[str, Any]:
    """Have a worker do one job with a handler; return the recorded result."""
    worker = Worker(concurrency=4)
    worker.register("act", handler)
    async with Gateway() as gateway, running(worker, gateway):
        return await gateway.result_of(await gateway.give("act", payload, **fields))


async def eventually(condition: Callable[[], Any]) -> None:
    """Return when a condition holds that no event tells of; fail after a few seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_FOR_S
    while not condition():
        assert loop.time() < end, "the condition did not come true"
        await asyncio.sleep(0.001)
