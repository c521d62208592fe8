"""Where the adapters of a port come from. A further adapter is a further value of `params`."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.ports import postgres_server
from tests.ports.places import Place, PostgresDatabase, SqliteFile, SqliteMemory
from tests.real import Real

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("search", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests of this folder that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def postgres_server_url(real: Real) -> str:
    """The server of the session."""
    postgres_server.SERVER_URL = real.postgres(durable=True).url
    return postgres_server.SERVER_URL


@pytest.fixture(scope="session")
def postgres_template(postgres_server_url: str) -> Iterator[str]:
    """A PostgreSQL database with the schema, to be copied."""
    with postgres_server.migrated_template() as name:
        yield name


@pytest.fixture
def postgres(postgres_template: str) -> Iterator[PostgresDatabase]:
    """A PostgreSQL database of the test's own."""
    with postgres_server.database(postgres_template) as name:
        yield PostgresDatabase(postgres_server.url_of(name))


@pytest.fixture(params=["sqlite file", "sqlite memory", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a store keeps what it was told."""
    if request.param == "sqlite file":
        yield SqliteFile(tmp_path / "data")
        return
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    memory = SqliteMemory()
    yield memory
    memory.close()
