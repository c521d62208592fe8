from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.cli import output
from tests.cli.fake import Fake, serving


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """An orchestrator that every command of the test finds by itself."""
    with serving() as server:
        monkeypatch.setenv("ORCHESTRATOR_URL", server.url)
        yield server


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands believe that a person looks."""
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TZ", "UTC")
