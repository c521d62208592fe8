"""Processes of workers under test: any command, with all that it starts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

STOP_SECONDS_MAX: Final = 10.0
LOOK_SECONDS: Final = 0.02


class WorkerProcess:
    """One life of a worker, in a session of its own: what its command starts gets the same signals."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the command that is to be tested
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environ},
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, seconds: float) -> int | None:
        """Wait for its end; None when it has not come in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def end(self) -> None:
        """See to it that nothing of it is left."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        self.wait(STOP_SECONDS_MAX)
        self.send(signal.SIGKILL)
        self._process.wait()

    def last_words(self, lines: int = 6) -> str:
        """Give the end of what it wrote."""
        text = self._log.read_text("utf-8", "replace") if self._log.exists() else ""
        return "\n".join(text.strip().splitlines()[-lines:])


def pause() -> None:
    """Wait a moment between two looks at something outside."""
    time.sleep(LOOK_SECONDS)
