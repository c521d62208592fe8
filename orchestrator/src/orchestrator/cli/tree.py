"""A run as a person watches it: its steps, their attempts, how long each took and how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.cli.output import STYLES, clean, compact, duration, seconds_between

FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_PER_SECOND: Final = 10
BAR_CELLS: Final = 20
ERROR_CHARS_MAX: Final = 160
ROWS_AROUND: Final = 8
"""Rows of a terminal that are left to what stands around the tree."""

SYMBOLS: Final = {
    "PENDING": "○",
    "QUEUED": "◌",
    "BACKING_OFF": "↻",
    "COMPLETED": "✔",
    "FAILED": "✘",
    "TIMED_OUT": "✘",
    "LOST": "✘",
    "CANCELLED": "⊘",
    "RELEASED": "↩",
}


def render(run: dict[str, Any], height: int = 40) -> RenderableType:
    """Draw a run in at most about ``height`` lines."""
    lines = [_head(run)]
    steps = run["steps"]
    first, last = _window(steps, run["currentStep"], max(3, height - ROWS_AROUND))
    if first:
        lines.append(Text(f"   {first} steps before", style="dim"))
    width = max((len(step["action"]) for step in steps[first:last]), default=0)
    for step in steps[first:last]:
        lines.extend(_step(step, width))
    if last < len(steps):
        lines.append(Text(f"   {len(steps) - last} steps after", style="dim"))
    return Group(*lines)


def _window(steps: list[dict[str, Any]], current: int, most: int) -> tuple[int, int]:
    """Choose the steps around the current one."""
    place = next((i for i, step in enumerate(steps) if step["stepIndex"] == current), 0)
    first = max(0, min(place - most // 2, len(steps) - most))
    return first, min(len(steps), first + most)


def _head(run: dict[str, Any]) -> Text:
    done = sum(step["status"] == "COMPLETED" for step in run["steps"])
    status = run["status"]
    taken = duration(seconds_between(run["startTime"], run["endTime"]))
    return Text.assemble(
        (f"{clean(run['workflowId'])} v{run['workflowVersion']}", "bold"),
        "  ",
        (status, STYLES.get(status, "")),
        f"  {done} of {len(run['steps'])} steps  {taken}  ",
        (run["runId"], "dim"),
    )


def _step(step: dict[str, Any], width: int) -> Iterator[Text]:
    status, attempts = step["status"], step["attempts"]
    style = STYLES.get(status, "")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" {_symbol(status)} ", style)
    text.append(f"{clean(step['action']).ljust(width)}  ", "dim" if status == "PENDING" else "")
    text.append(status.ljust(11), style)
    if attempts:
        text.append(f"  {duration(seconds_between(attempts[0]['startedAt'], attempts[-1]['finishedAt'])):>7}")
    if len(attempts) > 1:
        text.append(f"  attempt {attempts[-1]['attempt']}", "dim")
    if status == "BACKING_OFF" and step.get("nextAttemptAt"):
        text.append(f"  next attempt in {duration(_seconds_until(step['nextAttemptAt']))}", "yellow")
    if status == "QUEUED":
        text.append("  waits for a worker", "dim")
    if status == "RUNNING":
        _append_progress(text, step.get("details"))
    yield text
    for attempt in attempts:
        if attempt.get("error"):
            yield _failure(attempt)


def _symbol(status: str) -> str:
    if status == "RUNNING":
        return FRAMES[int(time.monotonic() * FRAMES_PER_SECOND) % len(FRAMES)]
    return SYMBOLS.get(status, "·")


def _seconds_until(moment: str) -> float:
    return max(0.0, (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds())


def _append_progress(text: Text, details: Any) -> None:
    """Show what the handler said last: a bar for ``{"done": …, "of": …}``, anything else as it is."""
    if details is None:
        return
    if isinstance(details, dict):
        done, total = details.get("done"), details.get("of", details.get("total"))
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            filled = round(BAR_CELLS * min(1.0, max(0.0, done / total)))
            text.append("  " + "━" * filled, "cyan")
            text.append("━" * (BAR_CELLS - filled), "dim")
            text.append(f" {done:,} of {total:,}")
            return
    text.append(f"  {clean(compact(details))}", "dim")


def _failure(attempt: dict[str, Any]) -> Text:
    error = attempt["error"]
    message = clean(error.get("message") or "")[:ERROR_CHARS_MAX]
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"     attempt {attempt['attempt']} {attempt['status']}  ", STYLES.get(attempt["status"], ""))
    line.append(f"{clean(error.get('type') or '')}: {message}", "dim")
    return line
