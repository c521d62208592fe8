"""Databases of a real PostgreSQL for tests: each new, migrated, and gone when it was used.

The server is the session's (`tests.real`). One that cannot be reached is an error: nothing is skipped.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import asyncpg

from orchestrator.adapters.postgres.migrate import migrate

SERVER_URL = ""
"""Set when the first test of the folder begins."""

_numbers = itertools.count()


def url_of(database: str) -> str:
    """Give the address of another database of the server."""
    return urlsplit(SERVER_URL)._replace(path=f"/{database}").geturl()


async def execute(*statements: str, url: str = "") -> None:
    """Run statements outside of everything that is tested."""
    connection = await asyncpg.connect(url or SERVER_URL)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def database(template: str = "template1", options: str = "") -> Iterator[str]:
    """Make a database, a copy of another one; give its name."""
    name = f"pgtest_{os.getpid()}_{next(_numbers)}"
    asyncio.run(execute(f"CREATE DATABASE {name} TEMPLATE {template} {options}"))
    try:
        yield name
    finally:
        asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def migrated_template() -> Iterator[str]:
    """Make a database with the schema in it, to be copied: a copy takes a tenth of the time."""
    with database() as name:
        asyncio.run(migrate(url_of(name)))
        yield name
