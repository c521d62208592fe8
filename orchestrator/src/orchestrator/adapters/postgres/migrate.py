"""Brings the schema of a database to this version: numbered SQL files, forward only, one process at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import asyncpg
from pogo_core.error import BadMigrationError
from pogo_core.util import migrate as pogo
from pogo_core.util import sql as applied

from orchestrator.adapters.postgres.connect import START_SECONDS, connect
from orchestrator.model.errors import StoreNotUsable

MIGRATIONS: Final = Path(str(resources.files("orchestrator.adapters.postgres") / "migrations"))
"""The folder of the schema's versions, applied in the order of what each depends on."""
LOCK_KEY: Final = 0x6F72_6368_6573_7472
"""The advisory lock that a process holds while it migrates: "orchestr" in ASCII."""
LOCK_SECONDS: Final = 600.0
"""How long a process waits for another one to finish its migration."""
_LOOK_SECONDS: Final = 0.1
_SCHEMA: Final = "public"

_log = logging.getLogger(__name__)


class _Informed(logging.LoggerAdapter[logging.Logger]):
    """Says as information what the library warns of: that it applies a migration, which is nothing to look into."""

    def warning(self, msg: object, *args: object, **more: Any) -> None:
        self.info(msg, *args, **more)


async def migrate(url: str, folder: Path = MIGRATIONS, start_seconds: float = START_SECONDS) -> None:
    """Apply what is missing, each migration in a transaction of its own.

    Any number of processes may call it at once: one works, the others wait and find nothing left to do.

    Args:
        url: ``postgresql://user:password@host:port/database``.
        folder: where the SQL files are.
        start_seconds: how long to wait for the server.

    Raises:
        StoreNotUsable: the server does not answer, is too old, or the database was written by a newer version.
    """
    connection = await connect(url, start_seconds)
    try:
        async with _lock(connection):
            await _refuse_newer(connection, folder)
            await pogo.apply(connection, folder, schema_name=_SCHEMA, logger=_Informed(_log))
    except BadMigrationError as error:
        raise StoreNotUsable(f"the schema could not be brought to this version: {error.__cause__ or error}") from error
    except asyncpg.PostgresError as error:
        raise StoreNotUsable(f"the schema could not be looked at: {error}") from error
    finally:
        await connection.close()


@asynccontextmanager
async def _lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LOCK_SECONDS):
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):  # noqa: ASYNC110
                # Waiting inside the server would hold a snapshot, for which CREATE INDEX CONCURRENTLY waits in turn.
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise StoreNotUsable(f"another process has been migrating the schema for {LOCK_SECONDS:.0f} s") from None
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)


async def _refuse_newer(connection: asyncpg.Connection, folder: Path) -> None:
    await applied.ensure_pogo_sync(connection)
    known = {path.stem for path in folder.iterdir()}  # noqa: ASYNC240 - a handful of files, before anything is served
    unknown = await applied.get_applied_migrations(connection, schema_name=_SCHEMA) - known
    if unknown:
        raise StoreNotUsable(
            f"the database was written by a newer version of the orchestrator (schema {max(unknown)}, this one knows "
            f"{max(known)}); start that version, or one after it"
        )
