"""Following a run until it has ended: a live tree for a person, a line for each event otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from orchestrator.cli import output
from orchestrator.cli.failure import ExitCode, Failure, NoAnswer
from orchestrator.cli.rest import Orchestrator, segment

LOOK_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 30.0
"""How long an orchestrator that has answered once may be away."""
LOOKS_UNTIL_SAID: Final = 3
"""Looks in vain before anything is said of it: a restart takes less."""
ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class Watched:
    """A run as it was when somebody looked last, and how much of its history was given out."""

    def __init__(self, server: Orchestrator, run_id: str) -> None:
        self.server = server
        self.path = f"/workflow/run/{segment(run_id)}"
        self.raw = b""
        self.run: dict[str, Any] = {}
        self._seq = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.run.get("status") in ENDED

    def look(self) -> None:
        """Read the run."""
        self.raw = self.server.get(self.path).raw
        self.run = msgspec.json.decode(self.raw)

    def new_events(self) -> list[bytes]:
        """Give the events since the last call."""
        raw = self.server.get(f"{self.path}/events", {"after": self._seq} if self._seq else None).raw
        events = msgspec.json.decode(raw, type=list[msgspec.Raw])
        if events:
            self._seq = msgspec.json.decode(events[-1])["seq"]
        return [bytes(event) for event in events]


def follow(
    watched: Watched,
    *,
    as_json: bool = False,
    quiet: bool = False,
    timeout: float | None = None,
    look_seconds: float = LOOK_SECONDS,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Show a run until it has ended.

    Args:
        watched: the run; holds its last state afterwards.
        as_json: print each event as a line of JSON.
        quiet: print nothing.
        timeout: seconds to wait at most.
        look_seconds: the time between two looks.
        tick: called between two looks.

    Raises:
        Failure: the run has not ended in time, or the orchestrator went away for long.
    """
    if quiet:
        _loop(watched, lambda: None, timeout, look_seconds, tick)
    elif output.is_terminal() and not as_json:
        from orchestrator.cli.live import LiveTree

        with LiveTree(lambda: watched.run):
            _loop(watched, lambda: None, timeout, look_seconds, tick)
    else:
        _loop(watched, Lines(watched, as_json=as_json).update, timeout, look_seconds, tick)


def _loop(
    watched: Watched, update: Callable[[], None], timeout: float | None, look_seconds: float, tick: Callable[[], None]
) -> None:
    until = None if timeout is None else time.monotonic() + timeout
    away, patient_until = 0, 0.0
    while True:
        try:
            watched.look()
            update()
        except NoAnswer as error:
            if not watched.raw:
                raise
            away += 1
            if away == 1:
                patient_until = time.monotonic() + PATIENCE_SECONDS
            elif away == LOOKS_UNTIL_SAID:
                output.say(f"{error.what} ({error.why}); trying again for {PATIENCE_SECONDS:g} s")
            if time.monotonic() > patient_until:
                raise
        else:
            away = 0
        if watched.has_ended:
            return
        if until is not None and time.monotonic() >= until:
            raise not_in_time(watched.run, timeout)
        tick()
        time.sleep(look_seconds)


def not_in_time(run: dict[str, Any], timeout: float | None) -> Failure:
    """Say that a run goes on although nobody waits any longer."""
    return Failure(
        f"run {run['runId']} is {run['status']} after {timeout:g} s",
        why=str(run.get("waitingFor") or "it has not ended yet"),
        mend=f"it goes on; see it with `orchestrator run watch {run['runId']}`",
        code=ExitCode.TIMED_OUT,
    )


class Lines:
    """Prints one line for each event."""

    def __init__(self, watched: Watched, *, as_json: bool) -> None:
        self._watched = watched
        self._as_json = as_json

    def update(self) -> None:
        """Print what is new."""
        for raw in self._watched.new_events():
            output.write(raw.decode() if self._as_json else self._line(msgspec.json.decode(raw)))

    def _line(self, event: dict[str, Any]) -> str:
        parts = [event["at"], event["type"]]
        index = event.get("stepIndex")
        if index is not None:
            parts.append(f"step {index} ({self._action(index)})")
        if event.get("attempt"):
            parts.append(f"attempt {event['attempt']}")
        if event.get("worker"):
            parts.append(f"on {event['worker']}")
        if error := event.get("error"):
            parts.append(f"{error['type']}: {error['message']}")
        if event.get("nextAttemptAt"):
            parts.append(f"next attempt at {event['nextAttemptAt']}")
        if event.get("reason"):
            parts.append(event["reason"])
        return "\t".join(output.clean(str(part)) for part in parts)

    def _action(self, index: int) -> str:
        return next((step["action"] for step in self._watched.run["steps"] if step["stepIndex"] == index), "?")
