"""One process at a time: where jobs go by a process's own queue, a second one would hand them out again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from orchestrator.adapters.postgres.connect import START_SECONDS, connect
from orchestrator.model.errors import StoreNotUsable

LOCK_KEY: Final = 0x6F7263685F6F6E65
"""A number of our own among the database's advisory locks."""
WAIT_SECONDS: Final = 5.0
"""How long a start waits for the process before it to be gone."""
_LOOK_SECONDS: Final = 0.1


@asynccontextmanager
async def only_process(url: str, start_seconds: float = START_SECONDS) -> AsyncIterator[None]:
    """Hold the lock of the database while the block runs; the server frees it when this process is gone.

    Raises:
        StoreNotUsable: another process has it.
    """
    connection = await connect(url, start_seconds)
    try:
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
            if asyncio.get_running_loop().time() > deadline:
                raise StoreNotUsable(
                    "another orchestrator works on this database; stop it, or start both with --kafka, which is what "
                    "several processes share their jobs by"
                )
            await asyncio.sleep(_LOOK_SECONDS)
        yield
    finally:
        connection.terminate()
