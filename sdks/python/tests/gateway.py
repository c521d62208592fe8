"""A small orchestrator for tests: the worker protocol of docs/worker-protocol.md, and ways to misbehave."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

WAIT_FOR_S = 20.0


def problem(status: int, code: str, title: str, detail: str = "") -> web.Response:
    body = {"type": f"/errors/{code}", "title": title, "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")


class Gateway:
    """Speaks the protocol on a free port of 127.0.0.1. Attributes with a verb's name are switches of a test."""

    def __init__(self, **terms: Any) -> None:
        self.terms = {
            "lease": 30, "heartbeat": 10, "waitMax": 60, "capacityMax": 1000,
            "resultBytesMax": 2 * 1024 * 1024, "requestBytesMax": 16 * 1024 * 1024, **terms,
        }  # fmt: skip
        self.queue: deque[dict[str, Any]] = deque()
        self.workers: dict[str, dict[str, Any]] = {}
        self.in_hand: dict[tuple[str, int], str] = {}
        self.registrations: list[dict[str, Any]] = []
        self.exchanges: list[dict[str, Any]] = []
        self.heartbeats: list[list[dict[str, Any]]] = []
        self.results: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.left: list[str] = []
        self.waiting = 0
        self.waiting_most = 0
        # switches
        self.refuse_registration: web.Response | None = None
        self.answer_exchange: list[Callable[[dict[str, Any]], web.Response]] = []
        self.answer_heartbeat: list[Callable[[], web.Response]] = []
        self.refuse: Callable[[dict[str, Any]], web.Response | None] = lambda body: None
        self.lose_answers = 0
        self.request_bytes_max = 64 * 1024 * 1024
        self.cancel: list[dict[str, Any]] = []
        self.unknown: list[dict[str, Any]] = []
        self.drain = False
        self.follow: Callable[[], object] | None = None
        self.port = 0
        self._recorded: set[tuple[str, int]] = set()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._made = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------ up and down

    async def __aenter__(self) -> Gateway:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen; after `down`, on the same port as before."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/workers", self._register)
        app.router.add_post("/workers/{id}/exchange", self._exchange)
        app.router.add_post("/workers/{id}/heartbeat", self._heartbeat)
        app.router.add_delete("/workers/{id}", self._leave)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def down(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    # ------------------------------------------------------------ what tests do and see

    def add(self, action: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
        """Queue a job; return it."""
        number = self._made
        self._made += 1
        job = {
            "jobId": f"run-{number}:0", "attempt": 1, "workflowRunId": f"run-{number}", "workflowId": "flow",
            "stepIndex": 0, "action": action, "payload": payload, "lease": self.terms["lease"], **fields,
        }  # fmt: skip
        self.queue.append(job)
        return job

    async def wake(self) -> None:
        """Let waiting calls look again."""
        async with self._changed:
            self._changed.notify_all()

    async def give(self, action: str, payload: Any = None, **fields: Any) -> dict[str, Any]:
        """Queue a job and wake those who wait for one."""
        job = self.add(action, payload, **fields)
        await self.wake()
        return job

    async def until(self, condition: Callable[[], Any]) -> None:
        """Return when the condition holds; fail after a few seconds."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), WAIT_FOR_S)

    async def result_of(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the recorded result of a job, once it is there."""

        def found() -> list[dict[str, Any]]:
            return [r for r in self.results if (r["jobId"], r["attempt"]) == (job["jobId"], job["attempt"])]

        await self.until(found)
        return found()[0]

    # ------------------------------------------------------------ the protocol

    async def _register(self, request: web.Request) -> web.Response:
        body = json.loads(await request.text())
        if self.refuse_registration is not None:
            return self.refuse_registration
        self.workers[body["workerId"]] = body
        self.registrations.append(body)
        await self.wake()
        return web.json_response({"workerId": body["workerId"], **self.terms})

    async def _exchange(self, request: web.Request) -> web.StreamResponse:
        worker = request.match_info["id"]
        raw = await request.read()
        if len(raw) > self.request_bytes_max:
            return problem(413, "request-too-large", "Too large")
        if worker not in self.workers:
            return problem(404, "worker-not-found", "No such worker")
        body = json.loads(raw)
        self.exchanges.append(body)
        answer = self.answer_exchange.pop(0)(body) if self.answer_exchange else self.refuse(body)
        if answer is not None:
            await self.wake()
            return answer
        rejected = self._record(body.get("results", []))
        await self.wake()
        if self.lose_answers > 0 and body.get("results"):
            self.lose_answers -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if body.get("wait") and body.get("capacity"):
            await self._wait_for_work(float(body["wait"]))
        text = _dumps(self._take(worker, body.get("capacity", 0), rejected))
        return web.json_response(text=text)

    def _record(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rejected = []
        for result in results:
            key = (result["jobId"], result["attempt"])
            if key in self._recorded:
                rejected.append({"jobId": key[0], "attempt": key[1], "code": "already-recorded", "reason": "before"})
                continue
            self._recorded.add(key)
            self.in_hand.pop(key, None)
            self.results.append(result)
            if self.follow is not None:
                self.follow()
        self.rejected.extend(rejected)
        return rejected

    async def _wait_for_work(self, seconds: float) -> None:
        self.waiting += 1
        self.waiting_most = max(self.waiting_most, self.waiting)
        await self.wake()
        try:
            async with self._changed:
                await asyncio.wait_for(self._changed.wait_for(lambda: self.queue or self.cancel or self.drain), seconds)
        except (asyncio.TimeoutError, TimeoutError):
            pass
        finally:
            self.waiting -= 1

    def _take(self, worker: str, capacity: int, rejected: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        jobs = [self.queue.popleft() for _ in range(min(capacity, len(self.queue)))]
        for job in jobs:
            self.in_hand[job["jobId"], job["attempt"]] = worker
        if jobs:
            answer["jobs"] = jobs
        if rejected:
            answer["rejected"] = rejected
        if self.cancel:
            answer["cancelled"] = list(self.cancel)
            self.cancel.clear()
        if self.drain:
            answer["draining"] = True
        return answer

    async def _heartbeat(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self.workers:
            return problem(404, "worker-not-found", "No such worker")
        body = json.loads(await request.text())
        if self.answer_heartbeat:
            return self.answer_heartbeat.pop(0)()
        self.heartbeats.append(body["inFlight"])
        pulse = {"cancelled": list(self.cancel), "unknown": list(self.unknown), "draining": self.drain}
        self.cancel.clear()
        self.unknown.clear()
        await self.wake()
        return web.json_response(pulse)

    async def _leave(self, request: web.Request) -> web.Response:
        worker = request.match_info["id"]
        if self.workers.pop(worker, None) is None:
            return problem(404, "worker-not-found", "No such worker")
        for key in [key for key, owner in self.in_hand.items() if owner == worker]:
            del self.in_hand[key]
        self.left.append(worker)
        await self.wake()
        return web.Response(status=204)


def attempt(job: dict[str, Any]) -> dict[str, Any]:
    """Name the attempt that a job is, as answers do."""
    return {"jobId": job["jobId"], "attempt": job["attempt"]}


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
