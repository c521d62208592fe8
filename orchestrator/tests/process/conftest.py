from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.server import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server on a folder of its own."""
    with Server(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    """A server in memory for all tests of a module."""
    with Server(None) as running:
        yield running
