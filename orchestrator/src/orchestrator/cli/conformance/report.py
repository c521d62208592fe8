"""What came of a play, for people."""

from __future__ import annotations

from typing import Final

from orchestrator.cli import output
from orchestrator.cli.conformance.play import Cell, Column, Matrix

_MARKS: Final = {"passed": "yes", "failed": "NO", "not played": "-"}


def tell(column: Column, name: str, cell: Cell) -> None:
    """Say what came of one scenario."""
    reason = f": {cell.reason}" if cell.reason else ""
    output.say(f"{column!s:18} {name:20} {cell.outcome} {cell.seconds:5.1f} s{reason}")


def show(matrix: Matrix) -> int:
    """Print all of it as a table; give the number of those that failed."""
    columns = sorted({column for row in matrix.values() for column in row})
    output.say("")
    output.say(f"| {'scenario':20} | " + " | ".join(str(column) for column in columns) + " |")
    output.say(f"|{'-' * 22}|" + "|".join("-" * (len(str(column)) + 2) for column in columns) + "|")
    for name, row in matrix.items():
        cells = " | ".join(f"{_MARKS[row[column].outcome]:{len(str(column))}}" for column in columns)
        output.say(f"| {name:20} | {cells} |")
    failed = sum(cell.outcome == "failed" for row in matrix.values() for cell in row.values())
    played = sum(cell.outcome != "not played" for row in matrix.values() for cell in row.values())
    output.say(f"\n{played - failed} passed, {failed} failed")
    return failed
