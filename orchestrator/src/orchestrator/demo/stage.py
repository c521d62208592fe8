"""The processes of a demo: started, watched, started again when somebody kills them, and stopped."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from orchestrator.demo.children import Child, free_port

READY_SECONDS_MAX: Final = 20.0
READY_LOOK_SECONDS: Final = 0.02
CONNECT_SECONDS: Final = 2.0
HOST: Final = "127.0.0.1"

RESTARTS_MAX: Final = 20
"""Starts after the first ones; beyond it something is wrong that starting again does not mend."""


class StageBroken(Exception):
    """A process does not come up, or does not stay up. After the first line: the end of what it printed."""


class ServerProcess:
    """A server of our own, on the wanted port or the next free one."""

    def __init__(
        self,
        *,
        port: int,
        data: Path | None,
        log: Path | None,
        options: Sequence[str] = (),
        environ: dict[str, str] | None = None,
    ) -> None:
        """Choose the port.

        Args:
            port: the first one to try.
            data: the data folder; None keeps nothing, unless `options` say where.
            log: the file for its output; None leaves it where ours goes.
            options: further ones of ``orchestrator server``.
            environ: further variables.

        Raises:
            StageBroken: none is free.
        """
        try:
            self.port = free_port(port)
        except OSError as error:
            raise StageBroken(str(error)) from None
        self.url = f"http://{HOST}:{self.port}"
        kept = options or (["--memory"] if data is None else ["--data", str(data)])
        command = ["-m", "orchestrator", "server", "--child", "--host", HOST, "--port", str(self.port), *kept]
        self.child = Child("server", command, log, environ)

    def wait_until_ready(self) -> None:
        """Wait until it takes work.

        Raises:
            StageBroken: it has ended, or takes too long.
        """
        until = time.monotonic() + READY_SECONDS_MAX
        while not self._is_ready():
            if how := self.child.ended():
                raise StageBroken(f"the server {how}\n{self.child.last_words()}")
            if time.monotonic() > until:
                raise StageBroken(f"the server is not ready after {READY_SECONDS_MAX:g} s\n{self.child.last_words()}")
            time.sleep(READY_LOOK_SECONDS)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=CONNECT_SECONDS)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Stage:
    """A server and a worker, each in a process of its own."""

    def __init__(self, *, port: int, data: Path | None, logs: Path, tell: Callable[[str], None]) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        server_log, worker_log = logs / "server.log", logs / "worker.log"
        server_log.write_bytes(b"")
        worker_log.write_bytes(b"")
        self.server = ServerProcess(port=port, data=data, log=server_log)
        self.worker = Child("worker", ["-m", "orchestrator.demo.worker", self.server.url], worker_log)
        self._tell = tell
        self._restarts = 0

    def __enter__(self) -> Self:
        """Start both at once: the worker waits for the server by itself.

        Raises:
            StageBroken: the server does not come up.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self.stop)
            self.server.child.start()
            self.worker.start()
            self.server.wait_until_ready()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the worker first: its last words go to the server."""
        self.worker.stop()
        self.server.child.stop()

    def mend(self) -> None:
        """Start again what has ended, and say so.

        Raises:
            StageBroken: it ends again and again.
        """
        for child in (self.server.child, self.worker):
            how = child.ended()
            if not how:
                continue
            self._restarts += 1
            if self._restarts > RESTARTS_MAX:
                raise StageBroken(f"the {child.name} {how} again and again\n{child.last_words()}")
            child.start()
            self._tell(f"the {child.name} {how}; started it again as process {child.pid}")
            if child is self.server.child:
                self.server.wait_until_ready()
