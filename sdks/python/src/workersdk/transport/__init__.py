"""How a worker and the orchestrator talk.

The worker's own logic (what runs, what is reported, when to beat, how to leave) knows only what is in this file.
A transport carries five calls; another one that is called is one more file beside `http.py` and one line in
`open_transport`. Kafka is not called, it pushes: it is in `workersdk/kafka`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from workersdk.errors import InvalidUrlError

URL_VARIABLE: Final = "WORKFLOW_URL"
KAFKA_VARIABLE: Final = "KAFKA_BOOTSTRAP_SERVERS"
DEFAULT_URL: Final = "kafka:9092"

KAFKA_SCHEME: Final = "kafka"

_HOST = r"(?:[^/:@,\s\[\]]+|\[[0-9a-fA-F:]+\])"
_HOST_AND_PORT = re.compile(_HOST + r":\d{1,5}")
_HOST_MAYBE_PORT = re.compile(_HOST + r"(?::\d{1,5})?")


class TransportError(Exception):
    """A call did not come through. One of the four below."""


class Unavailable(TransportError):
    """No answer, or one that says "not now". Make the same call again, after a growing pause."""


class WorkerUnknown(TransportError):
    """The orchestrator does not know this worker (any more). Register again and repeat the call."""


class TooLarge(TransportError):
    """The call was too large as a whole. Send fewer results at once."""


class Refused(TransportError):
    """The orchestrator will not do this, however often it is asked."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{status} {title}" + (f": {detail}" if detail else ""))
        self.status = status
        self.title = title
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """What a worker says about itself when it registers. `lease` in seconds; None leaves it to the orchestrator."""

    worker_id: str
    actions: Sequence[str]
    sdk: str
    version: str
    host: str
    pid: int
    concurrency: int
    lease: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the orchestrator grants: times in seconds, sizes in bytes."""

    lease: float = 30.0
    heartbeat: float = 10.0
    wait_max: float = 60.0
    capacity_max: int = 1_000
    result_bytes_max: int = 2 * 1024 * 1024
    request_bytes_max: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back from an exchange: JSON objects of the protocol, as they came.

    `cancelled`: attempts to stop, as `{"jobId", "attempt"}`.
    """

    jobs: Sequence[dict[str, Any]] = field(default_factory=tuple)
    cancelled: Sequence[dict[str, Any]] = field(default_factory=tuple)
    rejected: Sequence[dict[str, Any]] = field(default_factory=tuple)
    is_draining: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What came back from a heartbeat: attempts to stop, as they are cancelled or this worker's no more."""

    cancelled: Sequence[dict[str, Any]] = field(default_factory=tuple)
    unknown: Sequence[dict[str, Any]] = field(default_factory=tuple)
    is_draining: bool = False


class Transport(Protocol):
    """The five calls. Each raises a `TransportError` and nothing else.

    Results and in-flight entries are JSON objects of the protocol, already written as bytes: they are made once,
    where the handler ran, and are the same for every transport.
    """

    @property
    def address(self) -> str:
        """Where the orchestrator is, for log lines: without a password."""
        ...

    async def register(self, hello: Hello) -> Terms:
        """Make the worker known; the same id again replaces the registration and keeps its jobs."""
        ...

    async def exchange(self, results: Sequence[bytes], capacity: int, wait: float) -> Answer:
        """Report results and take up to `capacity` jobs, waiting up to `wait` seconds for the first.

        The results are durable when this returns. When it raises or is cancelled, they may or may not be: sending
        them again is safe.
        """
        ...

    async def heartbeat(self, in_flight: Sequence[bytes]) -> Pulse:
        """Say which jobs are in hand."""
        ...

    async def leave(self, timeout: float) -> None:
        """End the registration; the orchestrator takes back what is still in this worker's hands."""
        ...

    async def close(self) -> None:
        """Close the connections. Never fails."""
        ...


def resolve_url(url: str | None, logger: logging.Logger) -> str:
    """Return the address to use: the argument, else WORKFLOW_URL, else KAFKA_BOOTSTRAP_SERVERS, else kafka:9092.

    An argument that is that last one gives way to the variables, and the log says so: the documentation's first example
    has it, and is to run wherever they say. Who means just that broker writes `kafka://kafka:9092`.
    """
    given = (url or "").strip()
    told = {name: value for name in (URL_VARIABLE, KAFKA_VARIABLE) if (value := os.environ.get(name, "").strip())}
    if not told or given not in ("", DEFAULT_URL):
        return given or DEFAULT_URL
    name, address = next(iter(told.items()))
    if given and given != address:
        logger.info("%s in the program is the documentation's example: the address is that of %s", given, name)
    return address


def kafka_servers(url: str) -> str | None:
    """Return the brokers that an address names, as `host:port` with commas; None when it is not one of Kafka.

    Such are `host:port`, `host1:port,host2:port`, and the same after `kafka://`, where the port may be left out.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        servers, known = url, _HOST_AND_PORT
    elif scheme.lower() == KAFKA_SCHEME:
        servers, known = rest.rstrip("/"), _HOST_MAYBE_PORT
    else:
        return None
    names = [name.strip() for name in servers.split(",")]
    return ",".join(names) if all(known.fullmatch(name) for name in names) else None


def open_transport(url: str) -> Transport:
    """Choose the transport for an address that is called. Raises `InvalidUrlError` for one that cannot be read."""
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        from workersdk.transport.http import HttpTransport

        return HttpTransport(scheme.lower() + url[len(scheme) :])
    raise InvalidUrlError(
        f"{url!r} is not an address that this version knows. Known are http://host:port and https://host:port, "
        "the address of the orchestrator, and host:port, host1:port,host2:port and kafka://host:port, those of Kafka"
    )
