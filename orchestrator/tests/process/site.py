"""A real server process, and calls to it over real connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

DEADLINE_SECONDS: Final = 20.0


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Site:
    """A server on a data folder; it can be killed and started again."""

    def __init__(self, folder: Path | None) -> None:
        self.port = free_port()
        self._folder = folder
        self._threads = ThreadPoolExecutor(8)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        kept = ["--memory"] if self._folder is None else ["--data", str(self._folder)]
        command = [sys.executable, "-m", "orchestrator", "server", "--port", str(self.port), *kept]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "ready" in line, line
        return process

    def kill(self) -> None:
        """End the process as a loss of power would."""
        self.process.kill()
        self.process.communicate()

    def start_again(self) -> None:
        """Start another process on the same data."""
        self.process = self._start()

    def terminate(self) -> int:
        """Ask the process to go; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=DEADLINE_SECONDS)
        return self.process.returncode

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; gives the status, and the body as JSON or text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            raw = answer.read().decode()
            is_json = "json" in (answer.headers["Content-Type"] or "")
            return answer.status, json.loads(raw) if is_json else raw

    def begin(self, method: str, path: str, body: Any = None) -> Future[tuple[int, Any]]:
        """Send a request that waits, on a thread of its own."""
        return self._threads.submit(self.call, method, path, body)

    def define(self, *actions: str, **fields: Any) -> None:
        """Define the workflow ``flow``."""
        body = {"id": "flow", "steps": [{"action": action} for action in actions], **fields}
        assert self.call("POST", "/workflow/", body)[0] in (200, 201)

    def trigger(self, value: Any = None) -> str:
        """Start a run of ``flow``; gives its id."""
        status, run_id = self.call("POST", "/workflow/flow/trigger", {"input": value})
        assert status == 201
        return str(run_id)

    def register(self, worker: str, *actions: str, lease: float = 30) -> None:
        """Register a worker."""
        body = {"workerId": worker, "actions": actions, "lease": lease}
        assert self.call("POST", "/workers", body)[0] == 200

    def take(self, worker: str, capacity: int = 1, wait: float = 10) -> list[dict[str, Any]]:
        """Ask for jobs."""
        status, answer = self.call("POST", f"/workers/{worker}/exchange", {"capacity": capacity, "wait": wait})
        assert status == 200, answer
        jobs: list[dict[str, Any]] = answer.get("jobs", [])
        return jobs

    def report(self, worker: str, *jobs: dict[str, Any]) -> dict[str, Any]:
        """Report each job done, with its payload as result."""
        results = [{"jobId": job["jobId"], "attempt": job["attempt"], "result": job["payload"]} for job in jobs]
        status, answer = self.call("POST", f"/workers/{worker}/exchange", {"results": results})
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def run(self, run_id: str, wait: float = 0) -> dict[str, Any]:
        """Read a run."""
        status, run = self.call("GET", f"/workflow/run/{run_id}?wait={wait}")
        assert status == 200, run
        assert isinstance(run, dict)
        return run

    def until(self, holds: Any) -> None:
        """Look again and again until a condition holds."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, "the condition never held"

    def close(self) -> None:
        """End everything."""
        if self.process.poll() is None:
            self.kill()
        self._threads.shutdown()


@contextlib.contextmanager
def site(folder: Path | None) -> Iterator[Site]:
    """Run a server while the block runs."""
    opened = Site(folder)
    try:
        yield opened
    finally:
        opened.close()
