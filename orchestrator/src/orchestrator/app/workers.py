"""Workers that have registered with this process: kept in memory, forgotten a while after they went away."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.app.waits import Caller
from orchestrator.model.errors import Busy, WorkerNotFound
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Time
from orchestrator.model.wire import AttemptRef
from orchestrator.model.worker import About


class WorkerStatus(StrEnum):
    """Whether a worker gets jobs."""

    CONNECTED = "CONNECTED"
    """It asked, or beat, within its lease."""
    DRAINING = "DRAINING"
    """An operator asked it to finish and go."""
    GONE = "GONE"
    """It left, and comes back by registering; or it was silent for longer than its lease, until any call of it."""


@dataclass(slots=True)
class Worker:
    """A worker process. Times named ``…_on`` are of the monotonic clock, in microseconds."""

    worker_id: str
    about: About
    lease: int
    """Microseconds a sign of life is good for."""
    registered_at: Time
    seen_at: Time
    seen_on: int
    draining: bool = False
    left: bool = False
    cancelled: list[AttemptRef] = field(default_factory=list)
    """Attempts it has to be told to stop."""
    waiting: int = 0
    """Exchanges that wait for a job."""
    callers: set[Caller] = field(default_factory=set)
    """The connections it called on."""

    @property
    def actions(self) -> tuple[str, ...]:
        """What it has handlers for."""
        return self.about.actions

    def seen(self, now: Time, now_on: int, caller: Caller | None) -> None:
        """Note a call."""
        self.seen_at = now
        self.seen_on = now_on
        if caller is not None and caller not in self.callers:
            self.callers = {*(known for known in self.callers if known.is_there), caller}

    @property
    def has_hung_up(self) -> bool:
        """Whether none of its connections is open any more: what a process that died leaves behind at once."""
        return not any(caller.is_there for caller in self.callers)

    def status(self, now_on: int) -> WorkerStatus:
        """Say whether it gets jobs."""
        if self.left or (not self.waiting and now_on - self.seen_on > self.lease):
            return WorkerStatus.GONE
        return WorkerStatus.DRAINING if self.draining else WorkerStatus.CONNECTED


class Workers:
    """The register."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._workers: dict[str, Worker] = {}

    def add(self, worker: Worker) -> None:
        """Register a worker; one of the same id is replaced.

        Raises:
            Busy: there are too many.
        """
        if worker.worker_id not in self._workers and len(self._workers) >= self._limits.workers_max:
            raise Busy(f"{self._limits.workers_max:,} workers are registered already (workers_max)")
        self._workers[worker.worker_id] = worker

    def get(self, worker_id: str) -> Worker | None:
        """Find a worker; None when it is not registered with this process."""
        return self._workers.get(worker_id)

    def find(self, worker_id: str) -> Worker:
        """Find a worker.

        Raises:
            WorkerNotFound: it is not registered with this process.
        """
        worker = self._workers.get(worker_id)
        if worker is None:
            raise WorkerNotFound(
                f"no worker is registered as {worker_id!r}; register with POST /workers and repeat the call"
            )
        return worker

    def all(self) -> list[Worker]:
        """List all, in order of registration."""
        return list(self._workers.values())

    def forget(self, now_on: int) -> None:
        """Remove those that went away long ago."""
        after = round(self._limits.worker_forget_seconds * MICROS)
        for worker in self.all():
            if worker.status(now_on) is WorkerStatus.GONE and now_on - worker.seen_on > after:
                del self._workers[worker.worker_id]
