"""Fixtures of this folder."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator

import pytest

from orchestrator.adapters.postgres.migrate import migrate
from tests.broker.site import RawWorker, Site
from tests.real import Real


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests of this folder that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def site(real: Real, fresh_database: Callable[..., str], fresh_topics: Callable[[], str]) -> Site:
    """A database and topics of the test's own."""
    template = real.postgres().template("schema", lambda url: asyncio.run(migrate(url)))
    return Site(fresh_database(template=template), real.kafka(), fresh_topics())


@pytest.fixture
def raw(site: Site) -> Iterator[RawWorker]:
    """A plain Kafka client as a worker."""
    worker = RawWorker(site)
    yield worker
    worker.close()
