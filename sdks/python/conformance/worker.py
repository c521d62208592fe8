"""The worker that the conformance kit plays on: `orchestrator conformance -- python sdks/python/conformance/worker.py`.

What its handlers have to do is said in protocol/conformance.md.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from workersdk import Context, NonRetryableError, RetryLater, Worker

JOURNAL = os.environ.get("CONFORMANCE_JOURNAL", os.devnull)
worker = Worker(
    lease=float(os.environ.get("CONFORMANCE_LEASE", "30")),
    drain_timeout=float(os.environ.get("CONFORMANCE_DRAIN", "30")),
)


def note(what: str, context: Context) -> None:
    line = f"{what} {context.action} {context.job_id} {context.attempt} {os.getpid()}\n"
    with open(JOURNAL, "ab", buffering=0) as journal:
        journal.write(line.encode())


async def echo(payload: Any, context: Context) -> Any:
    note("begin", context)
    return payload


async def fail(payload: Any, context: Context) -> Any:
    note("begin", context)
    if context.attempt > payload["until"]:
        return context.attempt
    message = payload.get("message", "")
    if not payload.get("retryable", True):
        raise NonRetryableError(message, payload.get("type"))
    if "retryAfter" in payload:
        raise RetryLater(payload["retryAfter"], message)
    raise ValueError(message)


async def die(payload: Any, context: Context) -> Any:
    note("begin", context)
    if context.attempt <= payload["until"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt


async def wait(payload: Any, context: Context) -> Any:
    note("begin", context)
    try:
        await asyncio.sleep(payload["seconds"])
    except asyncio.CancelledError:
        note("stopped", context)
        raise
    return "waited"


async def progress(payload: Any, context: Context) -> Any:
    note("begin", context)
    told = context.details
    context.heartbeat({"attempt": context.attempt})
    if context.attempt <= payload["until"]:
        raise ValueError("not yet")
    return told


HANDLERS = {"echo": echo, "fail": fail, "die": die, "wait": wait, "progress": progress}
for action in os.environ.get("CONFORMANCE_ACTIONS", ",".join(HANDLERS)).split(","):
    worker.register(action, HANDLERS[action])
if __name__ == "__main__":
    # A group of its own, as the contract's examples have it: jobs are done once all the same.
    worker.start(None, f"group-{os.getpid()}")
