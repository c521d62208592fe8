"""Redis: what it holds may be lost at any time, so it writes nothing to disk."""

from __future__ import annotations

import shutil
import socket
from typing import ClassVar

from stack.daemon import Daemon
from stack.service import HOST, NotInstalled

MEMORY_MAX = "256mb"
"""Above this, writes are refused instead of old keys dropped: a mistake shows."""

ANSWER_SECONDS_MAX = 1.0


class Redis(Daemon):
    """One Redis without persistence."""

    name = "redis"
    setting: ClassVar[str] = "REDIS_PORT"

    @property
    def url(self) -> str:
        """As Redis clients want it: `redis://host:port/0`."""
        return f"redis://{HOST}:{self.port}/0"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        settings = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "no",
            "maxmemory": MEMORY_MAX,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [redis_server(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def answers(self) -> bool:
        """Whether PING is answered with PONG."""
        try:
            with socket.create_connection((HOST, self.port), ANSWER_SECONDS_MAX) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def redis_server() -> str:
    """Give the program. Raises NotInstalled when there is none."""
    found = shutil.which("redis-server")
    if found is None:
        raise NotInstalled("redis-server is not installed: make stack-install")
    return found
