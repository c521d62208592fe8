"""Who is there, asked: the list that all processes share, and what this one knows better.

A worker that registered here is known here to the moment; of the others the list says what was so seconds ago.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from enum import Enum, auto
from typing import Final, NamedTuple

from orchestrator.app import views
from orchestrator.app.gateway import Gateway
from orchestrator.app.look import Look
from orchestrator.app.silent import SilentReaders
from orchestrator.app.workers import Worker, WorkerStatus
from orchestrator.model.errors import OrchestratorError, Unavailable, WorkerNotDrainable, WorkerNotFound
from orchestrator.model.job import JobRow
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.model.view import JobInHand, Unserved, WorkerView
from orchestrator.model.worker import Transport
from orchestrator.ports.clock import Clock
from orchestrator.ports.roster import Presence, Roster

GOOD_SECONDS: Final = 1.0
"""How old an answer of the list may be that a run's reason for waiting is told from: any number of readers cost the
database two reads in this time."""
PATIENCE_SECONDS: Final = 30.0
"""How long who asks waits for it: as long as for any other read."""


class Staff(NamedTuple):
    """Who could do the jobs of an action."""

    free: int
    """Workers that get jobs, as far as is known."""
    busy: int
    """Workers whose hands are full."""
    draining: int
    """Workers that finish what they have."""


class _Place(Enum):
    """What a worker is to a job that waits."""

    FREE = auto()
    BUSY = auto()
    DRAINING = auto()
    GONE = auto()


class _Seen(NamedTuple):
    at_on: int
    """When it was taken, on the monotonic clock."""
    workers: dict[str, Presence]
    by_action: dict[str, list[str]]
    in_hand: Counter[str]
    """Jobs by worker, those left out that this process has handed out."""


class Roll:
    """Answers for people; nothing is decided by it."""

    def __init__(
        self, roster: Roster, gateway: Gateway, clock: Clock, limits: Limits, silent: SilentReaders | None = None
    ) -> None:
        self._roster = roster
        self._gateway = gateway
        self._clock = clock
        self._limits = limits
        self._silent = silent
        self._kept = Duration(round(limits.worker_forget_seconds * MICROS))
        self._look = Look(self._ask, GOOD_SECONDS, PATIENCE_SECONDS)

    async def workers(self) -> list[WorkerView]:
        """List the workers of all processes, in the order in which they came."""
        look_on = self._clock.monotonic()
        found = {one.worker_id: one for one in await self._roster.known(self._kept, self._limits.workers_max)}
        jobs = self._by_worker(await self._roster.in_hand(self._limits.in_hand_listed_max))
        here = [
            worker
            for worker in self._gateway.workers.all()
            if self._knows(worker, found.get(worker.worker_id), look_on)
        ]
        shown = [self._view_of(worker, jobs[worker.worker_id]) for worker in here]
        for worker in here:
            found.pop(worker.worker_id, None)
        shown += [self._view_of_other(one, jobs[one.worker_id]) for one in found.values()]
        return sorted(shown, key=lambda view: (view.registered_at, view.worker_id))

    async def worker(self, worker_id: str) -> WorkerView:
        """Read one worker.

        Raises:
            WorkerNotFound: no process knows it.
        """
        look_on = self._clock.monotonic()
        found = await self._roster.find(worker_id, self._kept)
        worker = self._gateway.workers.get(worker_id)
        jobs = self._by_worker(await self._roster.in_hand(self._limits.in_hand_listed_max, worker_id))
        if worker is not None and self._knows(worker, found, look_on):
            return self._view_of(worker, jobs[worker_id])
        if found is None:
            raise WorkerNotFound(f"no worker is known as {worker_id!r}; GET /workers lists them")
        return self._view_of_other(found, jobs[worker_id])

    async def drain(self, worker_id: str) -> WorkerView:
        """Ask a worker to finish what it has and go, whichever process it calls.

        Raises:
            WorkerNotFound: no process knows it.
            WorkerNotDrainable: it is not called, so that nobody can tell it.
        """
        look_on = self._clock.monotonic()
        found = await self._roster.find(worker_id, self._kept)
        here = self._gateway.workers.get(worker_id)
        if here is not None and self._knows(here, found, look_on):
            self._gateway.drain(worker_id)
        elif not await self._roster.drain(worker_id):
            worker = await self.worker(worker_id)
            if worker.status == WorkerStatus.GONE:
                raise WorkerNotFound(f"{worker_id!r} has gone")
            raise WorkerNotDrainable(
                f"{worker_id!r} reads its jobs from Kafka, and is not told to go by the orchestrator: stop its process "
                "with SIGTERM, and it finishes what it has"
            )
        return await self.worker(worker_id)

    async def count(self) -> Counter[tuple[Transport, WorkerStatus]]:
        """Count the workers of all processes by how they come and how they are."""
        seen = await self._seen()
        now_on = self._clock.monotonic()
        workers = self._gateway.workers.all()
        here = [one for one in workers if self._knows(one, seen.workers.get(one.worker_id), seen.at_on)]
        counts = Counter((one.about.transport, one.status(now_on)) for one in here)
        known = {one.worker_id for one in here}
        counts.update(
            (one.about.transport, _status(one, now_on - seen.at_on))
            for worker_id, one in seen.workers.items()
            if worker_id not in known
        )
        return counts

    async def staff(self, action: str) -> Staff:
        """Count who could do the jobs of an action."""
        seen = await self._seen()
        places = Counter(place for place, _ in self._places(seen, action))
        return Staff(places[_Place.FREE], places[_Place.BUSY], places[_Place.DRAINING])

    async def unserved(self, actions: Collection[str]) -> Unserved:
        """Find those of some actions that no connected worker has a handler for, and who may have one."""
        seen = await self._seen()
        served = {
            action
            for place, known in self._places(seen, None)
            if place in {_Place.FREE, _Place.BUSY}
            for action in known
        }
        lonely = sorted(set(actions) - served)
        found = [] if self._silent is None else await self._silent.all()
        groups = {one.group for one in found or () if not one.action or one.action in lonely}
        return Unserved(actions=lonely, groups=sorted(groups))

    async def silent(self, action: str) -> list[str] | None:
        """Name the groups that may take jobs of an action and give no signs of life; None when nobody can tell."""
        return [] if self._silent is None else await self._silent.of(action)

    def close(self) -> None:
        """Stop asking."""
        self._look.close()
        if self._silent is not None:
            self._silent.close()

    # --- inside --------------------------------------------------------------------------------------------------

    async def _seen(self) -> _Seen:
        found = await self._look.get()
        if isinstance(found, OrchestratorError):
            raise Unavailable(str(found))
        return found

    async def _ask(self) -> _Seen:
        at_on = self._clock.monotonic()
        found = await self._roster.known(self._kept, self._limits.workers_max)
        rows = await self._roster.in_hand(self._limits.in_hand_listed_max)
        by_action: dict[str, list[str]] = defaultdict(list)
        for one in found:
            for action in one.about.actions:
                by_action[action].append(one.worker_id)
        in_hand = Counter(row.worker or "" for row in self._handed_out_elsewhere(rows))
        return _Seen(at_on, {one.worker_id: one for one in found}, by_action, in_hand)

    def _places(self, seen: _Seen, action: str | None) -> Iterator[tuple[_Place, tuple[str, ...]]]:
        """Say how workers are and what they do: those of an action, or all."""
        now_on = self._clock.monotonic()
        for worker in self._gateway.workers.all():
            if (action is None or action in worker.about.actions) and self._is_known_best(worker, seen):
                is_full = self._gateway.is_full(worker, seen.in_hand[worker.worker_id])
                yield _place(worker.status(now_on), is_full=is_full), worker.about.actions
        for worker_id in seen.workers if action is None else seen.by_action.get(action, ()):
            here = self._gateway.workers.get(worker_id)
            if here is None or not self._is_known_best(here, seen):
                one = seen.workers[worker_id]
                # What lasts is in a row; how many short ones there are, only the worker knows.
                most = one.about.concurrency
                is_full = one.is_full or (most is not None and seen.in_hand[worker_id] >= most)
                yield _place(_status(one, now_on - seen.at_on), is_full=is_full), one.about.actions

    def _is_known_best(self, worker: Worker, seen: _Seen) -> bool:
        return self._knows(worker, seen.workers.get(worker.worker_id), seen.at_on)

    def _knows(self, worker: Worker, one: Presence | None, look_on: int) -> bool:
        """Whether this process knows a worker that registered here better than the list, or as well."""
        return one is None or one.is_ours or bool(worker.waiting) or worker.seen_on >= look_on - one.seen_ago

    def _handed_out_elsewhere(self, rows: list[JobRow]) -> Iterator[JobRow]:
        for row in rows:
            if self._gateway.lease_of(row.run_id, row.step) is None:
                yield row

    def _by_worker(self, rows: list[JobRow]) -> defaultdict[str, list[JobInHand]]:
        jobs: defaultdict[str, list[JobInHand]] = defaultdict(list)
        for row in self._handed_out_elsewhere(rows):
            jobs[row.worker or ""].append(views.job_of_row(row))
        return jobs

    def _view_of(self, worker: Worker, jobs: list[JobInHand]) -> WorkerView:
        jobs = jobs + [views.job_in_hand(lease) for lease in self._gateway.in_hand(worker.worker_id)]
        status = worker.status(self._clock.monotonic())
        return views.worker_view(worker.worker_id, worker.about, status, worker.registered_at, worker.seen_at, jobs)

    def _view_of_other(self, one: Presence, jobs: list[JobInHand]) -> WorkerView:
        now = self._clock.now()
        registered_at, seen_at = Time(now - one.registered_ago), Time(now - one.seen_ago)
        return views.worker_view(one.worker_id, one.about, _status(one, 0), registered_at, seen_at, jobs)


def _status(one: Presence, later: int) -> WorkerStatus:
    """Say how a worker is so many microseconds after it was read."""
    if one.has_left or one.good_for <= later:
        return WorkerStatus.GONE
    return WorkerStatus.DRAINING if one.is_draining else WorkerStatus.CONNECTED


def _place(status: WorkerStatus, *, is_full: bool) -> _Place:
    if status is WorkerStatus.CONNECTED:
        return _Place.BUSY if is_full else _Place.FREE
    return _Place.DRAINING if status is WorkerStatus.DRAINING else _Place.GONE
