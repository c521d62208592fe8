"""Which jobs a worker gets.

A job that runs alone (an earlier attempt was lost with its worker) goes to a worker with nothing else in hand, and that
worker gets nothing else until it is done. When all are busy, one of them is reserved: it gets no further jobs until its
hands are empty. A worker that cannot empty them in time goes back to work, and another is tried.
"""

from __future__ import annotations

from typing import Final

from orchestrator.app.lease import Lease, Leases, length_of
from orchestrator.app.workers import Worker
from orchestrator.model.job import Job
from orchestrator.model.times import MICROS
from orchestrator.ports.clock import Clock
from orchestrator.ports.queue import JobSource, Room

RESERVED_SECONDS: Final = 10
"""How long a reserved worker may take to empty its hands."""
RESTED_SECONDS: Final = 30
"""How long it then works as usual before it is reserved again."""


class Assignment:
    """Takes jobs from the queue for a worker, and grants the leases."""

    def __init__(self, queue: JobSource, leases: Leases, clock: Clock, bytes_max: int) -> None:
        self._queue = queue
        self._bytes_max = bytes_max
        self._leases = leases
        self._clock = clock
        self._reserved: dict[str, int] = {}
        """Workers that empty their hands, until when of the monotonic clock."""
        self._rested: dict[str, int] = {}
        """Workers that could not in time, until when they are let alone."""

    def assign(self, worker: Worker, capacity: int) -> list[Lease]:
        """Give up to ``capacity`` jobs to a worker that asks, as many as fit into one answer."""
        if worker.draining or worker.left:
            return []
        if self._has_alone(worker):
            return []
        suspects = self._queue.waiting_alone(worker.actions)
        if suspects:
            if not self._leases.count(worker.worker_id):
                self._reserved.pop(worker.worker_id, None)
                job = self._queue.take_alone(worker.actions)
                return [] if job is None else [self._grant(worker, job)]
            if self._is_reserved(worker, suspects):
                return []
        room = Room(capacity, self._bytes_max)
        return [self._grant(worker, job) for job in self._queue.take(worker.actions, room)]

    def is_closed(self, worker: Worker) -> bool:
        """Whether no job that has just come could go to this worker: it has a suspect, or empties its hands for one."""
        if self._has_alone(worker):
            return True
        reserved = worker.worker_id in self._reserved and self._leases.count(worker.worker_id) > 0
        return reserved and self._queue.waiting_alone(worker.actions) > 0

    def _has_alone(self, worker: Worker) -> bool:
        in_hand = self._leases.count(worker.worker_id)
        return in_hand == 1 and self._leases.of(worker.worker_id)[0].job.alone

    def _is_reserved(self, worker: Worker, suspects: int) -> bool:
        """Whether the worker has to empty its hands; never more workers than there are jobs that need one."""
        now_on = self._clock.monotonic()
        for worker_id, until in list(self._reserved.items()):
            if until <= now_on:
                del self._reserved[worker_id]
                self._rested[worker_id] = now_on + RESTED_SECONDS * MICROS
        if worker.worker_id in self._reserved:
            return True
        if self._rested.get(worker.worker_id, 0) > now_on or len(self._reserved) >= suspects:
            return False
        self._rested.pop(worker.worker_id, None)
        self._reserved[worker.worker_id] = now_on + RESERVED_SECONDS * MICROS
        return True

    def _grant(self, worker: Worker, job: Job) -> Lease:
        now_on = self._clock.monotonic()
        length = length_of(job, worker.lease)
        lease = Lease(
            job=job,
            worker=worker.worker_id,
            started_at=self._clock.now(),
            length=length,
            ends_on=now_on + length,
            times_out_on=None if job.timeout is None else now_on + job.timeout,
            granted_on=now_on,
            details=job.details,
        )
        self._leases.grant(lease)
        return lease
