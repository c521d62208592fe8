"""An orchestrator that is newer than any worker: it says what no worker knows yet."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

IDLE_SECONDS: Final = 0.2
"""How long a call waits that finds no job."""


class Gateway:
    """Gives one job, with fields to come in every answer, and takes its result."""

    def __init__(self, url: str, job: dict[str, Any]) -> None:
        self.url = url
        self._jobs = [job]
        self.results: list[dict[str, Any]] = []

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        to_come: dict[str, Any] = {"toCome": {"deep": [1, None]}, "alsoToCome": "x"}
        if path.endswith("/exchange"):
            self.results += body.get("results", [])
            jobs, self._jobs = (self._jobs, []) if body.get("capacity", 0) else ([], self._jobs)
            if not jobs:
                time.sleep(IDLE_SECONDS)
            return {**to_come, "jobs": jobs}
        if path.endswith("/heartbeat"):
            return {**to_come, "cancelled": [], "unknown": [], "draining": False}
        limits = {"waitMax": 60, "capacityMax": 1000, "resultBytesMax": 2_097_152, "requestBytesMax": 16_777_216}
        return {**to_come, "workerId": body.get("workerId") or "w-1", "lease": 30, "heartbeat": 10, **limits}


@contextmanager
def gateway(job: dict[str, Any]) -> Iterator[Gateway]:
    """Serve while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = json.dumps(served.answer(self.path, json.loads(raw or b"{}"))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def do_DELETE(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """Pass over a worker that has gone in the middle of a call."""

    server = Server(("127.0.0.1", 0), Handler)
    served = Gateway(f"http://127.0.0.1:{server.server_address[1]}", job)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
