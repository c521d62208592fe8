"""A note in the data folder of who runs there, so that another command can find and stop it.

The process keeps a lock on its note: a note without one is of a process that is gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

RECORD_NAME: Final = "process.json"


class Record(NamedTuple):
    """The process to ask, what it is, and where it answers."""

    pid: int
    command: str
    url: str


@contextlib.contextmanager
def recorded(data: Path | None, command: str, url: str) -> Iterator[None]:
    """Keep the note while the block runs; there is none where nothing is stored."""
    if data is None:
        yield
        return
    path = data / RECORD_NAME
    temporary = path.with_suffix(f".{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump({"pid": os.getpid(), "command": command, "url": url}, file)
        file.flush()
        temporary.replace(path)
        try:
            yield
        finally:
            # Another process may have put its own in place meanwhile: that one stays.
            with contextlib.suppress(OSError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    path.unlink()


def read_record(data: Path) -> Record | None:
    """Give the note of a process that lives; None when there is none."""
    try:
        with (data / RECORD_NAME).open(encoding="utf-8") as file:
            if not _is_locked(file.fileno()):
                return None
            found = json.load(file)
            return Record(int(found["pid"]), str(found["command"]), str(found["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
