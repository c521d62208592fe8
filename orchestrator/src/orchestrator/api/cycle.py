"""One request on a connection and its answer, below the application."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, STATUS_LINE, RequestResponseCycle

_BODILESS: Final = frozenset({204, 304})
_NAMES_REMEMBERED: Final = 64


class Cycle(RequestResponseCycle):
    """Writes an answer in one piece: the calls of the system cost as much as all that is done for a small one.

    Every answer of the application says how long it is, so none has to be sent in chunks.
    """

    _head = b""

    async def send(self, message: Any) -> None:
        """Take the head of the answer, then its body.

        Raises:
            RuntimeError: it is not an answer, or one that the caller could not tell from the next.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.response_started:
            self._begin(message["status"], message["headers"])
        elif kind == "http.response.body" and self.response_started and not self.response_complete:
            self._end(message.get("body", b""))
        else:
            raise RuntimeError(f"{kind!r} does not follow in an answer")

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        length = 0 if self.scope["method"] == "HEAD" or status in _BODILESS else None
        closes = False
        head = [STATUS_LINE[status]]
        values: list[bytes] = []
        for name, value in (*self.default_headers, *headers):
            head += (_field(name), value, b"\r\n")
            values.append(value)
            if name == b"content-length" and length is None:
                length = int(value)
            elif name == b"connection":
                closes = closes or value.lower() == b"close"
        if length is None:
            raise RuntimeError("the answer does not say how long it is")
        if HEADER_VALUE_RE.search(b"".join(values)):
            raise RuntimeError("a header of the answer has characters that would end it")
        if closes:
            self.keep_alive = False
        elif not self.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(b"\r\n")
        self._head = b"".join(head)
        self.expected_content_length = length
        self.response_started = True
        self.waiting_for_100_continue = False

    def _end(self, body: bytes) -> None:
        if self.scope["method"] == "HEAD":
            body = b""
        if len(body) != self.expected_content_length:
            raise RuntimeError("the answer is not as long as it says")
        self.transport.write(self._head + body)
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(_NAMES_REMEMBERED)
def _field(name: bytes) -> bytes:
    """Begin the line of a header."""
    if HEADER_RE.search(name):
        raise RuntimeError(f"{name!r} is no name of a header")
    return name + b": "
