"""What processes cost: CPU seconds and memory, as the kernel counts them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
KIB_PER_MIB = 1024


def cpu_of(pid: int) -> float:
    """Give the CPU seconds of a process: all its threads together, and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def own_cpu() -> float:
    """Give the CPU seconds of this process."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def children_cpu() -> float:
    """Give the CPU seconds of the processes that this one has started and that have ended."""
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return theirs.ru_utime + theirs.ru_stime


def rss_of(pid: int) -> float:
    """Give the resident memory of a process in MiB."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS") / KIB_PER_MIB


def shared_memory_of(pids: Iterable[int]) -> float:
    """Give the resident memory of processes in MiB; what several of them share is counted once."""
    return sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) / KIB_PER_MIB


def _kib(file: Path, name: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
