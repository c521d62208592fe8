"""One life of the orchestrator: from its start over the database that the last life left, to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, TypeVar

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.embedded.roster import MemoryRoster
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.adapters.system import uuid7
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.pipeline import Point
from orchestrator.app.plans import Plans
from orchestrator.app.waits import Caller
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Time
from tests.simulation.journal import Journal
from tests.simulation.options import Fault, Options
from tests.simulation.store import FaultyStore

_T = TypeVar("_T")

Request = Callable[[Orchestrator, Caller], Awaitable[_T]]
"""What a caller asks of a process; runs inside it."""

POINTS: Final[tuple[Point, ...]] = ("batch.begun", "batch.written", "batch.committed", "batch.published")
EPOCH: Final = 1_800_000_000 * MICROS


class ProcessDied(BaseException):
    """The machine stopped at this point."""


class Surroundings(Protocol):
    """What a process finds around it."""

    options: Options
    journal: Journal
    database: Database
    chance: random.Random
    wall_offset: float
    """Seconds by which the time of day was set."""

    def strikes(self, fault: Fault) -> bool:
        """Say whether a fault strikes here and now."""
        ...


class SimulatedClock:
    """See `ports.clock.Clock`: virtual seconds, and a time of day that somebody sets."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._now = self._wall()
        self._monotonic = self.monotonic()

    def now(self) -> Time:
        monotonic = self.monotonic()
        self._now = max(self._wall(), self._now + monotonic - self._monotonic)
        self._monotonic = monotonic
        return Time(self._now)

    def monotonic(self) -> int:
        return round(self._surroundings.journal.second() * MICROS)

    def _wall(self) -> int:
        return EPOCH + self.monotonic() + round(self._surroundings.wall_offset * MICROS)


class SimulatedChance:
    """See `ports.clock.Chance`."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def run_id(self, now: Time) -> RunId:
        return uuid7(now, self._chance.getrandbits(74))

    def draw(self) -> float:
        return self._chance.random()


class Process:
    """The orchestrator with nothing in memory but what it finds in the database."""

    def __init__(self, number: int, surroundings: Surroundings) -> None:
        self.number = number
        self.up = asyncio.Event()
        self.served = False
        self.dead = False
        self.dies_at: Point | None = None
        """The failpoint at which it dies when it gets there next."""
        self._journal = surroundings.journal
        self._stopping = asyncio.Event()
        self._requests: dict[asyncio.Task[Any], None] = {}
        self._over = asyncio.Event()
        self.life: asyncio.Task[None] | None = None
        options, database, plans = surroundings.options, surroundings.database, Plans()
        limits = options.limits
        self.store = SqliteStore(database, plans.fold, limits.open_runs_cached_max)
        self.queue = EmbeddedQueue(limits.ready_jobs_max, limits.ready_bytes_max)
        self.orchestrator = Orchestrator(
            store=FaultyStore(self.store, number, self._journal, surroundings.strikes),
            queries=SqliteQueries(database),
            queue=self.queue,
            clock=SimulatedClock(surroundings),
            chance=SimulatedChance(surroundings.chance),
            limits=limits,
            plans=plans,
            roster=MemoryRoster(SimulatedClock(surroundings)),
            reach=self._reach,
        )

    async def live(self) -> None:
        """Serve until it is asked to stop, or dies."""
        self._journal.note(f"life {self.number} begins")
        self.life = life = asyncio.create_task(self._serve(), name=f"life {self.number}")
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait([life, over], return_when=asyncio.FIRST_COMPLETED)
        self.up.clear()
        for request in self._requests:
            request.cancel()
        if self.dead:
            # It is not there to take anything down in order; what it would do on the way is never done.
            life.cancel()
        else:
            over.cancel()
            await life

    async def _serve(self) -> None:
        try:
            async with self.orchestrator.running():
                await self._recovered()
                self.up.set()
                self.served = True
                services = list(self.orchestrator.life.services)
                stopping = asyncio.create_task(self._stopping.wait())
                await asyncio.wait([stopping, *services], return_when=asyncio.FIRST_COMPLETED)
                stopping.cancel()
                self.up.clear()
                for service in services:
                    if service.done() and not self.dead:
                        self._journal.violate("I12", f"the {service.get_name()} service ended: {service.exception()!r}")
                self.orchestrator.life.shut()
                if self._requests:
                    await asyncio.wait(list(self._requests))
        except OrchestratorError as error:
            self._journal.note(f"life {self.number} could not begin: {error}")

    async def _recovered(self) -> None:
        """A lease that was found in the store begins anew."""
        for row in await self.store.leased():
            self._journal.grants[row.run_id, row.step, row.attempt][-1].signs.append(self._journal.second())
            self._journal.met("lease outlived its orchestrator")

    def handle(self, request: Request[_T], caller: Caller) -> asyncio.Task[_T]:
        """Let a request in."""

        async def answer() -> _T:
            return await request(self.orchestrator, caller)

        task = asyncio.create_task(answer())
        self._requests[task] = None
        task.add_done_callback(lambda done: self._requests.pop(done, None))
        return task

    def stop(self) -> None:
        """Ask it to finish what it does and go."""
        self._stopping.set()

    def die(self, where: str) -> None:
        """Stop everything between two instructions: nothing that was in memory is left."""
        if not self.dead:
            self._journal.met(f"orchestrator died {where}")
            self.dead = True
            self._over.set()

    def _reach(self, point: Point) -> None:
        if self.dead:
            raise ProcessDied
        if self.dies_at == point:
            self.die(f"at {point}")
            raise ProcessDied
