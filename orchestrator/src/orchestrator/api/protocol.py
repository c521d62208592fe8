"""One connection to the server, below the application."""

from __future__ import annotations

import asyncio
from typing import Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from orchestrator.api.cycle import Cycle
from orchestrator.api.http import CALLER, PROBLEM, encode
from orchestrator.app.waits import Caller
from orchestrator.model.errors import FieldError
from orchestrator.model.limits import Limits
from orchestrator.model.problem import HeadTooLarge, problem_of

_LINGER_SECONDS: Final = 2.0


class Protocol(HttpToolsProtocol):
    """Lets requests know the connection they came on, and when it closes; ends a head that does not end.

    What uvicorn does for each request and this does not: a timer, for a connection that mostly has another request
    long before it goes off, and what serves web sockets and servers that take a limited number of requests.
    """

    _head_bytes_max = Limits().request_head_bytes_max
    _head_bytes = 0
    """Of the head that is being read, but for the piece it began in, which may belong to the request before."""
    _is_in_head = False
    _begins = False
    _is_refused = False
    _idle_since: float | None = None
    """Since when there has been no request, on the clock of the loop; None while there is one."""

    @classmethod
    def within(cls, head_bytes_max: int) -> type[Protocol]:
        """Give the protocol with another limit: the server makes the connections, of a class."""
        return type(cls.__name__, (cls,), {"_head_bytes_max": head_bytes_max})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a caller that is there."""
        self._caller = Caller()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let those who wait for this caller know that it has gone."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._caller.leave()

    # --- requests ------------------------------------------------------------------------------------------------

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

    def on_message_begin(self) -> None:
        """Note the begin of a head, and whose it is."""
        super().on_message_begin()
        self._is_in_head = self._begins = True
        self._head_bytes = 0
        self.scope[CALLER] = self._caller  # type: ignore[typeddict-unknown-key]

    def on_headers_complete(self) -> None:
        """Give the request to the application, or let it wait for the answer to the one before."""
        self._is_in_head = False
        parser, scope = self.parser, self.scope
        version = scope["http_version"] = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        url = httptools.parse_url(self.url)
        scope["raw_path"] = url.path
        path = url.path.decode("ascii")
        scope["path"] = unquote(path) if "%" in path else path
        scope["query_string"] = url.query or b""
        before = cast("Cycle | None", self.cycle)
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

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

    # --- between requests ------------------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it so long."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_after(self.timeout_keep_alive)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that has had no request for too long."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again_after(left)
        else:
            super().timeout_keep_alive_handler()

    def _look_again_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
