"""Calls the ASGI application as a server would: no socket, every byte under the test's control."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import unquote_to_bytes

from msgspec.structs import replace

from orchestrator.api.app import make_app
from orchestrator.api.http import CALLER
from orchestrator.app import waits
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.limits import Limits
from orchestrator.settings import Settings

HOST = "127.0.0.1:8080"
PROBLEM = "application/problem+json"

_T = TypeVar("_T")


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def kind(self) -> str:
        """The content type without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(waits.Caller):
    """Notes that somebody watches it."""

    __slots__ = ("watched",)

    def __init__(self) -> None:
        super().__init__()
        self.watched = asyncio.Event()

    def watch(self, watcher: Callable[[], None]) -> None:
        self.watched.set()
        super().watch(watcher)


class Caller:
    """One side of a connection: what it sends, and when it goes away."""

    def __init__(self, chunks: Iterable[bytes] = (), *, complete: bool = True) -> None:
        self._chunks = list(chunks) or [b""]
        self._complete = complete
        self.taken = 0
        """Chunks that the application has asked for."""
        self.connection = _Connection()

    async def watched(self) -> None:
        """Wait until the application waits for something, and for this caller to go away meanwhile."""
        async with asyncio.timeout(5):
            await self.connection.watched.wait()

    def go(self) -> None:
        """Close the connection."""
        self.connection.leave()

    async def receive(self) -> dict[str, Any]:
        if self.taken < len(self._chunks):
            self.taken += 1
            more = self.taken < len(self._chunks) or not self._complete
            return {"type": "http.request", "body": self._chunks[self.taken - 1], "more_body": more}
        return {"type": "http.disconnect"}


class Api:
    """An orchestrator in memory with its application in front, in an event loop of its own."""

    def __init__(self, limits: Limits | None = None, hosts: str = "", data: Path | None = None) -> None:
        kept = Settings(memory=True) if data is None else Settings(data=data)
        settings = replace(kept, limits=limits or Limits(), hosts=hosts)
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self.orchestrator: Orchestrator = self.run(self._stack.enter_async_context(open_orchestrator(settings)))
        self.app = make_app(self.orchestrator, settings.names)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._stack.aclose())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the orchestrator's loop; its services run meanwhile."""
        return self._runner.run(work)

    async def call(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        caller: Caller | None = None,
        more: Iterable[tuple[str, str]] = (),
        http_version: str = "1.1",
    ) -> Answer:
        """Send one request; `more` are headers of which some come twice. A body that is not bytes goes in chunks."""
        caller = caller or Caller([body] if isinstance(body, bytes) else body)
        path, _, query = target.partition("?")
        sent = {"host": HOST, **{name.lower(): value for name, value in (headers or {}).items()}}
        if isinstance(body, bytes):
            sent.setdefault("content-length", str(len(body)))
        else:
            sent.setdefault("transfer-encoding", "chunked")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": http_version,
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*sent.items(), *more)
            ],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8080),
            CALLER: caller.connection,
        }
        status = 0
        found: dict[str, str] = {}
        parts: list[bytes] = []

        async def send(event: dict[str, Any]) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
                found.update({name.decode().lower(): value.decode("latin-1") for name, value in event["headers"]})
            else:
                parts.append(event.get("body", b""))

        await self.app(scope, caller.receive, send)
        return Answer(status, found, b"".join(parts))

    def get(self, target: str, **headers: str) -> Answer:
        return self.run(self.call("GET", target, headers=_names(headers)))

    def html(self, target: str, **headers: str) -> Answer:
        return self.get(target, accept="text/html,application/xhtml+xml,*/*;q=0.8", **headers)

    def delete(self, target: str, **headers: str) -> Answer:
        return self.run(self.call("DELETE", target, headers=_names(headers)))

    def post(self, target: str, body: object = b"", **headers: str) -> Answer:
        """Send bytes as they are, anything else as JSON."""
        return self.run(self.send(target, body, **headers))

    async def send(self, target: str, body: object = b"", **headers: str) -> Answer:
        """As `post`, inside a coroutine."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.call("POST", target, raw, _names(headers))

    # --- the way most tests begin --------------------------------------------------------------------------------

    def define(self, workflow_id: str = "flow", *actions: str, **fields: object) -> Answer:
        """Define a workflow of one step per action."""
        steps = [{"action": action} for action in actions or ("act",)]
        answer = self.post("/workflow/", {"id": workflow_id, "steps": steps, **fields})
        assert answer.status in (200, 201), answer
        return answer

    def trigger(self, workflow_id: str = "flow", payload: object = None, **headers: str) -> str:
        """Start a run and give its id."""
        answer = self.post(f"/workflow/{workflow_id}/trigger", {"input": payload}, **headers)
        assert answer.status in (200, 201), answer
        return answer.text

    def register(self, worker_id: str = "w", *actions: str, **fields: object) -> str:
        """Register a worker and give its id."""
        answer = self.post("/workers", {"workerId": worker_id, "actions": list(actions or ("act",)), **fields})
        assert answer.status == 200, answer
        return worker_id

    def exchange(self, worker_id: str = "w", **fields: object) -> dict[str, Any]:
        """Report results and take jobs."""
        answer = self.post(f"/workers/{worker_id}/exchange", fields)
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def take(self, worker_id: str = "w", capacity: int = 1, wait: float = 5) -> list[dict[str, Any]]:
        """Take jobs."""
        jobs: list[dict[str, Any]] = self.exchange(worker_id, capacity=capacity, wait=wait).get("jobs", [])
        return jobs

    def show(self, run_id: str, wait: float = 0) -> dict[str, Any]:
        """Read a run, once it has ended if ``wait`` is given."""
        answer = self.get(f"/workflow/run/{run_id}?wait={wait}s")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def counts(self) -> tuple[int, int]:
        """Count definitions with all their versions, and runs."""
        workflows = [workflow["id"] for workflow in self.get("/workflow/").json()]
        versions = sum(len(self.get(f"/workflow/{one}/versions").json()) for one in workflows)
        return versions, len(self.get("/workflow/runs?limit=500&view=summary").json())


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


async def settle(condition: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.005)


def done(job: Mapping[str, Any], result: object = None, **fields: object) -> dict[str, object]:
    """Write down that a job has completed."""
    return {"jobId": job["jobId"], "attempt": job["attempt"], "result": result, **fields}


def failed(job: Mapping[str, Any], **error: object) -> dict[str, object]:
    """Write down that a job has failed."""
    return {"jobId": job["jobId"], "attempt": job["attempt"], "status": "failed", "error": error}


def check_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Check the form of an error answer, and give it."""
    assert answer.status == status, (answer.status, answer.body[:500])
    assert answer.kind == PROBLEM
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code, problem
    assert problem["type"] == f"/errors/{code}"
    assert problem["title"]
    for error in problem.get("errors", ()):
        assert error["field"]
        assert error["reason"]
    return problem
