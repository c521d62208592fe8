"""The kit passes a worker that keeps to the protocol, and notices one that does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator.cli.conformance.contract import ACTIONS, CHOSEN, DRAIN, JOURNAL, LEASE
from orchestrator.cli.conformance.play import Cell, Column, play_all
from orchestrator.cli.conformance.scenarios import SCENARIOS
from tests.conformance.workers import CHECKOUT, WORKERS

QUICK = (
    "success",
    "error-and-retry",
    "no-more-retries",
    "non-retryable",
    "cancellation",
    "unknown-fields",
    "drain",
    "mixed-workers",
)
PAGE = CHECKOUT / "protocol" / "conformance.md"

BROKEN = """
import os, sys
sys.path.insert(0, {folder!r})
import worker
real = worker.worker.handlers
def handler(name):
    call = real[name].call
    async def echo(payload, context):
        worker.note("begin", context)
        return 7
    async def fail(payload, context):
        worker.note("begin", context)
        return context.attempt
    async def wait(payload, context):
        worker.note("begin", context)
        return "waited"
    return dict(echo=echo, fail=fail, wait=wait)[name]
other = worker.Worker(lease=2)
for name in ("echo", "fail", "wait"):
    other.register(name, handler(name))
other.start()
"""


def played(command: list[str], names: tuple[str, ...], folder: Path) -> dict[str, Cell]:
    matrix = play_all(
        {"worker": command},
        ["http"],
        names,
        folder,
        database="",
        kafka="",
        restart_broker=None,
        tell=lambda column, name, cell: None,
    )
    return {name: row[Column("worker", "http")] for name, row in matrix.items()}


def test_a_worker_of_the_sdk_passes(tmp_path: Path) -> None:
    cells = played(WORKERS["python"], QUICK, tmp_path)
    assert {name: cell.reason for name, cell in cells.items() if cell.outcome != "passed"} == {}


@pytest.fixture
def broken(tmp_path: Path) -> list[str]:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN.format(folder=str(Path(WORKERS["python"][1]).parent)))
    return [sys.executable, str(script)]


def test_a_worker_that_does_something_else_is_noticed(broken: list[str], tmp_path: Path) -> None:
    names = ("success", "error-and-retry", "non-retryable", "unknown-fields")
    cells = played(broken, names, tmp_path / "played")
    assert {name: cell.outcome for name, cell in cells.items()} == dict.fromkeys(names, "failed")
    assert "not what the handler returned" in cells["success"].reason


def test_a_worker_that_does_not_start_is_noticed(tmp_path: Path) -> None:
    cells = played([sys.executable, "-c", "raise SystemExit('no such module')"], ("drain",), tmp_path)
    assert cells["drain"].outcome == "failed"
    assert "no such module" in cells["drain"].reason


def test_the_page_names_all_that_there_is() -> None:
    page = PAGE.read_text()
    for name in (*ACTIONS, *SCENARIOS, JOURNAL, LEASE, DRAIN, CHOSEN):
        assert f"`{name}`" in page
    for meaning in ACTIONS.values():
        assert meaning in page
    for scenario in SCENARIOS.values():
        assert (scenario.__doc__ or "") in page
