"""Which worker has which job, and until when.

Held in memory, measured by the monotonic clock. A lease that lasts is written to the store by `Timers`, so that a new
process knows of it; one that ends quickly never costs a write.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.model.job import Job
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import Time

Key = tuple[RunId, int]
"""Run and step."""


@dataclass(slots=True)
class Lease:
    """One attempt in the hands of one worker. Times named ``…_on`` are of the monotonic clock, in microseconds."""

    job: Job
    worker: str
    started_at: Time
    length: int
    """Microseconds a sign of life is good for."""
    ends_on: int
    times_out_on: int | None
    """Start-to-close timeout; None without one."""
    granted_on: int
    recorded: bool = False
    """Whether the store knows that the attempt has started."""
    beats: int = 0
    """Heartbeats of its worker that did not name it, in a row."""
    details: Json | None = None
    """What the worker said last."""

    @property
    def key(self) -> Key:
        """Run and step."""
        return self.job.run_id, self.job.step


def length_of(job: Job, worker_lease: int) -> int:
    """Say how long a sign of life about a job is good for, in microseconds."""
    return worker_lease if job.heartbeat_timeout is None else min(worker_lease, job.heartbeat_timeout)


@dataclass(slots=True)
class Leases:
    """All leases of this process's gateway, by job and by worker."""

    _by_key: dict[Key, Lease] = field(default_factory=dict)
    _by_worker: dict[str, dict[Key, Lease]] = field(default_factory=dict)
    _fresh: dict[Key, Lease] = field(default_factory=dict)

    def grant(self, lease: Lease) -> None:
        """Add a lease; one for the same job is replaced."""
        self.end(lease.key)
        self._by_key[lease.key] = lease
        self._by_worker.setdefault(lease.worker, {})[lease.key] = lease
        if not lease.recorded:
            self._fresh[lease.key] = lease

    def get(self, key: Key) -> Lease | None:
        """Find the lease of a job."""
        return self._by_key.get(key)

    def end(self, key: Key) -> Lease | None:
        """Remove the lease of a job, and give it."""
        lease = self._by_key.pop(key, None)
        if lease is not None:
            self._fresh.pop(key, None)
            of_worker = self._by_worker[lease.worker]
            del of_worker[key]
            if not of_worker:
                del self._by_worker[lease.worker]
        return lease

    def of(self, worker: str) -> list[Lease]:
        """List what a worker has in hand."""
        return list(self._by_worker.get(worker, {}).values())

    def count(self, worker: str) -> int:
        """Count what a worker has in hand."""
        return len(self._by_worker.get(worker, ()))

    def renew(self, lease: Lease, now_on: int, worker_lease: int) -> None:
        """Note a sign of life of a worker whose registration says how long one is good for."""
        lease.length = length_of(lease.job, worker_lease)
        lease.ends_on = now_on + lease.length
        lease.beats = 0

    def unrecorded(self, granted_before_on: int) -> list[Lease]:
        """List the leases granted before a moment that the store does not know of."""
        found: list[Lease] = []
        for lease in self._fresh.values():
            if lease.granted_on > granted_before_on:
                break
            found.append(lease)
        return found

    def note_recorded(self, lease: Lease) -> None:
        """The store knows of a lease now."""
        lease.recorded = True
        if self._fresh.get(lease.key) is lease:
            del self._fresh[lease.key]

    def over(self, now_on: int) -> Iterator[Lease]:
        """Give the leases that have run out and the attempts that have timed out."""
        for lease in list(self._by_key.values()):
            if lease.ends_on <= now_on or (lease.times_out_on is not None and lease.times_out_on <= now_on):
                yield lease

    def __len__(self) -> int:
        return len(self._by_key)
