"""Writes ``docs/limits.md`` from `orchestrator.model.limits`: run by ``make docs``, compared by a test."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.model import limits
from orchestrator.model.limits import KIB, MIB, Limits

PAGE: Final = Path(__file__).parents[3] / "docs" / "limits.md"

HEAD: Final = """\
# Limits

Every queue, page, payload and wait has a named maximum, so that no caller can make the orchestrator run out of memory.
Each can be set: as the environment variable below, or by its name in the `[limits]` table of the `--config` file.
Sizes are bytes, times are seconds.

This page is written from `orchestrator/src/orchestrator/model/limits.py` by `make docs`.
"""


class Limit(NamedTuple):
    """One row of the page."""

    section: str
    name: str
    default: float
    meaning: str


def read() -> Iterator[Limit]:
    """Give the limits in the order of the source, each under the comment that heads its group."""
    defaults = Limits()
    source = inspect.getsource(limits)
    sections = {
        number: line.strip(" #") for number, line in enumerate(source.splitlines(), 1) if line.startswith("    # ")
    }
    body = next(
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Limits"
    ).body
    for field, text in zip(body, body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if not isinstance(text, ast.Expr) or not isinstance(text.value, ast.Constant):
            raise TypeError(f"{field.target.id} has no docstring")
        section = sections[max(number for number in sections if number < field.lineno)]
        meaning = re.sub(r"\s+", " ", str(text.value.value)).strip().replace("``", "`")
        yield Limit(section, field.target.id, getattr(defaults, field.target.id), meaning)


def readable(limit: Limit) -> str:
    """Give a default as it would be set, and as a person says it."""
    plain = f"`{limit.default:.12g}`"
    units: tuple[tuple[int, str], ...] = ()
    if "_bytes_" in limit.name:
        units = ((MIB, "MiB"), (KIB, "KiB"))
    elif "seconds" in limit.name:
        units = ((86_400, "d"), (3_600, "h"), (60, "min"))
    for size, unit in units:
        if limit.default >= size and limit.default % size == 0:
            return f"{plain} ({limit.default / size:.0f} {unit})"
    return plain


def render() -> str:
    """Write the whole page."""
    lines = [HEAD]
    section = ""
    for limit in read():
        if limit.section != section:
            section = limit.section
            lines += [f"## {section}\n", "| name | default | environment variable | meaning |", "|---|---|---|---|"]
        variable = f"ORCHESTRATOR_{limit.name.upper()}"
        lines.append(f"| `{limit.name}` | {readable(limit)} | `{variable}` | {limit.meaning} |")
    text = "\n".join(lines) + "\n"
    return re.sub(r"\|\n## ", "|\n\n## ", text)


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
