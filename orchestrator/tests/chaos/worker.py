"""A worker with the SDK over Kafka, in a process of its own: ``python -m tests.chaos.worker NAME LEASE``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from workersdk import Context, Worker

from orchestrator.demo.lifeline import stop_with_parent
from tests.chaos import kinds
from tests.chaos.journal import FOLDER, Pen

CONCURRENCY = 40


class Unlucky(Exception):
    """What a handler raises that is told to fail."""


def main(name: str, lease: float) -> None:
    """Serve until told to stop."""
    stop_with_parent()
    pen = Pen(Path(os.environ[FOLDER]))

    async def do(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        place = (context.run_id, context.step_index, context.attempt)
        pen.begin(*place)
        action = context.action
        if action == kinds.POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if payload["kind"] == "slow" and action == "prepare":
            await asyncio.sleep(kinds.SLOW_SECONDS)
        elif action == "wait":
            await asyncio.sleep(kinds.ENDLESS_SECONDS)
        if action == "fail" or (
            context.attempt == 1 and (action == "prove" or (payload["kind"] == "flaky" and action == "prepare"))
        ):
            raise Unlucky(f"attempt {context.attempt} of {payload['number']} fails")
        result = kinds.after(payload, action)
        pen.end(*place)
        return result

    worker = Worker(
        worker_id=f"{name}-{os.getpid()}",
        concurrency=CONCURRENCY,
        lease=lease,
        drain_timeout=5,
        kafka={"session.timeout.ms": 6_000, "heartbeat.interval.ms": 500},
    )
    for action in kinds.ACTIONS:
        worker.register(action, do)
    worker.start()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
