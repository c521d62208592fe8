from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from orchestrator.cli import output
from orchestrator.cli.tree import render
from tests.cli.fake import run_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.0, "0 ms"), (0.25, "250 ms"), (3.21, "3.2 s"), (75, "1 min 15 s"), (3_725, "1 h 02 min")],
)
def test_durations_are_readable(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


def test_text_of_others_cannot_move_the_cursor() -> None:
    assert output.clean("a\x1b[2Jb\nc\td\x9b") == "a [2Jb c d "
    assert output.clean("a\nb", keep_lines=True) == "a\nb"
    assert output.clean("Größe 大 ✔") == "Größe 大 ✔"


def test_json_stays_json_on_a_terminal_that_shows_ascii_only(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    output.write_json(json.dumps({"a": "é 😀"}, ensure_ascii=False).encode())
    text = written.buffer.getvalue().decode("ascii")
    assert json.loads(text) == {"a": "é 😀"}


def drawn(run: dict[str, Any], height: int = 40) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=120)
    console.print(render(run, height))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_long_run_is_drawn_around_its_current_step() -> None:
    step: dict[str, Any] = {"status": "PENDING", "attempts": [], "nextAttemptAt": None}
    steps = [{**step, "stepIndex": i * 2, "action": f"step-{i}"} for i in range(1_000)]
    lines = drawn(run_of("RUNNING", steps=steps, currentStep=1_000), height=20).splitlines()
    assert len(lines) <= 20
    assert any("step-500 " in line for line in lines)
    assert "494 steps before" in lines[1]
    assert "494 steps after" in lines[-1]


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ({"done": 1, "total": 4}, "1 of 4"),
        ({"page": 3}, '{"page":3}'),
        ("almost", '"almost"'),
        ({"done": 1, "of": 0}, "of"),
    ],
)
def test_what_a_handler_says_is_shown(details: Any, shown: str) -> None:
    run = run_of("RUNNING")
    run["steps"][1]["details"] = details
    assert shown in drawn(run)


def test_the_next_attempt_is_counted_down() -> None:
    run = run_of("WAITING")
    run["steps"][1] |= {"status": "BACKING_OFF", "nextAttemptAt": "2026-01-01T00:00:00.000000Z"}
    assert "next attempt in 0 ms" in drawn(run)
