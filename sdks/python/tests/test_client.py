"""Both clients against a small REST API that is scripted by the test."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
from aiohttp import web

from tests.gateway import problem
from workersdk import (
    ApiError,
    AsyncClient,
    Client,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    Run,
    RunFailedError,
    UnsupportedTransportError,
    WaitTimeoutError,
)

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers each request with the next answer for its method and path; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.answers: dict[str, list[web.Response | Answer]] = {}
        self.url = ""

    def on(self, call: str, *answers: web.Response | Answer) -> None:
        self.answers.setdefault(call, []).extend(answers)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.read())
        answers = self.answers.get(f"{request.method} {request.path}")
        if not answers:
            return problem(404, "run-not-found", "No such run", request.path)
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, web.Response):
            return web.Response(status=found.status, body=found.body, headers=found.headers)
        return await found(request)


@asynccontextmanager
async def api() -> AsyncIterator[Api]:
    made = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    try:
        yield made
    finally:
        await runner.cleanup()


def run_json(status: str = "COMPLETED", **fields: Any) -> dict[str, Any]:
    return {
        "runId": "r-1", "workflowId": "order", "workflowVersion": 2, "status": status, "currentStep": 1,
        "startTime": "2026-11-23T10:00:00.000000Z", "endTime": None, "input": {"id": 7}, "finalOutput": None,
        "error": None, "stepResults": [], **fields,
    }  # fmt: skip


def answers(*values: Any) -> list[web.Response]:
    return [web.json_response(value) for value in values]


async def lose(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: min(high, 0.005))


async def test_a_run_is_started_once_although_the_answer_was_lost() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/order/trigger", lose, web.Response(status=503), *answers({"runId": "r-1"}))
        assert await client.trigger("order", {"n": 10**30, "ü": "é"}) == "r-1"
        keys = [request.headers["Idempotency-Key"] for request in server.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert json.loads(server.bodies[-1]) == {"input": {"n": 10**30, "ü": "é"}}
    assert b"1000000000000000000000000000000" in server.bodies[-1]


async def test_a_key_of_one_s_own_is_used() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/order/trigger", *answers({"runId": "r-1"}))
        await client.trigger("order", idempotency_key="order-7")
    assert server.asked[0].headers["Idempotency-Key"] == "order-7"
    assert server.bodies == [b'{"input":null}']


async def test_the_trace_goes_with_the_trigger() -> None:
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "baggage": "a=1"}
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/order/trigger", *answers({"runId": "r-1"}, {"runId": "r-2"}))
        await client.trigger("order", trace={**trace, "tracestate": "vendor=value"})
        await client.trigger("order", trace={"tracestate": "", **trace})
    told = [
        {name: request.headers[name] for name in ("traceparent", "tracestate", "baggage") if name in request.headers}
        for request in server.asked
    ]
    parent = {"traceparent": trace["traceparent"]}
    assert told == [{**parent, "tracestate": "vendor=value"}, parent]


async def test_nobody_there_is_an_error_that_says_where_and_what_to_do() -> None:
    async with AsyncClient("http://user:secret@127.0.0.1:1") as client:
        with pytest.raises(ConnectionFailedError, match=r"http://127\.0\.0\.1:1 \(connection refused\).*WORKFLOW_URL"):
            await client.get("r-1")


async def test_something_else_is_there() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("GET /workflow/run/r-1", web.Response(text="<html>"))
        with pytest.raises(ConnectionFailedError, match="does not speak JSON"):
            await client.get("r-1")
        server.on("GET /workflow/run/r-2", web.Response(status=400, text="<html>"))
        with pytest.raises(ApiError, match="400 Bad Request"):
            await client.get("r-2")


async def test_a_redrive_is_not_repeated() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /dead-letters/r-1:1:4/redrive", lose, *answers(run_json("RUNNING")))
        with pytest.raises(ConnectionFailedError):
            await client.redrive("r-1:1:4")
        assert (await client.redrive("r-1:1:4")).status == "RUNNING"


async def test_a_run_with_everything() -> None:
    raw = run_json(
        "RUNNING",
        stepResults=[{"action": "reserve", "stepIndex": 0, "result": 10**20, "timestamp": "2026-11-23T10:00:01Z"}],
        steps=[
            {
                "stepIndex": 1,
                "action": "charge",
                "status": "BACKING_OFF",
                "nextAttemptAt": "2026-11-23T10:00:03Z",
                "attempts": [
                    {"attempt": 1, "status": "FAILED", "worker": "w-1", "error": {"type": "Declined", "message": "no"}}
                ],
            }
        ],
        waitingFor="step 1 (charge): attempt 2 of 4",
        ofALaterVersion={"x": 1},
    )
    async with api() as server, AsyncClient(server.url) as client:
        server.on("GET /workflow/run/r-1", *answers(raw))
        run = await client.get("r-1")
    assert run.start_time == datetime(2026, 11, 23, 10, tzinfo=timezone.utc)
    assert (run.is_ended, run.end_time, run.input) == (False, None, {"id": 7})
    assert (run.step_results[0].result, run.step_results[0].action) == (10**20, "reserve")
    assert run.steps[0].attempts[0].error is not None
    assert run.steps[0].attempts[0].error.type == "Declined"
    assert run.steps[0].next_attempt_at == datetime(2026, 11, 23, 10, 0, 3, tzinfo=timezone.utc)
    assert run.waiting_for == "step 1 (charge): attempt 2 of 4"
    assert run.raw["ofALaterVersion"] == {"x": 1}
    assert Run.from_json({}).status == ""


async def test_waiting_goes_on_until_the_run_has_ended() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("GET /workflow/run/r-1", *answers(run_json("RUNNING"), run_json("WAITING"), run_json(finalOutput=1)))
        assert (await client.wait("r-1")).final_output == 1
    assert [request.query["wait"] for request in server.asked] == ["30.000"] * 3


async def test_waiting_has_an_end() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on("GET /workflow/run/r-1", *answers(run_json("WAITING", waitingFor="a worker for 'charge'")))
        with pytest.raises(WaitTimeoutError, match="r-1 is WAITING after 0 s: a worker for 'charge'") as caught:
            await client.wait("r-1", timeout=0)
    assert caught.value.run.run_id == "r-1"
    assert isinstance(caught.value, TimeoutError)


async def test_run_returns_the_final_output_or_raises_the_run_s_error() -> None:
    error = {"type": "CardDeclined", "message": "no funds"}
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/order/trigger", *answers({"runId": "r-1"}))
        server.on("GET /workflow/run/r-1", *answers(run_json(finalOutput=[1]), run_json("FAILED", error=error)))
        assert await client.run("order", 7) == [1]
        with pytest.raises(RunFailedError, match="r-1 of order is FAILED: CardDeclined: no funds") as caught:
            await client.run("order", 7)
    assert caught.value.error is not None
    assert caught.value.error.type == "CardDeclined"


async def test_errors_keep_what_the_orchestrator_said() -> None:
    fields = [{"field": "steps[1]", "reason": "0 is used by another step", "mend": "give every step its own"}]
    invalid = {"title": "Not valid", "status": 422, "code": "definition-invalid", "detail": "1 field", "errors": fields}
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/", web.json_response(invalid, status=422))
        with pytest.raises(ApiError) as caught:
            await client.define("order", ["a", {"action": "b", "stepIndex": 0}])
        assert (caught.value.status, caught.value.code, list(caught.value.errors)) == (
            422,
            "definition-invalid",
            fields,
        )
        assert "steps[1]: 0 is used by another step (give every step its own)" in str(caught.value)
        with pytest.raises(NotFoundError):
            await client.get("nothing")
        server.on("POST /workflow/run/r-1/cancel", problem(409, "run-finished", "It has ended"))
        with pytest.raises(ConflictError, match="run-finished"):
            await client.cancel("r-1", "no longer wanted")
    assert json.loads(server.bodies[0])["steps"] == [{"action": "a"}, {"action": "b", "stepIndex": 0}]
    assert json.loads(server.bodies[-1]) == {"reason": "no longer wanted"}


async def test_defining_takes_a_whole_definition_or_an_id_and_steps() -> None:
    whole = {"id": "order", "steps": [{"action": "a", "stepIndex": 0}]}
    async with api() as server, AsyncClient(server.url) as client:
        server.on("POST /workflow/", *answers({**whole, "version": 3, "createdAt": "2026-11-23T10:00:00Z"}))
        workflow = await client.define(whole)
        assert (workflow.id, workflow.version, workflow.steps) == ("order", 3, ({"action": "a", "stepIndex": 0},))
        assert json.loads(server.bodies[0]) == whole
        with pytest.raises(ValueError, match="needs steps"):
            await client.define("order")
        with pytest.raises(ValueError, match="not both"):
            await client.define(whole, ["a"])


def page(runs: list[int], link: str | None = None) -> web.Response:
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    return web.json_response([run_json(runId=str(run)) for run in runs], headers=headers)


async def test_a_list_is_read_page_by_page() -> None:
    async with api() as server, AsyncClient(server.url + "/prefix") as client:
        server.on("GET /prefix/workflow/runs", page([1, 2], "/prefix/workflow/runs?cursor=b&limit=2"), page([3]))
        found = [run.run_id async for run in client.list(status=["FAILED", "TIMED_OUT"], workflow="order")]
        assert found == ["1", "2", "3"]
        assert server.asked[0].query_string == "status=FAILED&status=TIMED_OUT&workflow=order"
        assert server.asked[1].query_string == "cursor=b&limit=2"


async def test_a_list_stops_at_its_limit() -> None:
    async with api() as server, AsyncClient(server.url) as client:
        server.on(
            "GET /workflow/runs", page([1, 2], "/workflow/runs?cursor=b"), page([3, 4], "/workflow/runs?cursor=c")
        )
        assert [run.run_id async for run in client.list(limit=3)] == ["1", "2", "3"]
        assert [run.run_id async for run in client.list(limit=0)] == []
    assert [request.query_string for request in server.asked] == ["limit=3", "cursor=b"]


async def test_everything_else_there_is_to_see() -> None:
    event = {"seq": 1, "type": "RunStarted", "at": "2026-11-23T10:00:00Z", "error": {"type": "E", "message": "m"}}
    letter = {"id": "r-1:1:4", "runId": "r-1", "stepIndex": 1, "attempts": 4, "payload": [1], "error": {"type": "E"}}
    worker = {"workerId": "w-1", "status": "CONNECTED", "actions": ["a"], "inHand": [{"jobId": "r-1:0"}]}
    workflow = {"id": "order", "version": 1, "steps": []}
    async with api() as server, AsyncClient(server.url) as client:
        server.on("GET /workflow/run/r-1/events", *answers([event]))
        server.on("GET /dead-letters", *answers([letter]))
        server.on("DELETE /dead-letters/r-1:1:4", web.Response(status=204))
        server.on("GET /workers", *answers([worker]))
        server.on("GET /workflow/", *answers([workflow]))
        server.on("GET /workflow/order", *answers(workflow))
        server.on("POST /workflow/run/r-1/cancel", *answers(run_json("CANCELLED")))
        (seen,) = await client.events("r-1", after=0)
        assert (seen.seq, seen.type, seen.error and seen.error.type) == (1, "RunStarted", "E")
        (dead,) = await client.dead_letters(workflow="order", action="charge", limit=5)
        assert (dead.id, dead.attempts, dead.payload, dead.state) == ("r-1:1:4", 4, [1], "OPEN")
        await client.discard(dead.id)
        (known,) = await client.workers()
        assert (known.worker_id, known.actions, len(known.in_hand)) == ("w-1", ("a",), 1)
        assert await client.workflows() == (await client.workflow("order"),)
        assert (await client.cancel("r-1")).status == "CANCELLED"
    assert server.asked[0].query_string == "after=0"
    assert server.asked[1].query_string == "workflow=order&action=charge&limit=5"


def test_the_address_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert repr(Client()) == "<Client http://127.0.0.1:8080>"
    monkeypatch.setenv("WORKFLOW_URL", "http://elsewhere:1")
    assert repr(AsyncClient()) == "<AsyncClient http://elsewhere:1>"
    monkeypatch.setenv("WORKFLOW_URL", "kafka:9092")
    assert repr(Client()) == "<Client http://127.0.0.1:8080>"
    with pytest.raises(UnsupportedTransportError, match="speaks HTTP"):
        Client("kafka:9092")


async def test_the_sync_client_does_the_same() -> None:
    def use(client: Client) -> None:
        assert client.define("order", ["a"]).version == 1
        assert client.trigger("order", 1) == "r-1"
        assert client.get("r-1").run_id == "r-1"
        assert client.wait("r-1", timeout=5).run_id == "r-1"
        assert client.run("order", 1) == "out"
        assert [run.run_id for run in client.list()] == ["1", "2", "3"]
        assert [run.run_id for run in client.list(limit=1)] == ["3"]
        assert client.cancel("r-1").is_ended
        assert client.workflows()[0] == client.workflow("order")
        assert (client.workers(), client.dead_letters(), client.events("r-1")) == ((), (), ())
        assert client.redrive("d").run_id == "r-1"
        client.discard("d")
        with pytest.raises(NotFoundError):
            client.get("nothing")

    async with api() as server:
        server.on("POST /workflow/", *answers({"id": "order", "version": 1}))
        server.on("POST /workflow/order/trigger", *answers({"runId": "r-1"}))
        server.on("GET /workflow/run/r-1", *answers(run_json(finalOutput="out")))
        server.on("GET /workflow/runs", page([1, 2], "/workflow/runs?cursor=b"), page([3]))
        server.on("POST /workflow/run/r-1/cancel", *answers(run_json("CANCELLED")))
        server.on("GET /workflow/", *answers([{"id": "order"}]))
        server.on("GET /workflow/order", *answers({"id": "order"}))
        for path in ("/workers", "/dead-letters", "/workflow/run/r-1/events"):
            server.on(f"GET {path}", *answers([]))
        server.on("POST /dead-letters/d/redrive", *answers(run_json()))
        server.on("DELETE /dead-letters/d", web.Response(status=204))
        with Client(server.url) as client:
            await asyncio.to_thread(use, client)
        again = await asyncio.to_thread(client.get, "r-1")
        assert again.run_id == "r-1"
        await asyncio.to_thread(client.close)
        client.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "workersdk-client" and thread.is_alive()]


def test_a_client_that_is_forgotten_ends_its_thread() -> None:
    client = Client("http://127.0.0.1:1")
    with pytest.raises(ConnectionFailedError):
        client.workers()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "workersdk-client"]
    del client
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


async def test_a_program_may_use_the_sync_client_without_closing_it_and_after_a_fork() -> None:
    program = (
        "import os, sys\n"
        "from workersdk import Client\n"
        "client = Client()\n"
        "print(client.get('r-1').status, flush=True)\n"
        "if os.fork() == 0:\n"
        "    print(client.get('r-1').status, flush=True)\n"
        "else:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    async with api() as server:
        server.on("GET /workflow/run/r-1", *answers(run_json()))
        environment = {**os.environ, "WORKFLOW_URL": server.url}
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=10
        )
    assert (done.returncode, done.stdout) == (0, "COMPLETED\nCOMPLETED\n")
    assert "Traceback" not in done.stderr
