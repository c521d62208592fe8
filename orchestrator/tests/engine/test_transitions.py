"""The gate: a row of the tables that no test of this folder takes is a row that nobody knows to work."""

from __future__ import annotations

from orchestrator.engine.run import RUN_TRANSITIONS, STEP_TRANSITIONS
from tests.engine.story import Row


def test_every_row_of_the_tables_is_taken(taken: set[Row]) -> None:
    rows: set[Row] = {*RUN_TRANSITIONS, *STEP_TRANSITIONS}
    missing = sorted(f"({state}, {event.__name__})" for state, event in rows - taken)
    assert not missing, f"no test takes {', '.join(missing)}: write one"
