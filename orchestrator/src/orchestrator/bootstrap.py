"""The composition root: builds the parts, listens, and takes everything down again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.adapters.system import SystemChance, SystemClock
from orchestrator.api.app import Asgi, make_app
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.plans import Plans
from orchestrator.settings import Settings

_log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 10.0
"""How long requests that are under way may take once the process was asked to go."""
_BACKLOG: Final = 1_024


class PortInUse(Exception):
    """Another process listens on the port."""


def run_server(settings: Settings, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: what to serve, where.
        on_ready: called with the server's URL once it takes requests.

    Raises:
        DataFolderInUse: another process has the data folder.
        PortInUse: another process listens on the port.
    """
    asyncio.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None] | None) -> None:
    _check_port(settings.host, settings.port)
    async with open_orchestrator(settings) as orchestrator:
        app = make_app(orchestrator, settings.names)
        server = Server(
            app,
            address=settings.host,
            port=settings.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=_BACKLOG,
            log_enabled=False,
            log_level=LogLevels.warning,
        )
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stopped.set)
        serving = asyncio.create_task(server.serve())
        stopping = asyncio.create_task(stopped.wait())
        try:
            await _listening(settings, serving)
            if on_ready is not None:
                on_ready(url_of(settings))
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            orchestrator.shut()
            server.stop()  # type: ignore[no-untyped-call]  # Granian's is not annotated
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(serving), DRAIN_SECONDS)
    if serving.done() and not stopped.is_set():
        serving.result()
        raise RuntimeError("the HTTP server has stopped by itself")


@asynccontextmanager
async def open_orchestrator(settings: Settings) -> AsyncIterator[Orchestrator]:
    """Build the embedded profile over its data folder, recovered and running."""
    database = Database(None if settings.memory else settings.data)
    try:
        limits = settings.limits
        plans = Plans()
        orchestrator = Orchestrator(
            store=SqliteStore(database, plans.fold, limits.open_runs_cached_max),
            queries=SqliteQueries(database),
            queue=EmbeddedQueue(limits.ready_jobs_max, limits.ready_bytes_max),
            clock=SystemClock(),
            chance=SystemChance(),
            limits=limits,
            plans=plans,
        )
        async with orchestrator.running():
            yield orchestrator
    finally:
        await database.close()


def url_of(settings: Settings) -> str:
    """Give the address under which this machine reaches the server."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{settings.port}"


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} of {host} is in use by another process; stop that, or choose another --port"
                ) from None
            raise


async def _listening(settings: Settings, serving: asyncio.Task[None]) -> None:
    """Wait until the server answers; its own start has no signal for it."""
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(settings.host, settings.port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    serving.result()
