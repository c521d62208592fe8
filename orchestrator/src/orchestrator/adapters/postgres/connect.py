"""One connection to the server, checked before it is used for the first time."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import asyncpg

from orchestrator.adapters.postgres.faults import FAILURES
from orchestrator.model.errors import StoreNotUsable

VERSION_MIN: Final = 150_000
"""The oldest server that is taken, as ``server_version_num`` says it: PostgreSQL 15."""
CONNECT_SECONDS: Final = 5.0
"""How long one attempt to connect may take."""
START_SECONDS: Final = 30.0
"""How long a process that starts waits for the server, unless it is told otherwise (`start_seconds`)."""
_AGAIN_SECONDS: Final = 0.2

_WAITED_FOR: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConnectionDoesNotExistError,
)
"""What passes by itself: a server that is not there yet, starts, or is full."""

_log = logging.getLogger(__name__)


async def connect(url: str, wait_seconds: float = START_SECONDS) -> asyncpg.Connection:
    """Connect once the server is there, and see that it can be worked with.

    Raises:
        StoreNotUsable: it was not there in time, did not let us in, or is no PostgreSQL 15 or later with UTF-8.
    """
    connection = await _wait_for(url, wait_seconds)
    try:
        await _check(connection)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _wait_for(url: str, wait_seconds: float) -> asyncpg.Connection:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_seconds
    waiting = False
    while True:
        try:
            return await asyncpg.connect(url, timeout=CONNECT_SECONDS)
        except _WAITED_FOR as error:
            reason = str(error) or type(error).__name__
            if loop.time() >= until:
                raise StoreNotUsable(f"PostgreSQL was not there within {wait_seconds:.0f} s: {reason}") from error
            if not waiting:
                _log.warning("waiting up to %.0f s for PostgreSQL: %s", wait_seconds, reason)
            waiting = True
        except (*FAILURES, ValueError) as error:
            raise StoreNotUsable(f"PostgreSQL did not let us in: {error}") from error
        await asyncio.sleep(_AGAIN_SECONDS)


async def _check(connection: asyncpg.Connection) -> None:
    try:
        (row,) = await connection.fetch(
            """SELECT current_setting('server_version_num')::integer, current_setting('server_version'),
            current_setting('server_encoding'), current_setting('synchronous_commit')"""
        )
    except FAILURES as error:
        raise StoreNotUsable(f"PostgreSQL did not say what it is: {error}") from error
    number, version, encoding, durable = row
    if number < VERSION_MIN:
        raise StoreNotUsable(f"PostgreSQL {version} is too old; {VERSION_MIN // 10_000} or later is needed")
    if encoding != "UTF8":
        raise StoreNotUsable(f"the database is encoded in {encoding}; make one with ENCODING 'UTF8' TEMPLATE template0")
    if durable == "off":
        _log.warning("synchronous_commit is off: a crash of the server may take back what was acknowledged")
