"""Records which rows of the tables the tests of this folder take, and puts the gate over them last."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final, cast

import pytest
from hypothesis import settings

from orchestrator.engine import run as machine
from orchestrator.engine.plan import Plan
from orchestrator.model.event import Event, StepQueued
from orchestrator.model.run import RunState
from orchestrator.model.status import RunStatus, StepStatus
from tests.engine.story import Row

HERE: Final = Path(__file__).parent
GATE: Final = "test_every_row_of_the_tables_is_taken"

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("search", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

_taken: Final[set[Row]] = set()
_awaited: Final[set[str]] = set()
"""Tests of this folder that have to run before the gate can judge."""
_narrowed: Final[list[str]] = []
"""Why this run is not the whole suite."""


@pytest.fixture(autouse=True)
def _recorded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every row that `evolve` takes for an event that a decision made."""
    if request.path.name == "test_evolve.py":
        return  # It makes an event for every row by hand, so that a row no decision ever takes would pass unseen.
    evolve = machine.evolve

    def recording(plan: Plan, state: RunState, event: Event) -> RunState:
        after = evolve(plan, state, event)
        before: RunStatus | StepStatus = state.status
        if type(event) in {of_step for _, of_step in machine.STEP_TRANSITIONS}:
            step = cast(StepQueued, event).step
            place = state.open.get(step) or state.halted.get(step)
            before = StepStatus.PENDING if place is None else place.status
        _taken.add((before, type(event)))
        return after

    monkeypatch.setattr(machine, "evolve", recording)


@pytest.fixture
def taken() -> set[Row]:
    """Give the rows taken by the whole suite of the engine; skip where only a part of it has run."""
    if _narrowed or _awaited:
        pytest.skip(f"only a part of the suite has run: {', '.join(_narrowed) or f'{len(_awaited)} tests have not'}")
    return _taken


def _is_ours(item: pytest.Item) -> bool:
    return item.path.parent == HERE


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    if any(_is_ours(item) for item in items):
        _narrowed.append("some tests were deselected")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if _is_ours(item)]
    missing = {path.name for path in HERE.glob("test_*.py")} - {item.path.name for item in ours}
    if missing:
        _narrowed.append(f"{len(missing)} files were left out")
    if any("::" in argument for argument in config.args):
        _narrowed.append("single tests were asked for")
    gates = [item for item in ours if item.name == GATE]
    for gate in gates:
        # After the last of our tests, wherever the folder stands in the whole session.
        items.remove(gate)
        last = max(place for place, item in enumerate(items) if item in ours) if len(ours) > 1 else -1
        items.insert(last + 1, gate)
    _awaited.update(item.nodeid for item in ours if item not in gates)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    try:
        yield
    finally:
        _awaited.discard(item.nodeid)
