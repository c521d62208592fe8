"""Writes ``docs/state-machine.md`` from the tables of `orchestrator.engine.run`; a test compares the two.

To write it anew, in ``orchestrator/``: ``python -m tests.engine.state_diagram``
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, get_args

from orchestrator.engine.run import RUN_TRANSITIONS, STEP_TRANSITIONS
from orchestrator.model.event import Event, RunStarted
from orchestrator.model.status import RunStatus, StepStatus

PAGE: Final = Path(__file__).parents[3] / "docs" / "state-machine.md"

HEAD: Final = """\
# The state machine

A run and each of its steps are always in exactly one of the states below, and only an event moves them.
Events are appended to the run's history and never changed; the state is what they add up to.
Only `start` and `decide` in `orchestrator/src/orchestrator/engine/run.py` make events,
and `evolve` refuses an event that has no arrow here.

This page is written from the tables in that file.
To write it anew, in `orchestrator/`: `python -m tests.engine.state_diagram`
Every arrow is taken by the tests of `orchestrator/tests/engine/`; they fail when one is not.
"""

RUN_TEXT: Final = """\
A run is *open* while it is `RUNNING` or `WAITING`.
The other states are final: they absorb whatever comes, with one exception, the redrive of a dead letter.
"""

STEP_TEXT: Final = """\
Only the steps of an open run move.
A failed attempt passes through `BACKING_OFF` even when nothing follows it: `StepFailed` comes in the same moment then.
So does a released one: its next attempt is queued at once.
A step that was halted with its run is queued again by the redrive, with its next attempt number and a fresh budget.
"""

Table = Mapping[tuple[RunStatus, type[Event]], RunStatus] | Mapping[tuple[StepStatus, type[Event]], StepStatus]


def diagram(table: Table, first: StrEnum, begun_by: str) -> str:
    """Draw a table in Mermaid: one arrow from state to state, with all events that go that way."""
    arrows: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (before, event), after in table.items():
        arrows.setdefault((before, after), []).append(event.__name__)
    states = {first: None} | {state: None for arrow in arrows for state in arrow}
    final = [state for state in states if all(before is not state for before, _ in arrows)]
    lines = [
        "stateDiagram-v2",
        f"[*] --> {first}" + (f": {begun_by}" if begun_by else ""),
        *(f"{before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()),
        *(f"{state} --> [*]" for state in final),
    ]
    return "```mermaid\n" + "\n    ".join(lines) + "\n```\n"


def meanings(states: type[StrEnum]) -> str:
    """Give a table of states with their docstrings."""
    body = next(
        node
        for node in ast.parse(inspect.getsource(inspect.getmodule(states) or states)).body
        if isinstance(node, ast.ClassDef) and node.name == states.__name__
    ).body
    rows = []
    for field, text in zip(body, body[1:], strict=False):
        if isinstance(field, ast.Assign) and isinstance(field.targets[0], ast.Name) and isinstance(text, ast.Expr):
            rows.append(f"| `{field.targets[0].id}` | {' '.join(str(ast.literal_eval(text.value)).split())} |")
    return "\n".join(["| state | what it means, and who moves it on |", "|---|---|", *rows]) + "\n"


def events() -> str:
    """Give a table of the events with their docstrings and fields."""
    rows = [
        f"| `{event.__name__}` | {' '.join((event.__doc__ or '').split()).replace('``', '`')} |"
        for event in get_args(Event)
    ]
    return "\n".join(["| event | what happened |", "|---|---|", *rows]) + "\n"


def render() -> str:
    """Write the whole page."""
    return "\n".join(
        [
            HEAD,
            "## A run\n",
            diagram(RUN_TRANSITIONS, RunStatus.RUNNING, RunStarted.__name__),
            RUN_TEXT,
            meanings(RunStatus),
            "## A step\n",
            diagram(STEP_TRANSITIONS, StepStatus.PENDING, ""),
            STEP_TEXT,
            meanings(StepStatus),
            "## Events\n",
            events(),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
