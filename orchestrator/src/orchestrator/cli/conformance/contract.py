"""What a worker under test does: its actions, and the file in which it says what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

ACTIONS: Final = {
    "echo": "returns its payload as it came",
    "fail": "fails while the attempt is not above `payload.until`, with `payload.message`; for good, with the type "
    "`payload.type`, where `payload.retryable` is false; to be tried again after `payload.retryAfter` seconds where "
    "that is there. Afterwards it returns the number of the attempt",
    "die": "ends its own process at once, without any farewell, while the attempt is not above `payload.until`; "
    "afterwards it returns the number of the attempt",
    "wait": "waits `payload.seconds`, and returns `waited`. Told to stop, it stops waiting",
    "progress": 'says `{"attempt": N}` with a heartbeat, with N its own number, and fails while N is not above '
    "`payload.until`; afterwards it returns what the previous attempt had said",
}
"""What each handler does, by action."""

JOURNAL: Final = "CONFORMANCE_JOURNAL"
"""The variable that names the file to which each handler appends a line as it begins, and `wait` another as it is told
to stop: ``begin|stopped ACTION JOBID ATTEMPT PID``. In one write each: lines of several processes must not mix."""
LEASE: Final = "CONFORMANCE_LEASE"
"""The variable with the worker's lease, in seconds."""
DRAIN: Final = "CONFORMANCE_DRAIN"
"""The variable with the seconds that jobs in hand get when the worker is told to leave by SIGTERM."""
CHOSEN: Final = "CONFORMANCE_ACTIONS"
"""The variable with the actions to register, with commas between them; all of them where it is not set."""

LEFT_WELL: Final = (0, 143)
"""Exit codes of a worker that has left after SIGTERM; the second is what the virtual machine of Java gives then."""
LEASE_SECONDS: Final = 2.0
DRAIN_SECONDS: Final = 4.0
SLOTS: Final = 10
"""How many jobs a worker under test runs at once, at least."""


class Entry(NamedTuple):
    """A line of the journal."""

    what: str
    action: str
    job_id: str
    attempt: int
    pid: int


def read_journal(path: Path) -> list[Entry]:
    """Read what handlers have written so far; a line that is not whole yet is left out."""
    if not path.exists():
        return []
    found: list[Entry] = []
    for line in path.read_text("utf-8", "replace").splitlines(keepends=True):
        match line.split():
            case [what, action, job_id, attempt, pid] if line.endswith("\n") and attempt.isdigit() and pid.isdigit():
                found.append(Entry(what, action, job_id, int(attempt), int(pid)))
            case _:
                continue
    return found
