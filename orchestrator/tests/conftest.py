"""Fixtures that every folder may ask for, and patience with the real parts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

pytest_plugins = ["tests.real"]

REAL: Final = frozenset({"api", "broker", "chaos", "cli", "conformance", "examples", "mix", "ports", "process"})
"""Folders whose tests start processes, brokers or databases, or go by the clock: a machine that stalls fails them."""
RERUNS: Final = 2
"""How often such a test is run again before it counts as failed. Each that was is listed at the end: look at it."""
SECONDS: Final = 150
"""How long such a test may take where it says nothing itself."""


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in REAL:
            item.add_marker(pytest.mark.flaky(reruns=RERUNS))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why tests were run again."""
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"RERUN {report.nodeid}")
        terminalreporter.line(report.longreprtext)
