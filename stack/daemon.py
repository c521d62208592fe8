"""The life of a service that is a process: started, found again, watched, stopped, killed, frozen."""

from __future__ import annotations

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

from stack import ports, processes
from stack.processes import Process
from stack.service import HOST, START_SECONDS_MAX, STOP_SECONDS_MAX, NotReady, PortTaken

LOOK_SECONDS = 0.05
"""How often a condition is looked at while waiting for it."""

KILL_SECONDS_MAX = 10.0
"""How long the system may take to end processes that were killed."""

LOG_LINES_SHOWN = 20
LOG_BYTES_MAX = 8 * 1024 * 1024
"""A log above this size is begun anew at the next start."""


class Daemon(ABC):
    """See `stack.service.Service`. What is particular to a service is in the abstract methods.

    The pid file says which process it is, so that every Python process with the same folder means the same one.
    """

    name: str
    setting: ClassVar[str]
    """The variable that chooses the port for `make stack`."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.absolute()
        self.port = port
        self._child: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """See `Service.url`."""

    @abstractmethod
    def answers(self) -> bool:
        """See `Service.answers`."""

    @abstractmethod
    def prepare(self) -> list[str]:
        """Make what must be there before the process starts, and give the command that starts it."""

    @property
    def ports(self) -> list[int]:
        """All ports that it listens on."""
        return [self.port]

    @property
    def environment(self) -> dict[str, str] | None:
        """The variables of its process; None means those of this one."""
        return None

    @property
    def pid(self) -> int | None:
        """See `Service.pid`."""
        process = self._process()
        return None if process is None else process.pid

    @property
    def log(self) -> Path:
        """What its process prints."""
        return self.folder / f"{self.name}.log"

    def start(self, seconds: float = START_SECONDS_MAX) -> None:
        """See `Service.start`."""
        if self._port_in_use() not in (None, self.port):
            self.stop()  # it moves to another port
        if self._goes_on(seconds):
            return
        self.kill()
        self._require_ports()
        self._spawn()
        try:
            self.wait_until_ready(seconds)
        except NotReady:
            self.kill()
            raise

    def stop(self) -> None:
        """See `Service.stop`."""
        process = self._process()
        if process is not None:
            family = process.family()
            process.signal(self.stop_signal)
            for member in family:
                member.signal(signal.SIGCONT)  # who is frozen hears nothing else
            if not wait_for(lambda: not _living(family), STOP_SECONDS_MAX):
                end(family)
        self._forget()

    def kill(self) -> None:
        """See `Service.kill`."""
        process = self._process()
        if process is not None:
            end(process.freeze())
        self._forget()

    def restart(self) -> None:
        """See `Service.restart`."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """See `Service.pause`."""
        self._required().freeze()

    def resume(self) -> None:
        """See `Service.resume`."""
        for member in self._required().family():
            member.signal(signal.SIGCONT)

    def wait_until_ready(self, seconds: float = START_SECONDS_MAX) -> None:
        """See `Service.wait_until_ready`."""
        ready = False

        def is_decided() -> bool:
            nonlocal ready
            ready = self._process() is not None and self.answers()
            return ready or self._process() is None

        decided = wait_for(is_decided, seconds)
        if not decided:
            raise NotReady(f"{self.name} did not answer on port {self.port} within {seconds:g} s. {self._end_of_log()}")
        if not ready:
            raise NotReady(f"{self.name} ended. {self._end_of_log()}")

    @contextmanager
    def running(self) -> Iterator[Self]:
        """See `Service.running`."""
        try:
            self.start()
            yield self
        finally:
            self.stop()

    @property
    def _pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def _process(self) -> Process | None:
        """The process that the pid file names, if it lives."""
        try:
            process = processes.read(self._pid_file.read_text().partition("\n")[0])
        except FileNotFoundError:
            return None
        return process if process is not None and process.lives() else None

    def _port_in_use(self) -> int | None:
        """The port with which its process was started, or None when none was."""
        try:
            port = self._pid_file.read_text().partition("\n")[2].strip()
        except FileNotFoundError:
            return None
        return int(port) if port.isdecimal() else None

    def _required(self) -> Process:
        process = self._process()
        if process is None:
            raise NotReady(f"{self.name} does not run. {self._end_of_log()}")
        return process

    def _goes_on(self, seconds: float) -> bool:
        """Whether the process that is there answers, if need be after being thawed."""
        if self._process() is None:
            return False
        try:
            self.resume()
            self.wait_until_ready(seconds)
        except NotReady:
            return False
        return True

    def _spawn(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.prepare()
        fresh = not self.log.exists() or self.log.stat().st_size > LOG_BYTES_MAX
        with self.log.open("wb" if fresh else "ab") as log:
            self._child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt from the keyboard is not for it
            )
        process = processes.process(self._child.pid)
        if process is not None:
            self._pid_file.write_text(f"{process}\n{self.port}\n")

    def _require_ports(self) -> None:
        for port in self.ports:
            if not ports.is_free(port):
                raise PortTaken(
                    f"{self.name} needs port {port} of {HOST}, and something else uses it. "
                    f"Stop that, or choose another port: {self.setting}=…"
                )

    def _forget(self) -> None:
        if self._child is not None:
            self._child.poll()  # an ended child stays listed until its parent asks
            self._child = None
        self._pid_file.unlink(missing_ok=True)

    def _end_of_log(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        except FileNotFoundError:
            return "It never wrote a log."
        return "\n".join([f"The end of {self.log}:", *lines])


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Look at a condition until it holds; False when it still does not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_SECONDS)
    return True


def _living(family: list[Process]) -> list[Process]:
    return [member for member in family if member.lives()]


def end(family: list[Process]) -> None:
    """Kill processes and wait until the system has ended them."""
    for member in family:
        member.signal(signal.SIGKILL)
    if not wait_for(lambda: not _living(family), KILL_SECONDS_MAX):
        raise NotReady(f"processes do not end: {', '.join(str(member.pid) for member in _living(family))}")
