"""Starts the server as a user does, and calls it over real sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from stack.ports import free_port

START_SECONDS = 20.0
STOP_SECONDS = 5.0


def until(condition: Callable[[], Any], seconds: float = 10) -> Any:
    """Wait until something is so, and give what it is."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.01)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """A server process; killed at the end of the block, if it still runs."""

    def __init__(
        self, folder: Path | None, *flags: str, port: int | None = None, variables: dict[str, str] | None = None
    ) -> None:
        self.variables = variables or {}
        self.port = port or free_port()
        self.folder = folder
        where = ["--memory"] if folder is None else ["--data", str(folder)]
        self._command = [sys.executable, "-m", "orchestrator", "server", "--port", str(self.port), *where, *flags]
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this object

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and forget what it said."""
        self.kill()
        self._said.close()

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process, and do not wait for it."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR_")}
        environ |= self.variables
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT, env=environ
        )
        return self._process

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        process = self.launch()

        def ready() -> bool:
            assert process.poll() is None, self.said()
            try:
                return self.call("GET", "/health/ready").status == 200
            except OSError:
                return False

        until(ready, START_SECONDS)

    def kill(self) -> None:
        """End the process in a way that lets it do nothing more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask_to_stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask the process to go."""
        assert self._process is not None
        self._process.send_signal(how)

    def ended(self, seconds: float = STOP_SECONDS) -> tuple[int, str]:
        """Wait for the end of the process; gives its exit code and what it said."""
        assert self._process is not None
        code = self._process.wait(seconds)
        self._process = None
        return code, self.said()

    def said(self) -> str:
        """Give all that the process has printed."""
        self._said.seek(0)
        return self._said.read().decode()

    def stop(self) -> None:
        """Ask the process to go, and wait until it has."""
        self.ask_to_stop()
        code, said = self.ended()
        assert code == 0, said

    def connect(self, timeout: float = 10) -> http.client.HTTPConnection:
        """Open a connection to keep."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def call(
        self, method: str, path: str, body: object = b"", timeout: float = 10, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request on a connection of its own."""
        connection = self.connect(timeout)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def raw(self, request: bytes, timeout: float = 5) -> bytes:
        """Send bytes as they are, and give all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
            return b"".join(parts)

    # --- the way most tests begin --------------------------------------------------------------------------------

    def define(self, workflow_id: str, *actions: str, **fields: object) -> None:
        steps = [{"action": action} for action in actions]
        answer = self.call("POST", "/workflow/", {"id": workflow_id, "steps": steps, **fields})
        assert answer.status in (200, 201), answer

    def trigger(self, workflow_id: str = "flow", payload: object = None, **headers: str) -> str:
        answer = self.call("POST", f"/workflow/{workflow_id}/trigger", {"input": payload}, headers=headers)
        assert answer.status in (200, 201), answer
        return answer.text

    def register(self, worker_id: str, *actions: str, **fields: object) -> None:
        answer = self.call("POST", "/workers", {"workerId": worker_id, "actions": actions, **fields})
        assert answer.status == 200, answer

    def exchange(self, worker_id: str, **fields: object) -> dict[str, Any]:
        answer = self.call("POST", f"/workers/{worker_id}/exchange", fields, timeout=65)
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def show(self, run_id: str, wait: float = 0) -> dict[str, Any]:
        answer = self.call("GET", f"/workflow/run/{run_id}?wait={wait}s", timeout=wait + 10)
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send one request on an open connection; anything but bytes goes as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request(method, path, raw, headers or {})
    answer = connection.getresponse()
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def done(job: dict[str, Any], result: object = None) -> dict[str, Any]:
    """Write down that a job has completed."""
    return {"jobId": job["jobId"], "attempt": job["attempt"], "result": result}
