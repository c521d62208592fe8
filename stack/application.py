"""An orchestrator on the stack and the examples beside it, in the background: what `make all` shows."""

from __future__ import annotations

import http.client
import os
from pathlib import Path
from typing import ClassVar

from stack import examples
from stack.daemon import Daemon
from stack.service import HOST
from stack.settings import CHECKOUT

ANSWER_SECONDS_MAX = 2.0
SERVER = CHECKOUT / "orchestrator" / ".venv" / "bin" / "orchestrator"


class Orchestrator(Daemon):
    """One `orchestrator server`."""

    name = "orchestrator"
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
    """An example of `examples`: the same ones in each language, each a process of its own. It listens on no port."""

    setting: ClassVar[str] = "PORT"

    def __init__(self, folder: Path, language: str, example: str, orchestrator: Orchestrator, kafka: str) -> None:
        """Make it known; what it keeps is in a folder of `folder` that has its name."""
        self.name = f"{language}-{example}"
        super().__init__(folder / self.name, orchestrator.port)
        self.language = language
        self._example = example
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
        return examples.command(self.language, self._example)

    def answers(self) -> bool:
        """Whether it runs: it connects in its own time, and goes on trying."""
        return self.pid is not None
