"""The parts of one process, how they hang together, and their life from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

from orchestrator.app.attendance import Attendance
from orchestrator.app.broker_leases import BrokerLeases
from orchestrator.app.demand import Demand
from orchestrator.app.duties import EveryDuty, NoDuty
from orchestrator.app.feeding import Feeding
from orchestrator.app.figures import Figures
from orchestrator.app.gateway import Gateway
from orchestrator.app.incoming import Incoming
from orchestrator.app.lease import Leases
from orchestrator.app.outgoing import LETTER_AFTER, Outgoing, resend_after
from orchestrator.app.pipeline import Pipeline, Point
from orchestrator.app.plans import Plans
from orchestrator.app.readiness import Probe, Readiness
from orchestrator.app.roll import Roll
from orchestrator.app.shortcuts import Shortcuts
from orchestrator.app.signs import Signs
from orchestrator.app.silent import SilentReaders
from orchestrator.app.timers import Timers
from orchestrator.app.waits import Waits
from orchestrator.app.watch import Watch
from orchestrator.app.world import BrokerWorld, QueueWorld
from orchestrator.model.errors import OrchestratorError, Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.role import ALL_ROLES, Role
from orchestrator.ports.broker import Broker
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.duties import Duties
from orchestrator.ports.feed import Feed
from orchestrator.ports.hints import Hints
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.queries import Queries
from orchestrator.ports.queue import JobQueue
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store
from orchestrator.ports.strangers import Strangers

_log = logging.getLogger(__name__)


class Route(NamedTuple):
    """The way of jobs through a broker, which any number of processes share.

    Without one, jobs go by this process's own queue, and it does everything.
    """

    broker: Broker
    outbox: Outbox
    duties: Duties = EveryDuty()
    roles: frozenset[Role] = ALL_ROLES
    feed: Feed | None = None
    """What the workers over HTTP of this process get their jobs from; None where it has none."""
    strangers: Strangers | None = None
    """Who else takes jobs from the broker."""


class Life:
    """The parts of one process over its ports. `running` is their life."""

    is_leaving = False
    """Whether the process was asked to go: it goes on answering, and wants no more to do."""
    watch: Watch | None = None
    outgoing: Outgoing | None = None
    incoming: Incoming | None = None
    broker_leases: BrokerLeases | None = None
    feeding: Feeding | None = None

    def __init__(  # noqa: PLR0913, PLR0917 - one parameter a part
        self,
        store: Store,
        queue: JobQueue,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        plans: Plans,
        reach: Callable[[Point], None],
        route: Route | None,
        queries: Queries,
        hints: Hints | None,
        roster: Roster,
    ) -> None:
        self.waits = Waits(limits)
        self.hints = hints
        self.shortcuts = None if hints is None else Shortcuts(hints, store, clock)
        if route is not None:
            # Other processes end runs too.
            self.watch = Watch(self.waits, queries, limits, hints)
            if hints is not None:
                self.waits.tell = lambda run_id: hints.tell((run_id,))
        self.roles = ALL_ROLES if route is None else route.roles
        duties: Duties = EveryDuty()
        leases = Leases()
        if route is None:
            world = QueueWorld(self.waits)
            self.pipeline = Pipeline(store, plans, clock, chance, limits, world, reach)
            self.gateway = world.gateway = Gateway(self.pipeline, queue, leases, clock, limits)
        else:
            duties = route.duties if Role.TIMERS in route.roles else NoDuty()
            self.outgoing = Outgoing(route.broker, route.outbox, clock, duties, limits)
            broker_world = BrokerWorld(self.waits, self.outgoing)
            self.pipeline = Pipeline(
                store, plans, clock, chance, limits, broker_world, reach, resend_after(limits), LETTER_AFTER
            )
            signs = Signs(route.outbox, self.pipeline, clock)
            if Role.ENGINE in route.roles:
                self.incoming = Incoming(route.broker, signs, self.pipeline, limits)
            if Role.TIMERS in route.roles:
                self.broker_leases = BrokerLeases(
                    route.broker, route.outbox, self.pipeline, clock, chance, limits, duties
                )
            demand = None if route.feed is None else Demand(route.feed, leases, clock, limits)
            self.gateway = Gateway(self.pipeline, queue, leases, clock, limits, demand)
            if route.feed is not None and demand is not None:
                self.feeding = broker_world.feeding = Feeding(
                    route.feed, demand, self.gateway, leases, self.pipeline, signs, clock, chance, limits
                )
        self.attendance = Attendance(roster, self.gateway, clock, limits, duties)
        if self.incoming is not None:
            self.incoming.heard = self.attendance.heard
        self.roll = Roll(roster, self.gateway, clock, limits, _silent(route))
        self.timers = Timers(store, self.pipeline, self.gateway, queue, leases, plans, clock, chance, limits)
        self.timers.keeps_leases = route is None
        self.timers.duties = duties
        self.readiness, self.figures = _looks(store, queries, self.roll, plans, limits, route)
        self.services: list[asyncio.Task[None]] = []
        """What has to run as long as the process does."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Recover what the last process left, then serve while the block runs."""
        pipeline = asyncio.create_task(self.pipeline.run(), name="pipeline")
        try:
            await self.timers.recover()
        except BaseException:
            pipeline.cancel()
            raise
        services = [asyncio.create_task(self.timers.run(), name="timers")]
        services.append(asyncio.create_task(self.attendance.run(), name="attendance"))
        if self.outgoing is not None:
            services.append(asyncio.create_task(self.outgoing.run(self.pipeline), name="outgoing"))
        if self.incoming is not None:
            services.append(asyncio.create_task(self.incoming.run(), name="incoming"))
        if self.watch is not None:
            services.append(asyncio.create_task(self.watch.run(), name="watch"))
        if self.hints is not None and self.shortcuts is not None:
            services.append(asyncio.create_task(self.hints.run(), name="hints"))
            services.append(asyncio.create_task(self.shortcuts.run(), name="shortcuts"))
        if self.broker_leases is not None:
            services.append(asyncio.create_task(self.broker_leases.run(), name="leases"))
        if self.feeding is not None:
            services.append(asyncio.create_task(self.feeding.run(), name="feeding"))
        self.services = [pipeline, *services]
        try:
            yield
        finally:
            self.shut()
            self.readiness.close()
            self.figures.close()
            self.roll.close()
            for service in services:
                service.cancel()
            with contextlib.suppress(OrchestratorError):
                # So that the next process knows what is in workers' hands.
                if self.feeding is None:
                    await self.timers.record_leases()
                else:
                    await self.feeding.stop()
                if self.outgoing is not None:
                    await self.outgoing.note_sent()
                # Who has just left is not to be looked for.
                await self.attendance.run_once()
            self.pipeline.close()
            await asyncio.wait([pipeline, *services])

    def leave(self) -> None:
        """Say at the next health check that the process goes, and have connections closed after their next answer."""
        self.is_leaving = True

    def shut(self) -> None:
        """Answer everyone who waits; nothing new begins to wait."""
        self.gateway.shut()
        self.waits.shut()

    async def failed(self) -> str:
        """Wait until a service has ended by itself; give its name. The log has the reason.

        Nothing here starts it again: the process ends instead, and what comes after it begins from the store.
        """
        ended, _ = await asyncio.wait(self.services, return_when=asyncio.FIRST_COMPLETED)
        for service in ended:
            error = None if service.cancelled() else service.exception()
            _log.critical("the %s service has stopped", service.get_name(), exc_info=error)
        return min(service.get_name() for service in ended)

    async def check_ready(self) -> None:
        """Raise Unavailable when the process does not take work."""
        if self.is_leaving:
            raise Unavailable("the process was asked to go, and takes leave")
        for service in self.services:
            if service.done():
                raise Unavailable(f"the {service.get_name()} service has stopped; the log says why")
        if not self.services:
            raise Unavailable("the orchestrator is starting")
        if fault := await self.readiness.fault("database"):
            raise Unavailable(f"the database is not there: {fault}")
        if self.pipeline.is_refused:
            # Whoever asks may keep requests away until this is over: it is tried without them.
            if fault := await self.readiness.fault("writes"):
                raise Unavailable(f"nothing can be recorded: {fault}")
            self.pipeline.is_refused = False


def _silent(route: Route | None) -> SilentReaders | None:
    return None if route is None or route.strangers is None else SilentReaders(route.strangers)


def _looks(
    store: Store, queries: Queries, roll: Roll, plans: Plans, limits: Limits, route: Route | None
) -> tuple[Readiness, Figures]:
    """Make what asks the parts how they are, and what there is."""
    probes: dict[str, Probe] = {"database": partial(store.definition, "", 0), "writes": store.try_write}
    if route is None:
        return Readiness(probes), Figures(queries, None, None, roll, plans, limits)
    probes["kafka"] = route.broker.waiting
    return Readiness(probes), Figures(queries, route.broker, route.outbox, roll, plans, limits)
