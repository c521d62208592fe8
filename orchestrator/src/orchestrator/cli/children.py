"""What the commands share that keep processes of their own: ``demo`` and ``dev``."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from orchestrator.cli.failure import Failure
from orchestrator.demo.stage import StageBroken


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM end a command the way Ctrl-C does: its children are stopped."""

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def child_failure(error: StageBroken, mend: str) -> Failure:
    """Pass on what a child said last: it ends with a failure of its own, in lines of the same form."""
    what, _, said = str(error).partition("\n")
    words = {name: text for name, _, text in (line.strip().partition(": ") for line in said.splitlines())}
    if "error" in words:
        return Failure(words["error"], why=words.get("why", ""), mend=words.get("next", ""))
    return Failure(what, why=" ".join(said.split()), mend=mend)
