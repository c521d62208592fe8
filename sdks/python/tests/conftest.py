"""Coroutine tests, each in a loop of its own, without a plugin."""

from __future__ import annotations

import asyncio
import inspect

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test of the real broker again before it counts as failed: a machine that stalls can fail it."""
    for item in items:
        if "kafka" in item.path.parts:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def no_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKFLOW_URL", raising=False)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS", raising=False)
