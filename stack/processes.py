"""Processes of this machine, known by more than their number, which the system gives to others later."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DEAD = "ZX"
"""States of a process that has ended and is still listed until its parent asks."""


@dataclass(frozen=True)
class Entry:
    """What the system says about one process."""

    parent: int
    born: str


@dataclass(frozen=True)
class Process:
    """A process and the moment it was born: together they are unique while the machine is up."""

    pid: int
    born: str

    def __str__(self) -> str:
        return f"{self.pid} {self.born}"

    def lives(self) -> bool:
        """Whether it has not ended; one that is stopped by a signal lives."""
        entry = look(self.pid)
        return entry is not None and entry.born == self.born

    def family(self) -> list[Process]:
        """The process and all that descend from it, parents first; empty when it has ended."""
        if not self.lives():
            return []
        entries = table()
        found = [self]
        for member in found:
            found += [Process(pid, entry.born) for pid, entry in entries.items() if entry.parent == member.pid]
        return found

    def freeze(self) -> list[Process]:
        """Stop it and all that descend from it; give all of them. The parent first, so that it has no more children."""
        self.signal(signal.SIGSTOP)
        family = self.family()
        for member in family:
            member.signal(signal.SIGSTOP)
        return family

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self.lives():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return  # it ended between the look and the signal


def process(pid: int) -> Process | None:
    """The process that has this number now, or None."""
    entry = look(pid)
    return None if entry is None else Process(pid, entry.born)


def read(text: str) -> Process | None:
    """Read what `str` of a process wrote; None when it is something else, as after a disk that was full."""
    pid, _, born = text.strip().partition(" ")
    return Process(int(pid), born) if pid.isdecimal() and born else None


def at_work_in(folder: Path, program: str) -> list[Process]:
    """The processes of a program whose working folder is this one. Empty where there is no /proc."""
    found = []
    for pid in table() if PROC.exists() else ():
        try:
            place, image = (PROC / str(pid) / "cwd").readlink(), (PROC / str(pid) / "exe").readlink()
        except OSError:
            continue  # it has ended, or is none of our business
        candidate = process(pid)
        if place == folder.resolve() and image.name == program and candidate is not None:
            found.append(candidate)
    return found


def look(pid: int) -> Entry | None:
    """What the system says about a process; None when it has ended."""
    if not PROC.exists():
        return table_of_ps("-p", str(pid)).get(pid)
    try:
        return entry_of_proc((PROC / str(pid) / "stat").read_text(errors="replace"))
    except OSError:
        return None


def table() -> dict[int, Entry]:
    """All processes that have not ended, by number."""
    if not PROC.exists():
        return table_of_ps("-ax")
    pids = [int(folder.name) for folder in PROC.iterdir() if folder.name.isdecimal()]
    return {pid: entry for pid in pids if (entry := look(pid)) is not None}


def entry_of_proc(text: str) -> Entry | None:
    """Read a line of /proc; see proc(5). The second field may hold anything, so that counting begins after it."""
    state, parent, *fields = text.rpartition(")")[2].split()
    threads = int(fields[15])  # field 20: as long as one is left, files and ports are still held
    return None if state in DEAD and threads <= 1 else Entry(int(parent), fields[17])  # field 22: ticks after boot


def table_of_ps(*choice: str) -> dict[int, Entry]:
    """Ask ps, where there is no /proc."""
    command = ["ps", *choice, "-o", "pid=,ppid=,state=,lstart="]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(maxsplit=3) for line in lines]
    return {int(pid): Entry(int(parent), born) for pid, parent, state, born in rows if state[0] not in DEAD}
