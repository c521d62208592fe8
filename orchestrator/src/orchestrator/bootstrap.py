"""The composition root: builds the parts, listens, and takes everything down again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import uvicorn
import uvloop

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.embedded.roster import MemoryRoster
from orchestrator.adapters.failpoints.armed import Failpoints
from orchestrator.adapters.failpoints.ports import (
    armed_broker,
    armed_duties,
    armed_feed,
    armed_hints,
    armed_outbox,
    armed_roster,
    armed_store,
    armed_strangers,
)
from orchestrator.adapters.kafka.broker import open_broker
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.feed import open_feed
from orchestrator.adapters.kafka.homes import SettledChance
from orchestrator.adapters.postgres.alone import only_process
from orchestrator.adapters.postgres.database import Database as PostgresDatabase
from orchestrator.adapters.postgres.duties import open_duties
from orchestrator.adapters.postgres.outbox import PostgresOutbox
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.roster import PostgresRoster
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.adapters.system import SystemChance, SystemClock
from orchestrator.api.app import make_app
from orchestrator.api.protocol import Protocol
from orchestrator.app.duties import NoDuty
from orchestrator.app.life import Route
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.plans import Plans
from orchestrator.model.role import Role
from orchestrator.model.topics import TOPICS, Topics
from orchestrator.ports.clock import Chance
from orchestrator.ports.duties import Duties
from orchestrator.ports.hints import Hints
from orchestrator.ports.queries import Queries
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store
from orchestrator.settings import Settings

DRAIN_SECONDS: Final = 10
"""How long requests that are under way may take once the process was asked to go."""
KEEP_ALIVE_SECONDS: Final = 75
"""How long a connection without a request stays open: longer than clients keep theirs, so that none is closed as it is
used again."""
_BACKLOG: Final = 2_048
_START_CHECK_SECONDS: Final = 0.005
_GC_THRESHOLD: Final = 250_000


class PortInUse(Exception):
    """Another process listens on the port."""


class ServiceFailed(Exception):
    """A part without which the process does nothing useful has stopped; a new process begins from the store."""


def run_server(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: what to serve, where.
        on_ready: called with the server's URL once it takes requests.

    Raises:
        DataFolderInUse: another process has the data folder.
        PortInUse: another process listens on the port.
        ServiceFailed: the process has taken itself down after a fault.
    """
    # Requests leave no reference cycles behind (a test sees to it): what is alive need not be looked over often.
    gc.set_threshold(_GC_THRESHOLD, 20, 50)
    uvloop.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None] | None) -> None:
    with _listen(settings.host, settings.port) as listener:
        async with open_orchestrator(settings) as orchestrator:
            server = _Server(
                uvicorn.Config(
                    make_app(orchestrator, settings.names, _topics(settings)),
                    http=Protocol.within(settings.limits.request_head_bytes_max),
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    proxy_headers=False,
                    access_log=False,
                    server_header=False,
                    timeout_keep_alive=KEEP_ALIVE_SECONDS,
                    timeout_graceful_shutdown=DRAIN_SECONDS,
                )
            )
            loop = asyncio.get_running_loop()
            serving = loop.create_task(server.serve(sockets=[listener]))

            def stop() -> None:
                orchestrator.life.leave()
                orchestrator.life.shut()
                server.should_exit = True

            def leave() -> None:
                """Let a balancer notice first; asked twice, the process goes at once."""
                if settings.grace_seconds and not orchestrator.life.is_leaving:
                    orchestrator.life.leave()
                    loop.call_later(settings.grace_seconds, stop)
                else:
                    stop()

            watching = loop.create_task(orchestrator.life.failed())
            # A process that lives on without one of them would keep what it has taken, and do nothing with it.
            watching.add_done_callback(lambda _: stop())
            for name in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(name, leave)
            while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(_START_CHECK_SECONDS)
            if server.started and on_ready is not None:
                on_ready(url_of(settings))
            await serving
            if watching.done():
                raise ServiceFailed(f"the {watching.result()} service has stopped; the log above says why")
            watching.cancel()


class _Server(uvicorn.Server):
    """Leaves signals to `_serve`, which has to answer those who wait before the server can stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def open_orchestrator(settings: Settings) -> AsyncIterator[Orchestrator]:
    """Build the profile that the settings mean, recovered and running."""
    limits = settings.limits
    plans = Plans()
    points = Failpoints.parse(settings.failpoints)
    async with AsyncExitStack() as stack:
        store, queries, roster, route, chance = await _open_parts(settings, plans, stack)
        hints = _open_hints(settings)
        if settings.failpoints:
            points.warn()
            store = armed_store(store, points)
            roster = armed_roster(roster, points)
            route = None if route is None else _armed_route(route, points)
            hints = None if hints is None else armed_hints(hints, points)
        orchestrator = Orchestrator(
            store=store,
            queries=queries,
            queue=EmbeddedQueue(limits.ready_jobs_max, limits.ready_bytes_max),
            clock=SystemClock(),
            chance=chance,
            limits=limits,
            plans=plans,
            roster=roster,
            reach=points.reach if settings.failpoints else _pass,
            route=route,
            hints=hints,
        )
        await stack.enter_async_context(orchestrator.running())
        yield orchestrator


async def _open_parts(
    settings: Settings, plans: Plans, stack: AsyncExitStack
) -> tuple[Store, Queries, Roster, Route | None, Chance]:
    """Open what the settings name; closed with the stack."""
    chance: Chance = SystemChance()
    if not settings.database:
        folder = Database(None if settings.memory else settings.data)
        stack.push_async_callback(folder.close)
        sqlite = SqliteStore(folder, plans.fold, settings.limits.open_runs_cached_max)
        return sqlite, SqliteQueries(folder), MemoryRoster(SystemClock()), None, chance
    if not settings.kafka:
        await stack.enter_async_context(only_process(settings.database, settings.start_seconds))
    database = await PostgresDatabase.open(settings.database, start_seconds=settings.start_seconds)
    stack.push_async_callback(database.close)
    route: Route | None = None
    roster: Roster = MemoryRoster(SystemClock())
    if settings.kafka:
        config = kafka_config(settings)
        roles = settings.role_set
        duties: Duties = NoDuty()
        if Role.TIMERS in roles:
            duties = await stack.enter_async_context(open_duties(settings.database))
        broker = await stack.enter_async_context(open_broker(config, reads=Role.ENGINE in roles))
        feed = await stack.enter_async_context(open_feed(config)) if Role.API in roles else None
        chance = SettledChance(chance, broker.homes)
        route = Route(broker, PostgresOutbox(database), duties, roles, feed, broker)
        roster = PostgresRoster(database)
    store = PostgresStore(database, settings.limits.open_runs_cached_max)
    return store, PostgresQueries(database), roster, route, chance


def _armed_route(route: Route, points: Failpoints) -> Route:
    return route._replace(
        broker=armed_broker(route.broker, points),
        outbox=armed_outbox(route.outbox, points),
        duties=armed_duties(route.duties, points),
        feed=None if route.feed is None else armed_feed(route.feed, points),
        strangers=None if route.strangers is None else armed_strangers(route.strangers, points),
    )


def _pass(point: str) -> None:
    """What a point of the pipeline is where nothing is armed."""


def _open_hints(settings: Settings) -> Hints | None:
    """Give a place for hints; it is reached later, and nothing waits for that."""
    if not settings.redis:
        return None
    # To load the client takes as long as all the rest of a start.
    from orchestrator.adapters.redis.config import RedisConfig  # noqa: PLC0415
    from orchestrator.adapters.redis.hints import RedisHints  # noqa: PLC0415

    limits = settings.limits
    return RedisHints(
        RedisConfig(
            url=settings.redis,
            prefix=settings.redis_prefix,
            seconds_max=limits.redis_seconds_max,
            connect_seconds_max=limits.redis_connect_seconds_max,
            rest_seconds=limits.redis_rest_seconds,
        )
    )


def kafka_config(settings: Settings) -> KafkaConfig:
    """Give what the settings say about Kafka."""
    return KafkaConfig(
        servers=settings.kafka,
        topics=_topics(settings),
        prefix=settings.kafka_prefix,
        mode=settings.topics,
        start_seconds=settings.start_seconds,
        partitions=settings.partitions,
        replication=settings.replication,
        properties=settings.kafka_properties,
        call_seconds=settings.limits.kafka_call_seconds,
        delivery_seconds=settings.limits.kafka_delivery_seconds,
        record_bytes_max=settings.limits.kafka_record_bytes_max,
        records_max=settings.limits.kafka_records_max,
        routes={action: settings.kafka_prefix + topic for action, topic in settings.kafka_routes.items()},
    )


def _topics(settings: Settings) -> Topics:
    return TOPICS.prefixed(settings.kafka_prefix)


def url_of(settings: Settings) -> str:
    """Give the address under which this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} of {host} is in use by another process; stop that, or choose another --port"
            ) from None
        raise
    return listener
