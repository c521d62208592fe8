"""A small HTTP/1.1 client over asyncio: one request at a time on each kept connection.

It is here for its cost: a worker that does one short job at a time spends most of its time in HTTP, and a general
client needs three times the CPU for the same exchange. It knows what the orchestrator and the proxies in front of it
send: Content-Length, chunked and until-close bodies, interim 1xx answers, keep-alive, TLS, basic authentication in the
URL. It follows no redirects and keeps no cookies.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from workersdk.errors import InvalidUrlError

CONNECT_TIMEOUT_S: Final = 10.0
KEPT_IDLE_S_MAX: Final = 15.0
KEPT_CONNECTIONS_MAX: Final = 16
HEAD_BYTES_MAX: Final = 64 * 1024


class HttpError(Exception):
    """The exchange broke: no connection, a connection lost, a time-out, or an answer that is not HTTP."""


class StaleConnectionError(HttpError):
    """A kept connection was closed by the other side before the first byte of an answer. Try again on a fresh one."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, read to its end. Header names are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect, taken apart from an http:// or https:// URL."""

    url: str
    host: str
    port: int
    is_tls: bool
    prefix: str
    fixed_headers: bytes

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Take a URL apart. Raises `InvalidUrlError`."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator, such as http://127.0.0.1:8080")
        is_tls = parts.scheme == "https"
        host = parts.hostname
        authority = f"[{host}]" if ":" in host else host
        if port is not None:
            authority += f":{port}"
        prefix = parts.path.rstrip("/")
        headers = f"Host: {authority}\r\n"
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers += f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
        return cls(
            url=f"{parts.scheme}://{authority}{prefix}",
            host=host,
            port=port or (443 if is_tls else 80),
            is_tls=is_tls,
            prefix=prefix,
            fixed_headers=headers.encode("latin-1"),
        )


class HttpClient:
    """Requests to one endpoint, over connections that are kept and reused."""

    def __init__(self, endpoint: Endpoint, *, user_agent: str) -> None:
        self._endpoint = endpoint
        self._fixed = endpoint.fixed_headers + f"User-Agent: {user_agent}\r\n".encode("latin-1")
        self._kept: list[_Connection] = []
        self._tls: ssl.SSLContext | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Sequence[bytes] | None = None,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float,
        is_repeatable: bool = True,
    ) -> Response:
        """Send one request and read its answer. `timeout` in seconds is for the whole of it. Raises `HttpError`.

        One that is not repeatable never goes out on a kept connection: if that breaks, nobody knows what was done.
        A cancelled request closes its connection, so that the orchestrator sees that nobody waits any more.
        """
        head = [f"{method} {self._endpoint.prefix}{path} HTTP/1.1\r\n".encode("ascii"), self._fixed]
        head.extend(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers)
        if body is not None:
            head.append(b"Content-Type: application/json\r\nContent-Length: %d\r\n" % sum(map(len, body)))
        elif method != "GET":
            head.append(b"Content-Length: 0\r\n")
        head.append(b"\r\n")
        kept = self._take_kept() if is_repeatable else None
        connection = kept or await self._connect(min(timeout, CONNECT_TIMEOUT_S))
        try:
            response = await connection.exchange(b"".join((*head, *(body or ()))), timeout)
        except BaseException:
            connection.abort()
            raise
        if connection.can_be_kept and len(self._kept) < KEPT_CONNECTIONS_MAX:
            connection.idle_since = time.monotonic()
            self._kept.append(connection)
        else:
            connection.abort()
        return response

    def close(self) -> None:
        """Close the kept connections."""
        while self._kept:
            self._kept.pop().abort()

    def _take_kept(self) -> _Connection | None:
        oldest = time.monotonic() - KEPT_IDLE_S_MAX
        while self._kept:
            connection = self._kept.pop()
            if connection.can_be_kept and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, timeout: float) -> _Connection:
        endpoint = self._endpoint
        if endpoint.is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        loop = asyncio.get_running_loop()
        try:
            opening = loop.create_connection(
                _Connection, endpoint.host, endpoint.port, ssl=self._tls, happy_eyeballs_delay=0.25
            )
            _, connection = await asyncio.wait_for(opening, timeout)
        except (asyncio.TimeoutError, TimeoutError):
            raise HttpError(f"no connection within {timeout:g} s") from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise HttpError(_reason(error)) from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection. The answer's bytes are gathered until `_Reader` says that they are whole."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self._reader: _Reader | None = None
        self._served = 0
        self.can_be_kept = True
        self.idle_since = 0.0

    async def exchange(self, request: bytes, timeout: float) -> Response:
        if self._transport is None or self._transport.is_closing():
            raise self._lost("the connection was closed")
        answer: asyncio.Future[Response] = self._loop.create_future()
        self._answer = answer
        self._reader = _Reader()
        timer = self._loop.call_later(timeout, self._expire, timeout)
        try:
            self._transport.write(request)
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def abort(self) -> None:
        self.can_be_kept = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done() or self._reader is None:
            self.abort()  # bytes that nobody asked for: whatever comes next could not be told from an answer
            return
        try:
            response = self._reader.feed(data)
        except HttpError as error:
            self._answer.set_exception(error)
            return
        if response is not None:
            self._finish(response)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.can_be_kept = False
        if self._answer is None or self._answer.done():
            return
        response = self._reader.feed_end() if self._reader is not None and exc is None else None
        if response is not None:
            self._answer.set_result(response)
        else:
            self._answer.set_exception(self._lost(_reason(exc) if exc else "the connection was closed"))

    def _finish(self, response: Response) -> None:
        assert self._answer is not None
        assert self._reader is not None
        self._served += 1
        if not self._reader.keeps_alive:
            self.can_be_kept = False
        self._answer.set_result(response)

    def _lost(self, reason: str) -> HttpError:
        is_stale = self._served > 0 and (self._reader is None or not self._reader.has_begun)
        return StaleConnectionError(reason) if is_stale else HttpError(reason)

    def _expire(self, timeout: float) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpError(f"no answer within {timeout:g} s"))


class _Reader:
    """Reads one answer from pieces of bytes.

    answer = status line CRLF *(name ":" value CRLF) CRLF body
    body   = as Content-Length says | chunks | everything until the connection ends
    chunk  = size in hex [";" extension] CRLF data CRLF; the last has size 0, trailer fields and an empty line follow
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._status = 0
        self._reason = ""
        self._headers: dict[str, str] = {}
        self._length: int | None = None
        self._is_chunked = False
        self._in_body = False
        self._chunks = bytearray()
        self.keeps_alive = True
        self.has_begun = False

    def feed(self, data: bytes) -> Response | None:
        self.has_begun = True
        self._buffer += data
        while not self._in_body:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    raise HttpError("the head of the answer is too long")
                return None
            head = self._buffer[:end].decode("latin-1")
            del self._buffer[: end + 4]
            self._read_head(head)
        if self._is_chunked:
            return self._response(bytes(self._chunks)) if self._read_chunks() else None
        if self._length is None or len(self._buffer) < self._length:
            return None
        if len(self._buffer) > self._length:
            raise HttpError("the answer is longer than it says")
        return self._response(bytes(self._buffer))

    def feed_end(self) -> Response | None:
        """The connection has ended: that is the end of a body without a length, and a loss for any other."""
        if self._in_body and self._length is None and not self._is_chunked:
            return self._response(bytes(self._buffer))
        return None

    def _read_head(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        version, _, rest = first.partition(" ")
        status, _, self._reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise HttpError(f"the answer is not HTTP/1.1: {first[:80]!r}")
        self._status = int(status)
        if 100 <= self._status < 200:
            return
        headers = self._headers
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        connection = headers.get("connection", "").lower()
        self.keeps_alive = "close" not in connection and (version != "HTTP/1.0" or "keep-alive" in connection)
        self._is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = headers.get("content-length", "")
        if self._status in (204, 304):
            self._length = 0
        elif not self._is_chunked and length.isdigit():
            self._length = int(length)
        self._in_body = True

    def _read_chunks(self) -> bool:
        buffer = self._buffer
        while (end := buffer.find(b"\r\n")) >= 0:
            text = bytes(buffer[:end]).split(b";")[0].strip()
            try:
                size = int(text, 16)
            except ValueError:
                raise HttpError(f"the answer has a chunk of size {text[:20]!r}") from None
            if size == 0:
                # The trailer: lines up to an empty one. Without any, the empty line follows directly.
                return buffer.startswith(b"\r\n", end + 2) or buffer.find(b"\r\n\r\n", end + 2) >= 0
            if len(buffer) < end + 2 + size + 2:
                return False
            self._chunks += buffer[end + 2 : end + 2 + size]
            del buffer[: end + 2 + size + 2]
        return False

    def _response(self, body: bytes) -> Response:
        return Response(self._status, self._reason, self._headers, body)


def _reason(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
