"""The in-process broker of the embedded profile."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Final

from orchestrator.model.job import Job
from orchestrator.model.run import RunId
from orchestrator.ports.queue import Room

_GONE_MAX: Final = 100
"""Withdrawn jobs that may stay in memory when few others are held."""


class EmbeddedQueue:
    """See `ports.queue.JobQueue`: a queue per action, bounded in jobs and in bytes."""

    def __init__(self, jobs_max: int, bytes_max: int) -> None:
        self._jobs_max = jobs_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._arrivals = 0
        self._gone = 0
        """Entries of the queues below whose job is held no more."""
        self._held: dict[tuple[RunId, int], Job] = {}
        self._shared: dict[str, deque[tuple[int, Job]]] = {}
        self._alone: dict[str, deque[tuple[int, Job]]] = {}
        self._alone_held: dict[str, int] = {}
        """How many of the held jobs run alone, by action: asked for at every exchange."""

    @property
    def has_room(self) -> bool:
        """See `ports.queue.JobQueue.has_room`."""
        return len(self._held) <= self._jobs_max // 2 and self._bytes <= self._bytes_max // 2

    def publish(self, jobs: Sequence[Job]) -> bool:
        """See `ports.queue.JobQueue.publish`."""
        fitted = True
        for job in jobs:
            key = (job.run_id, job.step)
            held = self._held.get(key)
            if held is not None:
                if held.attempt >= job.attempt:
                    continue
                self.withdraw(*key)
            if len(self._held) >= self._jobs_max or self._bytes >= self._bytes_max:
                fitted = False
                continue
            self._held[key] = job
            if job.alone:
                self._alone_held[job.action] = self._alone_held.get(job.action, 0) + 1
            self._bytes += len(job.payload)
            self._arrivals += 1
            queues = self._alone if job.alone else self._shared
            queue = queues.get(job.action)
            if queue is None:
                queue = queues[job.action] = deque()
            queue.append((self._arrivals, job))
        return fitted

    def take(self, actions: Collection[str], room: Room) -> list[Job]:
        """See `ports.queue.JobQueue.take`."""
        taken: list[Job] = []
        if not self._held:
            return taken
        queues = [queue for action in actions if (queue := self._shared.get(action))]
        while queues and room.jobs:
            queue = queues[0] if len(queues) == 1 else min(queues, key=lambda queue: queue[0][0])
            job = queue[0][1]
            if self._held.get((job.run_id, job.step)) is not job:
                self._gone -= 1
            elif room.takes(job):
                self._release(job)
                taken.append(job)
            else:
                break
            queue.popleft()
            if not queue:
                queues.remove(queue)
        return taken

    def take_alone(self, actions: Collection[str]) -> Job | None:
        """See `ports.queue.JobQueue.take_alone`."""
        while queues := [queue for action in actions if (queue := self._alone.get(action))]:
            job = min(queues, key=lambda queue: queue[0][0]).popleft()[1]
            if self._release(job):
                return job
            self._gone -= 1
        return None

    def waiting_alone(self, actions: Collection[str]) -> int:
        """See `ports.queue.JobQueue.waiting_alone`."""
        if not self._alone_held:
            return 0
        return sum(self._alone_held.get(action, 0) for action in actions)

    def withdraw(self, run_id: RunId, step: int) -> None:
        """See `ports.queue.JobQueue.withdraw`."""
        job = self._held.get((run_id, step))
        if job is not None:
            self._release(job)
            self._gone += 1
            if self._gone > max(len(self._held), _GONE_MAX):
                self._purge()

    def holds(self, run_id: RunId, step: int) -> bool:
        """See `ports.queue.JobQueue.holds`."""
        return (run_id, step) in self._held

    def depths(self) -> dict[str, int]:
        """See `ports.queue.JobQueue.depths`."""
        counts: dict[str, int] = {}
        for job in self._held.values():
            counts[job.action] = counts.get(job.action, 0) + 1
        return counts

    def _purge(self) -> None:
        """Let go of withdrawn jobs: they would stay in memory until their turn, which may never come."""
        self._gone = 0
        for queues in (self._shared, self._alone):
            for action, queue in list(queues.items()):
                kept = deque(entry for entry in queue if self._held.get((entry[1].run_id, entry[1].step)) is entry[1])
                if kept:
                    queues[action] = kept
                else:
                    del queues[action]

    def _release(self, job: Job) -> bool:
        """Stop holding a job; False when it was withdrawn before. Its place in a queue is skipped later."""
        key = (job.run_id, job.step)
        if self._held.get(key) is not job:
            return False
        del self._held[key]
        self._bytes -= len(job.payload)
        if job.alone:
            self._alone_held[job.action] -= 1
            if not self._alone_held[job.action]:
                del self._alone_held[job.action]
        return True
