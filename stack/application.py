"""An orchestrator on the stack and a worker beside it, in the background: what `make python` shows."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import ClassVar

from stack.daemon import Daemon
from stack.service import HOST
from stack.settings import CHECKOUT

ANSWER_SECONDS_MAX = 2.0
SERVER = CHECKOUT / "orchestrator" / ".venv" / "bin" / "orchestrator"
PYTHON = SERVER.with_name("python")
WORKER = CHECKOUT / "examples" / "python" / "worker.py"


class Orchestrator(Daemon):
    """One `orchestrator server`."""

    name: ClassVar[str] = "orchestrator"
    setting: ClassVar[str] = "PORT"

    def __init__(self, folder: Path, port: int, flags: list[str]) -> None:
        super().__init__(folder, port)
        self._flags = flags

    @property
    def url(self) -> str:
        """Where its API and its pages are."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        return [str(SERVER), "server", "--host", HOST, "--port", str(self.port), *self._flags]

    def answers(self) -> bool:
        """Whether it takes work."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=ANSWER_SECONDS_MAX)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class ExampleWorker(Daemon):
    """The worker of examples/python. It listens on no port."""

    name: ClassVar[str] = "worker-python"
    setting: ClassVar[str] = "PORT"

    def __init__(self, folder: Path, orchestrator: Orchestrator, kafka: str) -> None:
        super().__init__(folder, orchestrator.port)
        self._orchestrator = orchestrator
        self._kafka = kafka

    @property
    def url(self) -> str:
        """Where it finds its orchestrator."""
        return self._orchestrator.url

    @property
    def ports(self) -> list[int]:
        """See `Daemon.ports`."""
        return []

    @property
    def environment(self) -> dict[str, str]:
        """See `Daemon.environment`."""
        return {**os.environ, "WORKFLOW_URL": self._kafka, "PYTHONUNBUFFERED": "1"}

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        return [str(PYTHON), str(WORKER)]

    def answers(self) -> bool:
        """Whether it runs: it connects in its own time, and goes on trying."""
        return self.pid is not None
