"""Triggers with nothing unusual about them, answered without what the application takes for each request."""

from __future__ import annotations

import re
from typing import Any, Final

from orchestrator.api import http
from orchestrator.api.asgi import VERSIONS, Asgi, Receive, Scope, Send
from orchestrator.api.guard import Guard
from orchestrator.api.served import Served
from orchestrator.api.workflows import Trigger
from orchestrator.app.orchestrator import Orchestrator, check_key
from orchestrator.app.waits import Caller
from orchestrator.model.definition import RESERVED_IDS
from orchestrator.model.trace import PARENT_HEADER, STATE_HEADER, Trace, read_trace

TRIGGER: Final = "/workflow/{workflow_id}/trigger"
_PATH: Final = re.compile(r"/workflow/([\w.:@-]+)/trigger", re.ASCII)
_UNUSUAL: Final = frozenset({b"origin", b"content-encoding", b"transfer-encoding"})
_PARENT: Final = PARENT_HEADER.encode()
_STATE: Final = STATE_HEADER.encode()


class PlainTriggers:
    """Stands before the application, and gives it as they came all requests but those it knows everything about.

    These are triggers that come in one piece, with no header twice, from a caller with whom the application had nothing
    to find fault, and that want a run's id. An error is the application's to answer as well.
    """

    def __init__(
        self, trigger: Trigger, orchestrator: Orchestrator, guard: Guard, served: Served, application: Asgi
    ) -> None:
        self._trigger = trigger
        self._life = orchestrator.life
        self._limits = orchestrator.limits
        self._guard = guard
        self._served = served
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        path = _PATH.fullmatch(scope["path"])
        headers: dict[bytes, bytes] = {} if path is None else dict(scope["headers"])
        if path is None or path[1] in RESERVED_IDS or not self._is_plain(scope, headers):
            await self._application(scope, receive, send)
            return
        first = await receive()
        body: bytes = first.get("body", b"")
        if not self._is_whole(first, headers):
            await self._application(scope, _again(first, receive), send)
            return
        caller: Caller = scope.get(http.CALLER) or Caller()
        self._served.begin(scope, caller)
        try:
            triggered = await self._trigger.begin(
                path[1],
                body,
                self._key(headers),
                self._trace(headers),
                self._trigger.waits[scope["query_string"]],
                caller,
            )
        except Exception as error:  # noqa: BLE001 - the application knows what to do with it
            scope[http.FAILED] = error
        if http.FAILED in scope:
            await self._application(scope, _again(first, receive), send)
            return
        run_id = triggered.run_id.encode()
        status = 201 if triggered.created else 200
        self._served.end(scope, "POST", TRIGGER, status)
        head = [
            (b"location", b"/workflow/run/" + run_id),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"vary", b"Accept"),
            (b"content-length", b"%d" % len(run_id)),
        ]
        if self._life.is_leaving:
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": run_id})

    def _key(self, headers: dict[bytes, bytes]) -> str | None:
        key = headers.get(b"idempotency-key")
        return None if key is None else check_key(key.decode("latin-1"), self._limits)

    def _trace(self, headers: dict[bytes, bytes]) -> Trace | None:
        parent = headers.get(_PARENT)
        if parent is None:
            return None
        state = headers.get(_STATE)
        return read_trace(
            parent.decode("latin-1"),
            None if state is None else state.decode("latin-1"),
            self._limits.tracestate_chars_max,
        )

    def _is_plain(self, scope: Scope, headers: dict[bytes, bytes]) -> bool:
        return (
            scope["method"] == "POST"
            and scope["http_version"] in VERSIONS
            and len(headers) == len(scope["headers"])
            and headers.keys().isdisjoint(_UNUSUAL)
            and b"application/json" not in headers.get(b"accept", b"")
            and self._guard.knows(headers.get(b"host", b""))
            and scope["query_string"] in self._trigger.waits
        )

    def _is_whole(self, message: dict[str, Any], headers: dict[bytes, bytes]) -> bool:
        size = len(message.get("body", b""))
        return (
            message["type"] == "http.request"
            and not message.get("more_body", False)
            and headers.get(b"content-length") == b"%d" % size
            and size <= self._limits.request_bytes_max
        )


def _again(first: dict[str, Any], receive: Receive) -> Receive:
    """Give a message that was taken once more."""
    messages = [first]

    async def again() -> dict[str, Any]:
        return messages.pop() if messages else await receive()

    return again
