"""Printing: data to standard output, words to standard error; tables to people, plain columns to programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

Cell = str | int | float | None


def is_terminal() -> bool:
    """Whether a person looks at standard output."""
    return sys.stdout.isatty()


def console(*, errors: bool = False) -> Console:
    """Make a console for coloured output; it obeys NO_COLOR."""
    from rich.console import Console

    return Console(stderr=errors, highlight=False)


def say(text: str) -> None:
    """Tell a person something that is not data."""
    print(text, file=sys.stderr, flush=True)


def write(text: str) -> None:
    """Write a line of data, whatever the terminal's encoding can show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def write_json(raw: bytes) -> None:
    """Write JSON as it came, laid out; numbers keep their digits."""
    text = msgspec.json.format(raw, indent=2).decode()
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        # Outside of strings JSON is ASCII, so an escape is right wherever a character cannot be shown.
        text = "".join(c if c.isascii() else _escape(c) for c in text)
    print(text, flush=True)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def join_json(entries: Iterable[bytes | msgspec.Raw]) -> bytes:
    """Make one JSON array of entries that are JSON already."""
    return b"[" + b",".join(bytes(entry) for entry in entries) + b"]"


def write_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "") -> None:
    """Write rows: a table on a terminal, tabs between plain values otherwise; ``empty`` is said when there are none."""
    if not rows:
        if empty:
            say(empty)
        return
    if not is_terminal():
        for row in rows:
            write("\t".join(_plain(cell) for cell in row))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name.upper(), overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(Text(_plain(cell), style=STYLES.get(str(cell), "")) for cell in row))
    console().print(table)


STYLES = {
    "RUNNING": "cyan",
    "WAITING": "yellow",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "TIMED_OUT": "red",
    "QUEUED": "blue",
    "BACKING_OFF": "yellow",
    "PENDING": "dim",
    "LOST": "red",
    "RELEASED": "yellow",
    "CONNECTED": "green",
    "DRAINING": "yellow",
    "GONE": "dim",
    "OK": "green",
    "WARN": "yellow",
    "FAIL": "red",
}
"""Colour by state. The state's name is always written too."""


def _plain(cell: Cell) -> str:
    return "" if cell is None else clean(str(cell))


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Take out what would move a terminal's cursor: the text comes from others."""
    kept = "\n" if keep_lines else ""
    return "".join(c if c in kept or c.isprintable() else " " for c in text)


def moment(text: str | None) -> str:
    """Write a time for the reader: short and local on a terminal, as it came otherwise."""
    if not text or not is_terminal():
        return text or ""
    local = datetime.fromisoformat(text).astimezone()
    pattern = "%H:%M:%S" if local.date() == datetime.now(UTC).astimezone().date() else "%Y-%m-%d %H:%M:%S"
    return local.strftime(pattern)


def seconds_between(start: str | None, end: str | None) -> float | None:
    """Give the seconds from one time to another; to now where the other is not known yet."""
    if not start:
        return None
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(start)).total_seconds())


def duration(seconds: float | None) -> str:
    """Write a duration for a person."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def compact(value: Any, most: int = 60) -> str:
    """Write a value as JSON on one line, its end cut off when it is long."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= most else text[: most - 1] + "…"
