"""What workers did, as they wrote it down themselves: the one place where an execution that nobody counts shows."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

FOLDER = "CHAOS_JOURNAL"
"""The variable that tells a worker where to write."""


class Execution(NamedTuple):
    """One execution of a handler."""

    run_id: str
    step: int
    attempt: int


class Line(NamedTuple):
    """What a process wrote."""

    word: str
    execution: Execution
    at: float
    """Seconds since 1970."""


class Pen:
    """Writes for one process; each line is in the file before the next thing happens."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"{os.getpid()}-{time.time_ns()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def begin(self, run_id: str, step: int, attempt: int) -> None:
        """A handler begins."""
        self._write("begin", run_id, step, attempt)

    def end(self, run_id: str, step: int, attempt: int) -> None:
        """A handler has its result, and nobody knows of it."""
        self._write("end", run_id, step, attempt)

    def _write(self, word: str, run_id: str, step: int, attempt: int) -> None:
        os.write(self._file, f"{word} {run_id} {step} {attempt} {time.time():.6f}\n".encode())


class Journal:
    """What all processes wrote."""

    def __init__(self, folder: Path) -> None:
        self.begun: Counter[Execution] = Counter()
        self.ended: Counter[Execution] = Counter()
        self.begun_at: defaultdict[Execution, list[float]] = defaultdict(list)
        """Seconds since 1970."""
        self.ended_at: defaultdict[Execution, list[float]] = defaultdict(list)
        self.lives: list[list[Line]] = []
        """What each process wrote, in order."""
        for file in folder.iterdir():
            self.lives.append([_read(line) for line in file.read_text().splitlines()])
        for line in (line for life in self.lives for line in life):
            if line.word == "begin":
                self.begun[line.execution] += 1
                self.begun_at[line.execution].append(line.at)
            else:
                self.ended[line.execution] += 1
                self.ended_at[line.execution].append(line.at)


def _read(line: str) -> Line:
    word, run_id, step, attempt, at = line.split()
    return Line(word, Execution(run_id, int(step), int(attempt)), float(at))
