"""The two child processes of the demo: a server, and a worker that is as far from it as one on another machine."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

STOP_SECONDS_MAX: Final = 8.0
"""How long a child may take to stop when asked; then it is killed."""

PORTS_TRIED: Final = 50


class Child:
    """A Python process that can be started again; it ends with this one, however this one ends.

    Its output goes to a file, or where ours goes when there is no file.
    """

    def __init__(
        self, name: str, arguments: list[str], log: Path | None = None, environ: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C is the parent's to deal with."""
        self._close_lifeline()
        with self.log.open("ab") if self.log else contextlib.nullcontext() as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                [sys.executable, "-u", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **(self._environ or {})},
                start_new_session=True,
            )

    def ended(self) -> str:
        """Say how it ended; an empty text while it runs."""
        code = self._process.poll() if self._process else 0
        if code is None:
            return ""
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def stop(self) -> None:
        """Ask it to stop, wait, and kill it when it does not."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._close_lifeline()

    def kill(self) -> None:
        """End it at once, as ``kill -9`` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._close_lifeline()

    def last_words(self, lines: int = 8) -> str:
        """Give the end of its output."""
        try:
            text = self.log.read_text("utf-8", "replace") if self.log else ""
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def _close_lifeline(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def free_port(wanted: int) -> int:
    """Give the wanted port, or the next one on which nobody listens.

    Raises:
        OSError: none of the next ones is free either.
    """
    for port in range(wanted, min(wanted + PORTS_TRIED, 65_536)):
        if port_is_free(port):
            return port
    raise OSError(f"no port from {wanted} to {wanted + PORTS_TRIED - 1} is free")


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
