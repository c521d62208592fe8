"""An orchestrator on the stack and workers beside it, in the background: what `make all` shows."""

from __future__ import annotations

import http.client
import os
import shutil
from pathlib import Path
from typing import ClassVar

from stack.daemon import Daemon
from stack.service import HOST, NotInstalled
from stack.settings import CHECKOUT

ANSWER_SECONDS_MAX = 2.0
SERVER = CHECKOUT / "orchestrator" / ".venv" / "bin" / "orchestrator"
PYTHON = SERVER.with_name("python")
EXAMPLES = CHECKOUT / "examples"
OWN_NODE = CHECKOUT / ".node" / "bin" / "node"
"""Where `make` puts Node.js when there is none."""


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
    """A worker of `examples`. It listens on no port."""

    setting: ClassVar[str] = "PORT"

    def __init__(self, folder: Path, orchestrator: Orchestrator, kafka: str) -> None:
        """Make it known; what it keeps is in a folder of `folder` that has its name."""
        super().__init__(folder / self.name, orchestrator.port)
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

    def answers(self) -> bool:
        """Whether it runs: it connects in its own time, and goes on trying."""
        return self.pid is not None


class PythonWorker(ExampleWorker):
    """The worker of examples/python."""

    name: ClassVar[str] = "worker-python"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        return [str(PYTHON), str(EXAMPLES / "python" / "worker.py")]


class NodeWorker(ExampleWorker):
    """The worker of examples/node, as `make node` has compiled it."""

    name: ClassVar[str] = "worker-node"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        node = str(OWN_NODE) if OWN_NODE.exists() else shutil.which("node")
        worker = EXAMPLES / "node" / "dist" / "worker.js"
        if node is None or not worker.exists():
            raise NotInstalled("the worker of examples/node is not built: make node")
        return [node, str(worker)]


class JavaWorker(ExampleWorker):
    """The worker of examples/java, as `make java` has compiled it."""

    name: ClassVar[str] = "worker-java"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        java = shutil.which("java")
        classes, sdk = EXAMPLES / "java" / "target" / "classes", CHECKOUT / "sdks" / "java" / "target"
        if java is None or not classes.is_dir() or not (sdk / "lib").is_dir():
            raise NotInstalled("the worker of examples/java is not built: make java")
        paths = os.pathsep.join([str(classes), str(sdk / "classes"), str(sdk / "lib" / "*")])
        return [java, "-XX:+UseSerialGC", "-Xmx128m", "-cp", paths, "ExampleWorkerApp"]
