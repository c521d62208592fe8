"""The page about the state machine says what the tables say."""

from __future__ import annotations

import re
from enum import StrEnum

import pytest

from orchestrator.engine.run import RUN_TRANSITIONS, STEP_TRANSITIONS
from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus
from tests.engine import state_diagram


def test_the_page_is_fresh() -> None:
    assert state_diagram.PAGE.read_text("utf-8") == state_diagram.render(), (
        "docs/state-machine.md is stale: run `python -m tests.engine.state_diagram` in orchestrator/"
    )


def test_the_diagrams_have_every_row_of_the_tables_and_no_other() -> None:
    arrows = re.findall(r"^ +(\w+) --> (\w+): (.+)$", state_diagram.render(), re.MULTILINE)
    drawn = sorted((before, event, after) for before, after, events in arrows for event in events.split(", "))
    rows: list[tuple[str, str, str]] = [
        (before, event.__name__, after) for (before, event), after in RUN_TRANSITIONS.items()
    ]
    rows += [(before, event.__name__, after) for (before, event), after in STEP_TRANSITIONS.items()]
    assert drawn == sorted(rows)


@pytest.mark.parametrize("states", [RunStatus, StepStatus])
def test_every_state_says_what_it_means_and_who_moves_it_on(states: type[StrEnum]) -> None:
    explained = re.findall(r"^\| `(\w+)` \| (.+) \|$", state_diagram.meanings(states), re.MULTILINE)
    assert [state for state, _ in explained] == [state.value for state in states]
    for state, meaning in explained:
        assert "moves it on" in meaning or "Final" in meaning, f"{state} does not say who moves it on"


def test_states_are_spelled_as_their_names() -> None:
    """The page, the API and the store show the value; the code and the tables show the name."""
    for states in (RunStatus, StepStatus, AttemptStatus):
        assert all(state.name == state.value for state in states)
