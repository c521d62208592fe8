"""What all three services have in common, and what can go wrong with them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

START_SECONDS_MAX = 60.0
"""How long a service may take until it answers. Ten times what a slow machine needs."""

STOP_SECONDS_MAX = 30.0
"""How long a service may take to stop by itself; then it is killed."""

HOST = "127.0.0.1"
"""The only address that services listen on."""


class StackError(Exception):
    """Something a person must know; the message says how to mend it."""


class PortTaken(StackError):
    """A port that a service needs is used by a process that is not its own."""


class NotInstalled(StackError):
    """A program is missing and cannot be installed from here."""


class NotReady(StackError):
    """A service ended, or stayed silent for too long; the message ends with the end of its log."""


class Service(Protocol):
    """A server in a folder on a port: one process, or a few that belong together.

    It outlives the Python process that started it: another one with the same folder finds it, and may stop it.
    All methods may be called in any state, and twice. None of them is safe against other threads.
    """

    name: str
    folder: Path
    port: int

    @property
    def url(self) -> str:
        """How clients are told where it is."""
        ...

    @property
    def pid(self) -> int | None:
        """The main process, or None when none runs. A stranger that got the number of a dead one does not count."""
        ...

    def start(self, seconds: float = START_SECONDS_MAX) -> None:
        """Start it, on the data that is there, and wait until it answers. Nothing happens when it answers already.

        A process that is half dead (stopped by a signal, or some of its processes left over) is mended.

        Raises:
            NotInstalled: its program is not on this machine
            PortTaken: something else listens on its port
            NotReady: it did not answer within `seconds`
        """
        ...

    def stop(self) -> None:
        """Ask it to stop and wait until it has; kill it after `STOP_SECONDS_MAX`. Data stays."""
        ...

    def kill(self) -> None:
        """End all its processes at once, as a crash does (SIGKILL), and wait until they are gone. Data stays."""
        ...

    def restart(self) -> None:
        """Stop, then start."""
        ...

    def pause(self) -> None:
        """Freeze all its processes (SIGSTOP): connections stay open and nobody answers.

        Raises NotReady if none runs.
        """
        ...

    def resume(self) -> None:
        """Let them go on (SIGCONT). Raises NotReady if none runs."""
        ...

    def answers(self) -> bool:
        """Whether it answers a request of its own protocol now. Takes a few seconds at most."""
        ...

    def wait_until_ready(self, seconds: float = START_SECONDS_MAX) -> None:
        """Wait until it answers. Raises NotReady after `seconds`, and at once when its process has ended."""
        ...

    def running(self) -> AbstractContextManager[Self]:
        """Start it, and stop it when the block ends."""
        ...
