"""One connection to the server, below the application."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.api.http import CALLER, PROBLEM, encode
from orchestrator.app.waits import Caller
from orchestrator.model.errors import FieldError
from orchestrator.model.limits import Limits
from orchestrator.model.problem import HeadTooLarge, problem_of

_LINGER_SECONDS: Final = 2.0


class Protocol(HttpToolsProtocol):
    """Lets requests know the connection they came on, and when it closes; ends a head that does not end."""

    _head_bytes_max = Limits().request_head_bytes_max
    _head_bytes = 0
    """Of the head that is being read, but for the piece it began in, which may belong to the request before."""
    _is_in_head = False
    _begins = False
    _is_refused = False

    @classmethod
    def within(cls, head_bytes_max: int) -> type[Protocol]:
        """Give the protocol with another limit: the server makes the connections, of a class."""
        return type(cls.__name__, (cls,), {"_head_bytes_max": head_bytes_max})

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head of the request has become too large."""
        if self._is_refused:
            return
        self._begins = False
        super().data_received(data)
        if self._is_in_head and not self._begins:
            # The parser would gather it for ever, in a time that grows with its square.
            self._head_bytes += len(data)
            if self._head_bytes > self._head_bytes_max:
                self._refuse_head()

    def on_headers_complete(self) -> None:
        """Note the end of a head."""
        self._is_in_head = False
        super().on_headers_complete()

    def _refuse_head(self) -> None:
        reason = f"more than {self._head_bytes_max:,} bytes before the body (request_head_bytes_max)"
        problem = problem_of(HeadTooLarge(reason, [FieldError("headers", reason, "send fewer or shorter ones")]))
        body = encode(problem)
        head = f"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: {PROBLEM}\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.write_eof()
        # Closed with something unread, the connection would be reset, and the answer lost with it.
        self._is_refused = True
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a caller that is there."""
        self._caller = Caller()
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        """Note the begin of a head, and whose it is."""
        super().on_message_begin()
        self._is_in_head = self._begins = True
        self._head_bytes = 0
        self.scope[CALLER] = self._caller  # type: ignore[typeddict-unknown-key]

    def connection_lost(self, exc: Exception | None) -> None:
        """Let those who wait for this caller know that it has gone."""
        super().connection_lost(exc)
        self._caller.leave()
