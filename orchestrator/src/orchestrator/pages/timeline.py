"""Lays out the attempts of a run on a time axis.

A page must stay the same while nothing happens. So the axis of an open run ends at the next round duration, which
changes now and then, and what still grows says since when: the browser draws its end.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from orchestrator.model.status import AttemptStatus
from orchestrator.model.times import MICROS, parse_time
from orchestrator.model.view import AttemptView, RunView
from orchestrator.pages import text

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_ROUND: Final = (
    *(2, 3, 5, 8, 10, 15, 20, 30, 45),
    *(_MINUTE * n for n in (1, 1.5, 2, 3, 5, 8, 10, 15, 20, 30, 45)),
    *(_HOUR * n for n in (1, 1.5, 2, 3, 4, 6, 8, 12, 18)),
    *(_DAY * n for n in (1, 1.5, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90, 180, 366)),
)
"""Where the axis of an open run may end, in seconds."""
_TICKS: Final = (
    *(10**-6 * n for n in (10, 20, 50, 100, 200, 500)),
    *(10**-3 * n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 5, 10, 30, 60)),
)
_TICKS_MAX: Final = 5
_BAR_PERCENT_MIN: Final = 0.5
"""The narrowest bar that can be seen and pointed at."""
_BARS_MAX: Final = 40
"""Attempts drawn for one step: the last ones."""

Kind = Literal["wait", "work", "pause"]


class Bar(msgspec.Struct, frozen=True):
    """A piece of a step's lane, in percent of the axis."""

    kind: Kind
    """Waiting for a worker, being done, or pausing before the next attempt."""
    x: str
    width: str
    label: str
    status: str = ""
    grows_since: str | None = None
    """When it began; only for what has not ended."""


class Tick(msgspec.Struct, frozen=True):
    """A mark on the axis."""

    x: str
    label: str
    anchor: Literal["start", "middle", "end"]


class Spent(msgspec.Struct):
    """Where the time of a run's attempts went, in microseconds; open ones do not count."""

    wait: int = 0
    work: int = 0
    pause: int = 0


class Axis(msgspec.Struct, frozen=True):
    """The time axis of a run."""

    start: int
    span: int
    end: str | None
    """When the run ended."""
    ticks: list[Tick]


def axis(run: RunView, now: str) -> Axis:
    """Choose an axis that has room for the whole run."""
    start = parse_time(run.start_time)
    if run.end_time is not None:
        span = max(parse_time(run.end_time) - start, 100)
    else:
        elapsed = (parse_time(now) - start) / MICROS
        span = round(next((s for s in _ROUND if s > elapsed), (elapsed // _DAY + 366) * _DAY) * MICROS)
    return Axis(start, span, run.end_time, _ticks(span))


def _ticks(span: int) -> list[Tick]:
    step = round(next((t for t in _TICKS if t * MICROS * _TICKS_MAX >= span), span / MICROS / _TICKS_MAX) * MICROS)
    marks = []
    for at in range(0, span + 1, step):
        percent = 100 * at / span
        anchor: Literal["start", "middle", "end"] = "start" if at == 0 else "end" if percent > 94 else "middle"
        marks.append(Tick(f"{percent:.2f}%", text.seconds(at / MICROS) if at else "0", anchor))
    return marks


def lane(attempts: list[AttemptView], on: Axis, next_attempt_at: str | None, spent: Spent) -> list[Bar]:
    """Lay out a step's attempts, and add up where their time went."""
    bars: list[Bar] = []
    before: int | None = None
    run_end = None if on.end is None else parse_time(on.end)
    drawn_from = max(0, len(attempts) - _BARS_MAX)
    for place, attempt in enumerate(attempts):
        queued = parse_time(attempt.scheduled_at)
        started = parse_time(attempt.started_at) if attempt.started_at else None
        finished = parse_time(attempt.finished_at) if attempt.finished_at else run_end
        waited_until = started if started is not None else finished
        if before is not None and queued > before:
            spent.pause += queued - before
            if place > drawn_from:
                bars.append(_pause(on, before, queued))
        if waited_until is not None:
            spent.wait += waited_until - queued
        if started is not None and finished is not None:
            spent.work += finished - started
        before = finished
        if place >= drawn_from:
            bars.extend(_attempt(attempt, on, queued, started, finished))
    if next_attempt_at is not None and before is not None and on.end is None:
        due = parse_time(next_attempt_at)
        if due > before:
            bars.append(_pause(on, before, due))
    return bars


def _pause(on: Axis, begin: int, end: int) -> Bar:
    return _bar(on, "pause", begin, end, f"{text.duration(end - begin)} until the next attempt")


def _attempt(attempt: AttemptView, on: Axis, queued: int, started: int | None, finished: int | None) -> list[Bar]:
    name = f"attempt {attempt.attempt}"
    if started is None:
        if finished is None:
            label = f"{name} waits for a worker"
            return [_bar(on, "wait", queued, None, label, attempt.status, attempt.scheduled_at)]
        label = f"{name} waited {text.duration(finished - queued)} and was {attempt.status.lower()}"
        return [_bar(on, "wait", queued, finished, label, attempt.status)]
    bars = []
    if started > queued:
        label = f"{name} waited {text.duration(started - queued)} for a worker"
        bars.append(_bar(on, "wait", queued, started, label, attempt.status))
    by = f" on {attempt.worker}" if attempt.worker else ""
    if finished is None:
        bars.append(_bar(on, "work", started, None, f"{name} runs{by}", attempt.status, attempt.started_at))
    else:
        outcome = attempt.status.replace("_", " ").lower()
        label = f"{name} {outcome} after {text.duration(finished - started)}{by}"
        bars.append(_bar(on, "work", started, finished, label, attempt.status))
    return bars


def _bar(
    on: Axis,
    kind: Kind,
    begin: int,
    end: int | None,
    label: str,
    status: AttemptStatus | str = "",
    grows_since: str | None = None,
) -> Bar:
    least = _BAR_PERCENT_MIN if kind == "work" else 0.1
    x = min(max(0.0, 100 * (begin - on.start) / on.span), 100.0 - least)
    width = least if end is None else min(max(100 * (end - begin) / on.span, least), 100.0 - x)
    return Bar(kind, f"{x:.2f}%", f"{width:.2f}%", label, str(status), grows_since)
