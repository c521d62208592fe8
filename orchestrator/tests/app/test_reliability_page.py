"""docs/reliability.md names tests that exist, and counts what it counts."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.app.pipeline import Point
from tests.simulation.campaign import SEEDS
from tests.simulation.mutants import MUTANTS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parents[1] / "docs" / "reliability.md").read_text("utf-8")


def test_every_test_that_the_page_names_exists() -> None:
    folders = (TESTS, TESTS.parents[1] / "sdks" / "python" / "tests")
    source = "\n".join(path.read_text("utf-8") for folder in folders for path in folder.rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in source] == []


def test_every_failpoint_is_in_the_crash_table() -> None:
    for point in Point.__args__:  # type: ignore[attr-defined]
        assert f"`{point}`" in PAGE


def test_the_page_counts_the_mutants_and_the_seeds() -> None:
    assert f"in {len(MUTANTS)} ways" in PAGE
    assert f"# {SEEDS} seeds" in PAGE or SEEDS != 80
