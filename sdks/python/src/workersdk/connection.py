"""One kept connection to an orchestrator: a request out, an answer in, one after the other (RFC 9112).

The answer is parsed by httptools, the binding of Node's llhttp.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from typing import Final, NamedTuple, cast

import httptools

CLOSED_BEFORE: Final = "the connection was closed before the answer"
_INFORMATIONAL: Final = range(100, 200)
_WITHOUT_BODY: Final = frozenset({204, 304})
ANSWER_VARIABLE: Final = "WORKFLOW_ANSWER_BYTES_MAX"
"""Sets the largest body of an answer."""
_LENGTH_DIGITS_MAX: Final = 18
"""Digits that are looked at of a length: more than any limit has."""
_HEAD_BYTES_MAX: Final = 1024 * 1024
"""Of an answer, before its headers have ended."""
_JOINED_BYTES_MAX: Final = 64 * 1024
"""A body up to this size is copied behind its head, so that both leave in one packet."""


class HttpError(Exception):
    """There is no answer: no connection, a connection lost, a time-out, or something that is not HTTP."""


class ConnectionClosedError(HttpError):
    """The connection ended before the first byte of an answer: the request may not have been seen."""


class AnswerTooLargeError(HttpError):
    """The answer is larger than whoever asked takes: to ask again would bring the same."""


class Response(NamedTuple):
    """An answer, read to its end. Names of headers are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """A connection that is open, or has been."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Response] | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone."""
        self.idle_since = 0.0
        """When its last answer came, by the loop's clock."""
        self._body_bytes_max = 0
        """Of the answer that is waited for."""
        self._parser = httptools.HttpResponseParser(self)
        self._start()

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent on it, as far as this side knows."""
        return self._answer is None and self._transport is not None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes, timeout: float, answer_bytes_max: int) -> Response:
        """Send a request and wait for its answer. Whatever goes wrong closes the connection. Raises `HttpError`."""
        self._body_bytes_max = answer_bytes_max
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionClosedError(CLOSED_BEFORE)
        self._answer = self._loop.create_future()
        if len(body) <= _JOINED_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        alarm = self._loop.call_later(timeout, self._fail, f"no answer within {timeout:.3g} s")
        try:
            return await self._answer
        except asyncio.CancelledError:
            # So that the orchestrator sees that nobody waits any more.
            transport.abort()
            raise
        finally:
            alarm.cancel()
            self._answer = None

    def close(self) -> None:
        """Close it; `closed` says when that is done. TLS is not waited for: there is nothing left to say."""
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._is_begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("what answers there has left HTTP, which nobody has asked for")
        except httptools.HttpParserError as error:
            self._fail(f"what answers there does not speak HTTP: {error}")
        if self._is_begun and not self._is_headed:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES_MAX:
                self._fail(f"the headers of the answer do not end within {_HEAD_BYTES_MAX:,} bytes")

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lasts_until_close and exc is None:
            self._complete()
        elif self._answer is not None and not self._answer.done():
            reason = CLOSED_BEFORE if exc is None else reason_of(exc)
            self._answer.set_exception(HttpError(reason) if self._is_begun else ConnectionClosedError(reason))
        if not self.closed.done():
            self.closed.set_result(None)

    # ------------------------------------------------------------ httptools

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody has asked: whatever it is, it must not be taken for the next answer

    def on_status(self, status: bytes) -> None:
        self._reason += status

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_headed = True
        status = self._parser.get_status_code()
        has_length = "content-length" in self._headers or "transfer-encoding" in self._headers
        self._lasts_until_close = not (has_length or status in _WITHOUT_BODY or status in _INFORMATIONAL)
        length = self._headers.get("content-length", "")
        if length.isdecimal() and int(length[:_LENGTH_DIGITS_MAX]) > self._body_bytes_max:
            self._refuse()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self._body_bytes_max:
            self._refuse()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() in _INFORMATIONAL:
            self._start()  # the answer itself follows
            return
        keeps = self._parser.should_keep_alive()
        self._complete()
        if not keeps:
            self.close()

    # ------------------------------------------------------------ inside

    def _start(self) -> None:
        self._reason = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._is_begun = False
        self._is_headed = False
        self._head_bytes = 0
        self._body_bytes = 0
        self._lasts_until_close = False

    def _complete(self) -> None:
        status, reason = self._parser.get_status_code(), self._reason.decode("latin-1")
        response = Response(status, reason, self._headers, b"".join(self._body))
        self._start()
        self.idle_since = self._loop.time()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(response)

    def _fail(self, reason: str, kind: type[HttpError] = HttpError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(kind(reason))
        self.close()

    def _refuse(self) -> None:
        reason = f"the answer is larger than {self._body_bytes_max:,} bytes; {ANSWER_VARIABLE} sets how large it may be"
        self._fail(reason, AnswerTooLargeError)


def reason_of(error: BaseException) -> str:
    """Say in a few words why there is no connection."""
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__
