"""Processes that a scenario starts, kills, freezes, and starts again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 40.0
AGAIN_SECONDS = 0.3
"""How soon one that has died is started again."""


class Child:
    """A process, with its log; it ends with this one, however that ends: its standard input is a pipe held here."""

    def __init__(
        self, name: str, module: str, words: Sequence[str], variables: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.words = list(words)
        self.variables = dict(variables)
        self.is_kept = False
        """Whether it is started again when it dies."""
        self.ends: list[int] = []
        """The exit codes of those of its lives that nobody has ended, and that did not kill themselves."""
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None
        self._is_asked = False
        """Whether it was asked to go."""
        self._lock = threading.RLock()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start it, unless it runs; it is kept alive from now on."""
        with self._lock:
            self.is_kept = True
            if self.is_alive:
                return
            self._bury()
            environ = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", self._module, *self.words],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**environ, **self.variables},
                )

    def keep(self) -> None:
        """Start it again if it has died."""
        with self._lock:
            if self.is_kept and self._process is not None and self._process.poll() is not None:
                self.start()

    def kill(self, *, is_kept: bool = True) -> None:
        """Let it do nothing more; it is started again unless told otherwise."""
        with self._lock:
            self.is_kept = is_kept
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if not is_kept:
                self._bury()

    def stop(self) -> int | None:
        """Ask it to go, and wait until it has; give its exit code. One that does not go is killed."""
        with self._lock:
            self.is_kept = False
            if self._process is None:
                return None
            if self._process.poll() is None:
                self._is_asked = True
                self._process.send_signal(signal.SIGCONT)
                self._process.terminate()
                try:
                    self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
            code = self._process.returncode
            self._bury()
            return code

    def freeze(self) -> None:
        """Let it stand still, with all that it has open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, as if no time had passed."""
        self._signal(signal.SIGCONT)

    def said(self) -> str:
        """Give all that it has printed so far, in all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def _bury(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            code = self._process.returncode
            wanted = {0, -signal.SIGKILL} | ({-signal.SIGTERM} if self._is_asked else set())
            if code not in wanted and not (code > 0 and self._is_asked):
                self.ends.append(code)
        self._is_asked = False
        self._process = None


class Supervisor:
    """Starts again who has died, as whatever runs such processes does."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(AGAIN_SECONDS):
            for child in list(self._children):
                child.keep()


def until(condition: object, seconds: float, look: float = 0.05) -> bool:
    """Look at a condition until it holds; False when it did not in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(look)
    return True
