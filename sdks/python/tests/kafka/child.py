"""A worker in a process of its own: `python -m tests.kafka.child ACTION...`. What a job does is its payload's word."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from workersdk import Context, Worker


def do(payload: Any, context: Context) -> Any:
    if payload == "die":
        os._exit(9)
    if payload == "stuck":
        print(f"stuck in {context.job_id}", flush=True)
        threading.Event().wait()
    return payload


worker = Worker(
    worker_id=f"w-child-{os.getpid()}",
    concurrency=int(os.environ.get("CONCURRENCY", "8")),
    drain_timeout=float(os.environ.get("DRAIN_TIMEOUT", "10")),
    kafka={"session.timeout.ms": int(os.environ.get("SESSION_MS", "6000")), "heartbeat.interval.ms": 300},
)
for action in sys.argv[1:]:
    worker.register(action, do)
if __name__ == "__main__":
    worker.start()
    print("returned")
