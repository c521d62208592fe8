"""A worker with the SDK in a process of its own: ``python -m tests.chaos.worker LEASE SLOTS [URL]``.

Over Kafka, or where there is an URL over HTTP.
"""

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

WORK_SECONDS = {"slow": kinds.SLOW_SECONDS, "busy": kinds.BUSY_SECONDS}


class Unlucky(Exception):
    """What a handler raises that is told to fail."""


def main(lease: float, slots: int, url: str | None) -> None:
    """Serve until told to stop: over HTTP where there is an URL."""
    stop_with_parent()
    pen = Pen(Path(os.environ[FOLDER]))

    async def do(payload: dict[str, Any], context: Context) -> dict[str, Any]:
        place = (context.run_id, context.step_index, context.attempt)
        pen.begin(*place)
        action = context.action
        if action == kinds.POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        if payload["kind"] in WORK_SECONDS and action == "prepare":
            await asyncio.sleep(WORK_SECONDS[payload["kind"]])
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
        concurrency=slots,
        lease=lease,
        drain_timeout=5,
        kafka={"session.timeout.ms": kinds.SESSION_SECONDS * 1_000, "heartbeat.interval.ms": 500},
    )
    for action in kinds.ACTIONS:
        worker.register(action, do)
    worker.start(url)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
