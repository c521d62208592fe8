"""An orchestrator that answers what a test tells it to, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Call(NamedTuple):
    """A call that came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    headers: dict[str, str]


class Fake:
    """Answers by method and path; an answer may be a list, which is given out one after the other."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._answers: dict[tuple[str, str], list[tuple[int, bytes, dict[str, str]]]] = {}
        self.url = ""

    def on(
        self, method: str, path: str, *bodies: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """Say what is answered; the last body is answered again and again."""
        answers = self._answers.setdefault((method, path), [])
        for body in bodies or (None,):
            raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            answers.append((status, raw, headers or {}))

    def problem(self, method: str, path: str, status: int, code: str, **more: Any) -> None:
        """Answer with problem details."""
        self.on(method, path, {"title": f"The title of {code}", "status": status, "code": code, **more}, status=status)

    def take(self, call: Call) -> tuple[int, bytes, dict[str, str]]:
        """Choose the answer to a call."""
        self.calls.append(call)
        answers = self._answers.get((call.method, call.path))
        if not answers:
            return 500, f"no answer was set for {call.method} {call.path}".encode(), {}
        return answers.pop(0) if len(answers) > 1 else answers[0]


class _Handler(BaseHTTPRequestHandler):
    fake: Fake

    def _answer(self) -> None:
        place = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, place.path, parse_qs(place.query), body, headers)
        status, raw, more = self.fake.take(call)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names that http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Fake]:
    """Serve a fake while the block runs."""
    fake = Fake()
    handler = type("Handler", (_Handler,), {"fake": fake})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def run_of(status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    """Make a run of two steps, the second of which was tried twice."""
    ended = status in ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
    attempt = {
        "attempt": 1,
        "status": "COMPLETED",
        "scheduledAt": "2026-11-23T10:00:00.000000Z",
        "startedAt": "2026-11-23T10:00:00.100000Z",
        "finishedAt": "2026-11-23T10:00:00.350000Z",
        "worker": "w-1",
        "error": None,
    }
    declined = {"type": "CardDeclined", "message": "no\x1b[31m money", "stack": None}
    return {
        "runId": "r-1",
        "workflowId": "order",
        "workflowVersion": 2,
        "status": status,
        "currentStep": 1,
        "startTime": "2026-11-23T10:00:00.000000Z",
        "endTime": "2026-11-23T10:00:02.000000Z" if ended else None,
        "input": {"id": 7},
        "finalOutput": {"ok": True} if status == "COMPLETED" else None,
        "error": declined if status == "FAILED" else None,
        "stepResults": [],
        "steps": [
            {"stepIndex": 0, "action": "reserve", "status": "COMPLETED", "attempts": [attempt], "nextAttemptAt": None},
            {
                "stepIndex": 1,
                "action": "charge",
                "status": status if ended else "RUNNING",
                "attempts": [
                    {**attempt, "status": "FAILED", "error": declined},
                    {**attempt, "attempt": 2, "status": status if ended else "RUNNING"},
                ],
                "nextAttemptAt": None,
                "details": None if ended else {"done": 5, "of": 10},
            },
        ],
        "waitingFor": None if ended else "step 1 (charge): on w-1",
        **more,
    }
