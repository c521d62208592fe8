"""The rules of a run once more, as plainly as they can be said: one row per step, and no events.

Written apart from the engine and without a line of it, so that the two are not wrong in the same way.
A call changes the rows and answers with a word: ``ok``, ``nothing``, ``again`` (a timer came early),
``superseded`` (also for a step that was never given out), ``recorded``, or ``finished``.
"""

from __future__ import annotations

from dataclasses import dataclass

OPEN = ("queued", "running", "resting")


@dataclass
class Rules:
    """What the definition says about a step; times in microseconds."""

    needs: set[int]
    retries: int
    delay: int
    doubles: bool
    longest: int | None
    jitter: float
    hopeless: set[str]

    def pause(self, number: int, draw: float) -> int:
        """Give the pause before retry ``number``."""
        pause = self.delay
        for _ in range(number - 1 if self.doubles else 0):
            pause += pause
        if self.longest is not None and pause > self.longest:
            pause = self.longest
        return round(pause - pause * self.jitter * draw)


@dataclass
class Row:
    """Where a step is."""

    at: str = "pending"
    attempt: int = 0
    errors: int = 0
    losses: int = 0
    suspect: bool = False
    due: int | None = None


class Reference:
    """One run."""

    def __init__(self, rules: dict[int, Rules], timeout: int | None, now: int) -> None:
        self.rules = rules
        self.timeout = timeout
        self.rows = {step: Row() for step in rules}
        self.ended = ""
        self._begin(now)

    def _begin(self, now: int) -> None:
        self.deadline = None if self.timeout is None else now + self.timeout
        self._queue_what_is_ready()

    def _queue_what_is_ready(self) -> None:
        for step, row in self.rows.items():
            if row.at == "pending" and all(self.rows[need].at == "completed" for need in self.rules[step].needs):
                row.at, row.attempt = "queued", 1

    @property
    def status(self) -> str:
        """Say what the run's status must be."""
        if self.ended:
            return self.ended
        return "WAITING" if {row.at for row in self.rows.values()} & set(OPEN) == {"resting"} else "RUNNING"

    def _current(self, step: int, attempt: int, *at: str) -> Row | None:
        row = self.rows.get(step)
        if self.ended or row is None or row.attempt != attempt or row.at not in at:
            return None
        return row

    def take(self, step: int, attempt: int) -> str:
        """A worker takes the job."""
        if row := self._current(step, attempt, "queued"):
            row.at = "running"
            return "ok"
        return "nothing"

    def _fence(self, step: int, attempt: int) -> str:
        row = self.rows.get(step, Row())
        if self.ended:
            return "finished"
        if row.at == "completed":
            return "recorded"
        return "" if self._current(step, attempt, "queued", "running") else "superseded"

    def succeed(self, step: int, attempt: int) -> str:
        """A worker reports a result."""
        if word := self._fence(step, attempt):
            return word
        self.rows[step].at = "completed"
        self._queue_what_is_ready()
        if all(row.at == "completed" for row in self.rows.values()):
            self.ended = "COMPLETED"
        return "ok"

    def give_back(self, step: int, attempt: int) -> str:
        """A worker returns the job unharmed."""
        if word := self._fence(step, attempt):
            return word
        self.rows[step].at = "queued"
        self.rows[step].attempt += 1
        return "ok"

    def err(
        self, step: int, attempt: int, now: int, kind: str, *, mendable: bool, wish: int | None, draw: float
    ) -> str:
        """A worker reports an error."""
        if word := self._fence(step, attempt):
            return word
        row, rules = self.rows[step], self.rules[step]
        row.errors += 1
        if not mendable or kind in rules.hopeless or row.errors == rules.retries + 1:
            return self._die(row)
        return self._rest(row, now + (rules.pause(row.errors, draw) if wish is None else wish))

    def overrun(self, step: int, attempt: int, now: int, draw: float) -> str:
        """The attempt took too long."""
        if self._current(step, attempt, "running") is None:
            return "nothing"
        return self.err(step, attempt, now, "StepTimeout", mendable=True, wish=None, draw=draw)

    def vanish(self, step: int, attempt: int, now: int, most: int, draw: float) -> str:
        """The worker gave no sign of life."""
        row = self._current(step, attempt, "running")
        if row is None:
            return "nothing"
        rules = self.rules[step]
        row.losses += 1
        row.suspect = True
        if "WorkerLost" in rules.hopeless or row.losses > most or row.losses > rules.retries:
            return self._die(row)
        return self._rest(row, now + rules.pause(row.losses, draw))

    def _rest(self, row: Row, due: int) -> str:
        row.at, row.due = "resting", due
        return "ok"

    def _die(self, row: Row) -> str:
        row.at = "failed"
        self._close("FAILED")
        return "ok"

    def _close(self, word: str) -> None:
        self.ended = word
        for row in self.rows.values():
            row.due = None
            if row.at in OPEN:
                row.at = "halted"

    def ring(self, step: int, attempt: int, now: int) -> str:
        """The retry timer of a step rings."""
        row = self._current(step, attempt, "resting")
        if row is None or row.due is None:
            return "nothing"
        if now < row.due:
            return "again"
        row.at, row.attempt, row.due = "queued", row.attempt + 1, None
        return "ok"

    def cancel(self) -> str:
        """A client ends the run."""
        if self.ended:
            return "nothing" if self.ended == "CANCELLED" else "finished"
        self._close("CANCELLED")
        return "ok"

    def expire(self, now: int) -> str:
        """The run's own timer rings."""
        if self.ended or self.deadline is None or now < self.deadline:
            return "nothing"
        self._close("TIMED_OUT")
        return "ok"

    def revive(self, step: int, now: int) -> str:
        """A person redrives the dead letter of a step."""
        if self.ended != "FAILED" or self.rows.get(step, Row()).at != "failed":
            return "finished"
        self.ended = ""
        for row in self.rows.values():
            if row.at in ("failed", "halted"):
                row.at, row.attempt, row.errors, row.losses = "queued", row.attempt + 1, 0, 0
        self._begin(now)
        return "ok"
