"""HTTP to one orchestrator: what a worker's transport and the clients share."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from workersdk.connection import (
    ANSWER_VARIABLE,
    AnswerTooLargeError,
    Connection,
    ConnectionClosedError,
    HttpError,
    Response,
    reason_of,
)
from workersdk.errors import InvalidUrlError, SettingError
from workersdk.version import USER_AGENT

__all__ = ["AnswerTooLargeError", "Backoff", "Http", "HttpError", "Response"]

CONNECT_TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
"""The largest body of an answer, unless `WORKFLOW_ANSWER_BYTES_MAX` says otherwise. Those with jobs may be larger by as
many payloads as jobs were asked for."""
KEPT_S: Final = 15.0
"""How long a connection without a request is kept: less than orchestrators and balancers keep theirs."""
PAUSE_S_FIRST: Final = 0.1
PAUSE_S_MAX: Final = 10.0

_PORTS: Final = {"http": 80, "https": 443}
_DIGITS_MAX: Final = 15
_HEADER_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_abandoned: Final[list[object]] = []
"""Connections of the process that this one was forked from. Never let go: that would reach into the parent's loop."""


class Http:
    """Requests to one orchestrator, over kept connections.

    It follows no redirects, keeps no cookies and looks for no proxy in the environment. Connections are opened as
    requests need them, on the loop that is running then.
    """

    def __init__(self, url: str) -> None:
        """Read `http://host:port/prefix` or `https://user:password@host`. Raises `InvalidUrlError`, `SettingError`."""
        try:
            given = urlsplit(url)
            host, port = given.hostname, given.port
            self._host = (host or "").encode("idna").decode("ascii") if host and ":" not in host else host or ""
        except ValueError as error:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator: {error}") from None
        if given.scheme not in _PORTS or not self._host:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator, such as http://127.0.0.1:8080")
        self._is_tls = given.scheme == "https"
        self._port = _PORTS[given.scheme] if port is None else port
        shown = f"[{self._host}]" if ":" in self._host else self._host
        if self._port != _PORTS[given.scheme]:
            shown += f":{self._port}"
        self.prefix = quote(given.path, safe="/%:@!$&'()*+,;=~-._").rstrip("/")
        self.address = f"{given.scheme}://{shown}{self.prefix}"
        headers = {"Host": shown, "User-Agent": USER_AGENT, "Accept": "application/json"}
        headers["Content-Type"] = "application/json"
        if given.username is not None:
            pair = f"{unquote(given.username)}:{unquote(given.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._headers = _lines(headers)
        self._answer_bytes_max = _answer_bytes_max(os.environ.get(ANSWER_VARIABLE, ""))
        self._tls: ssl.SSLContext | None = None
        self._connections: set[Connection] = set()
        self._idle: list[Connection] = []

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = True,
        more_bytes: int = 0,
    ) -> Response:
        """Send one request and read its answer.

        One that is not repeatable goes out on a connection of its own: when a kept one breaks, nobody knows what was
        done. A cancelled request closes its connection, so that the orchestrator sees that nobody waits any more.

        Args:
            method: such as POST.
            target: the path below the address, with its query, as it travels.
            body: JSON; None for none.
            timeout: seconds, for the whole of it.
            headers: further ones.
            is_repeatable: whether it does no harm to send it twice.
            more_bytes: by how much the answer may be larger than any other.

        Raises:
            HttpError: there is no answer, or none that is small enough.
            ValueError: a header cannot be sent.
        """
        more = b"" if headers is None else _lines(headers)
        length = b"" if body is None and method in ("GET", "DELETE") else b"Content-Length: %d\r\n" % len(body or b"")
        line = f"{method} {self.prefix}{target} HTTP/1.1\r\n".encode("ascii")
        head = b"%b%b%b%b\r\n" % (line, self._headers, more, length)
        until = asyncio.get_running_loop().time() + timeout
        kept = self._take() if is_repeatable else None
        if kept is not None:
            try:
                return await self._exchange(kept, head, body, timeout, more_bytes)
            except ConnectionClosedError:
                pass  # it was closed as the request left, as kept connections are: a new one will do
        connection = await self._connect(min(CONNECT_TIMEOUT_S, timeout))
        left = max(0.001, until - asyncio.get_running_loop().time())
        try:
            return await self._exchange(connection, head, body, left, more_bytes, is_kept=is_repeatable)
        finally:
            if not is_repeatable:
                connection.close()

    async def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        connections, self._connections = self._connections, set()
        self._idle.clear()
        for connection in connections:
            connection.close()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=1)

    def abandon(self) -> None:
        """Forget the connections without touching them: they are another process's, or their loop has ended."""
        _abandoned.append((self._connections, self._idle))
        self._connections, self._idle = set(), []

    def _take(self) -> Connection | None:
        """Give the connection that was used last: the others grow old, and are closed."""
        oldest = asyncio.get_running_loop().time() - KEPT_S
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    async def _exchange(
        self,
        connection: Connection,
        head: bytes,
        body: bytes | None,
        timeout: float,
        more_bytes: int,
        *,
        is_kept: bool = True,
    ) -> Response:
        response = await connection.exchange(head, body or b"", timeout, self._answer_bytes_max + more_bytes)
        if is_kept and connection.is_usable:
            self._idle.append(connection)
        return response

    async def _connect(self, timeout: float) -> Connection:
        if self._is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            _, connection = await asyncio.wait_for(
                loop.create_connection(Connection, self._host, self._port, ssl=self._tls), timeout
            )
        except (asyncio.TimeoutError, TimeoutError):
            raise HttpError(f"no connection within {timeout:.3g} s") from None
        except OSError as error:
            raise HttpError(reason_of(error)) from error
        self._connections.add(connection)
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        return connection


class Backoff:
    """Pauses between tries: the n-th is anywhere between 0 and min(10 s, 0.1 s * 2^n).

    Full jitter keeps a thousand workers that lost the same orchestrator from coming back in step.
    """

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> float:
        """Return the next pause in seconds."""
        longest = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** min(self._count, 32))
        self._count += 1
        return random.uniform(0, longest)

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._count = 0


def _answer_bytes_max(text: str) -> int:
    """Read the setting. Raises `SettingError`."""
    if not text.strip():
        return ANSWER_BYTES_MAX
    if not (text.strip().isdecimal() and 0 < len(text.strip()) <= _DIGITS_MAX and int(text) > 0):
        raise SettingError(f"{ANSWER_VARIABLE}={text} is not a number of bytes, such as {ANSWER_BYTES_MAX}")
    return int(text)


def _lines(headers: Mapping[str, str]) -> bytes:
    """Write headers as they travel. Raises ValueError for a value that would end its line."""
    for name, value in headers.items():
        if not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"{name} has a character that no header may have: {value!r}")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
