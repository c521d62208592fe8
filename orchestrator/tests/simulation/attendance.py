"""Looks again and again whether a job waits beside a worker that waits for such a job."""

from __future__ import annotations

import asyncio
from typing import Final

from orchestrator.app.polls import Poll
from orchestrator.model.job import Job
from tests.simulation.process import Process
from tests.simulation.world import World

LOOK_SECONDS: Final = 0.4
PATIENCE_SECONDS: Final = 1.5
"""A worker that empties its hands for a suspect looks around once a second."""


async def watch(world: World) -> None:
    """Look until the end."""
    since: dict[tuple[int, str, int, int], float] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        process, now = world.process, world.journal.second()
        if process is None or not process.up.is_set():
            since.clear()
            continue
        if process.orchestrator.gateway.overflowed:
            world.journal.met("jobs waited in the store")
        found = _waiting(process)
        since = {key: since.get(key, now) for key in found}
        for key, began in since.items():
            if now - began > PATIENCE_SECONDS:
                world.journal.violate("I13", f"{key} has been waiting beside a free worker since {began:.2f}")


def _waiting(process: Process) -> list[tuple[int, str, int, int]]:
    """Find jobs that a waiting exchange could have."""
    gateway = process.orchestrator.gateway
    polls = [poll for of_worker in gateway._polls._by_worker.values() for poll in of_worker]
    return [
        (process.number, job.run_id, job.step, job.attempt)
        for job in process.queue._held.values()
        if any(_could_take(process, poll, job) for poll in polls)
    ]


def _could_take(process: Process, poll: Poll, job: Job) -> bool:
    gateway = process.orchestrator.gateway
    worker = gateway.workers.get(poll.worker)
    if worker is None or worker.left or worker.draining or job.action not in poll.actions:
        return False
    in_hand = gateway.in_hand(poll.worker)
    if job.alone:
        return not in_hand
    if any(lease.job.alone for lease in in_hand):
        return False
    # Who empties its hands for a suspect takes nothing else.
    return not (process.queue.waiting_alone(worker.actions) and in_hand)
