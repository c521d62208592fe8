"""Tests that are coroutines run in virtual time: a minute of waiting costs nothing, and nothing happens by itself."""

from __future__ import annotations

import inspect

import pytest

from tests.simulation import loop

SECONDS_MAX = 100_000.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests of this folder that are coroutines."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    loop.run(pyfuncitem.obj(**arguments), SECONDS_MAX)
    return True
