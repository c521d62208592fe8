"""What a job costs in the worker: CPU in large batches, and the time of one step when steps follow each other.

    uv run python -m bench.worker_cost

The orchestrator is the tests' gateway, in this process; the worker runs in a process of its own, and only its CPU time
is counted. The gateway is slow: look at the CPU time, not at the throughput.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from tests.gateway import Gateway
from workersdk import Worker

BATCH_JOBS = 20_000
SEQUENTIAL_STEPS = 1_000
CONCURRENCY = 200


def work(url: str, pipe: Connection) -> None:
    """Run the worker, and tell its CPU seconds whenever it does the job `cpu`."""
    worker = Worker(concurrency=CONCURRENCY)

    @worker.register("cpu")
    async def cpu(payload: Any) -> float:
        return time.process_time()

    @worker.register("async")
    async def no_op(payload: Any) -> Any:
        return payload

    worker.register("sync", lambda payload: payload)
    worker.start(url)
    pipe.send(None)


async def measure() -> dict[str, float]:
    numbers: dict[str, float] = {}
    async with Gateway() as gateway:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(gateway.url, theirs), daemon=True)
        process.start()
        await gateway.until(lambda: gateway.waiting)
        for kind in ("async", "sync"):
            await batch(gateway, kind, 2_000)
            before = await cpu_seconds(gateway)
            calls = len(gateway.exchanges)
            await batch(gateway, kind, BATCH_JOBS)
            numbers[f"{kind}: CPU µs per job"] = (await cpu_seconds(gateway) - before) / BATCH_JOBS * 1e6
            numbers[f"{kind}: jobs per call"] = BATCH_JOBS / (len(gateway.exchanges) - calls)
        for kind in ("async", "sync"):
            before = await cpu_seconds(gateway)
            numbers[f"{kind}: sequential, wall µs per step"] = await sequence(gateway, kind)
            numbers[f"{kind}: sequential, CPU µs per step"] = (
                (await cpu_seconds(gateway) - before) / SEQUENTIAL_STEPS * 1e6
            )
        process.terminate()
        await asyncio.to_thread(process.join, 10)
        ours.close()
    return numbers


async def batch(gateway: Gateway, action: str, count: int) -> None:
    gateway.results.clear()
    for number in range(count):
        gateway.add(action, f"payload {number}")
    await gateway.wake()
    await gateway.until(lambda: len(gateway.results) >= count)


async def sequence(gateway: Gateway, action: str) -> float:
    """Give the next job when the result of the one before is there, as the steps of a run do."""
    gateway.results.clear()
    gateway.follow = lambda: gateway.add(action, "payload") if len(gateway.results) < SEQUENTIAL_STEPS else None
    started = time.perf_counter()
    await gateway.give(action, "payload")
    await gateway.until(lambda: len(gateway.results) >= SEQUENTIAL_STEPS)
    gateway.follow = None
    return (time.perf_counter() - started) / SEQUENTIAL_STEPS * 1e6


async def cpu_seconds(gateway: Gateway) -> float:
    return float((await gateway.result_of(await gateway.give("cpu")))["result"])


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    json.dump({key: round(value, 1) for key, value in asyncio.run(measure()).items()}, sys.stdout, indent=2)
    print()
