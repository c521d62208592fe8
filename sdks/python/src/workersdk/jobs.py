"""A job in the worker's hands, and the set of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from json.encoder import encode_basestring
from typing import Any, Final, cast

DETAILS_BYTES_MAX: Final = 16 * 1024
TRACE_FIELDS: Final = ("traceparent", "tracestate")
"""Where a run belongs in a distributed trace: fields of a job, or headers of its record; W3C Trace Context."""


class Stop(Enum):
    """Why a job was told to stop."""

    CANCELLED = "its run was cancelled or its attempt timed out"
    LEASE_LOST = "its lease is lost: another worker may have it"
    FENCED = "the orchestrator could not be reached for longer than the lease"
    RELEASED = "the worker is leaving"


class Job:
    """One attempt of one step. `raw` is the job object of the protocol."""

    __slots__ = (
        "attempt",
        "burst",
        "details",
        "details_told",
        "has_begun",
        "has_seen_stop",
        "heartbeat_timeout",
        "id",
        "lease",
        "raw",
        "seen_at",
        "stop",
        "task",
    )

    def __init__(self, raw: dict[str, Any], seen_at: float, burst: int = 0, lease: float = 30.0) -> None:
        if not isinstance(raw["jobId"], str) or not isinstance(raw["attempt"], int):
            raise TypeError("a job has an id and the number of its attempt")
        self.raw = raw
        self.id: str = raw["jobId"]
        self.attempt: int = raw["attempt"]
        self.lease: float = raw.get("lease") or lease
        self.heartbeat_timeout: float | None = raw.get("heartbeatTimeout")
        # When the orchestrator last knew, for certain, that this worker has the job (loop time).
        self.seen_at = seen_at
        self.burst = burst
        self.stop: Stop | None = None
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False
        # Whether its handler knows that it is not wanted: whatever comes of it then may be half a work.
        self.has_seen_stop = False
        # What the handler said last, as JSON, and what of it the orchestrator has.
        self.details: bytes | None = None
        self.details_told: bytes | None = None

    def __repr__(self) -> str:
        return f"<Job {self.raw.get('action')} {self.id} attempt {self.attempt}>"

    def wire_head(self) -> bytes:
        """Return the beginning of every JSON object that names this attempt."""
        return f'{{"jobId":{encode_basestring(self.id)},"attempt":{self.attempt}'.encode()

    def wire_tail(self, *, is_completed: bool) -> bytes:
        """Return the end of the JSON object that is this attempt's result."""
        return b"}"


class JobsInHand:
    """Every job that was taken and has no result yet, also those that were told to stop and still run."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, int], Job] = {}
        self._alone: set[tuple[str, int]] = set()
        self._emptied: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._jobs.values()))

    def add(self, job: Job) -> bool:
        """Take a job in hand; False when its attempt is here already."""
        key = (job.id, job.attempt)
        if self._jobs.setdefault(key, job) is not job:
            return False
        if job.raw.get("alone") is True:
            self._alone.add(key)
        return True

    def remove(self, job: Job) -> None:
        """Take a job out; a job that is not there any more is left alone."""
        self.remove_all((job,))

    def remove_all(self, jobs: Iterable[Job]) -> None:
        """Take jobs out, like `remove`."""
        for job in jobs:
            key = (job.id, job.attempt)
            self._jobs.pop(key, None)
            if self._alone:
                self._alone.discard(key)
        if not self._jobs:
            while self._emptied:
                waiter = self._emptied.pop()
                if not waiter.done():
                    waiter.set_result(None)

    def has_alone(self) -> bool:
        """Tell whether a job is here that must have no neighbours."""
        return bool(self._alone)

    def holds(self, job: Job) -> bool:
        return self._jobs.get((job.id, job.attempt)) is job

    def find(self, reference: Mapping[str, Any]) -> Job | None:
        """Return the attempt that an object with `jobId` and `attempt` names, if it is here."""
        return self._jobs.get((reference["jobId"], reference["attempt"]))

    def find_all(self, references: Iterable[Mapping[str, Any]]) -> list[Job]:
        """Return the attempts that are here."""
        return [job for reference in references if (job := self.find(reference)) is not None]

    def heartbeat_timeout_min(self) -> float | None:
        """Return the shortest heartbeat time-out among the jobs, in seconds, if any has one."""
        return min((job.heartbeat_timeout for job in self._jobs.values() if job.heartbeat_timeout), default=None)

    async def wait_empty(self) -> None:
        if self._jobs:
            waiter = cast("asyncio.Future[None]", asyncio.get_running_loop().create_future())
            self._emptied.append(waiter)
            await waiter
