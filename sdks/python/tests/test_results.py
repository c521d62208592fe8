"""What comes out of a handler, as the orchestrator gets it."""

from __future__ import annotations

import asyncio
import logging
import threading
from datetime import datetime, timezone
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.running import do, running
from workersdk import Context, NonRetryableError, RetryLater, Worker


async def later(payload: Any) -> Any:
    await asyncio.sleep(0)
    return {"later": payload}


@pytest.mark.parametrize(
    "handler", [lambda payload: {"later": payload}, later, lambda payload: later(payload)],
    ids=["sync", "async", "sync that returns a coroutine"],
)  # fmt: skip
@pytest.mark.parametrize(
    "payload",
    [
        None,
        "Grüße 🎉 \u2028",
        12345678901234567890123456789,
        -(10**999),
        0.1,
        [],
        {"a": [1, None, True]},
        "x" * 100_000,
    ],
    ids=["null", "unicode", "big", "bigger", "float", "empty", "nested", "long"],
)
async def test_a_result_goes_back_as_it_was(handler: Any, payload: Any) -> None:
    result = await do(handler, payload)
    assert result == {"jobId": "run-0:0", "attempt": 1, "result": {"later": payload}}


class CardDeclined(Exception):
    pass


class OutOfMoney(NonRetryableError):
    pass


def raising(error: BaseException) -> Any:
    def handler(payload: Any) -> Any:
        raise error

    return handler


def raising_later(error: BaseException) -> Any:
    async def handler(payload: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return handler


ERRORS = [
    (CardDeclined("no ü funds"), {"type": "CardDeclined", "message": "no ü funds"}),
    (NonRetryableError("never"), {"type": "NonRetryableError", "message": "never", "retryable": False}),
    (NonRetryableError("never", type="Gone"), {"type": "Gone", "message": "never", "retryable": False}),
    (OutOfMoney("all of it"), {"type": "OutOfMoney", "message": "all of it", "retryable": False}),
    (RetryLater(90, "busy"), {"type": "RetryLater", "message": "busy", "retryAfter": 90}),
    (RetryLater(1.5), {"type": "RetryLater", "message": "asked to be tried again in 1.5 s", "retryAfter": 1.5}),
    (SystemExit(3), {"type": "SystemExit", "message": "3"}),
    (StopIteration(), {"type": "StopIteration", "message": ""}),
    (asyncio.CancelledError(), {"type": "CancelledError", "message": ""}),
    (ValueError("lone \ud800"), {"type": "ValueError", "message": "lone \\ud800"}),
]


@pytest.mark.parametrize(
    ("error", "expected"), ERRORS, ids=[f"{n} {type(e).__name__}" for n, (e, _) in enumerate(ERRORS)]
)
@pytest.mark.parametrize("make", [raising, raising_later], ids=["sync", "async"])
async def test_an_exception_is_a_failed_attempt(make: Any, error: BaseException, expected: dict[str, Any]) -> None:
    if make is raising_later and isinstance(error, StopIteration):
        expected = {"type": "RuntimeError", "message": "coroutine raised StopIteration"}
    result = await do(make(error.with_traceback(None)))
    assert (result["jobId"], result["status"]) == ("run-0:0", "failed")
    stack = result["error"].pop("stack")
    assert result["error"] == expected
    assert "in handler" in stack
    assert "execution.py" not in stack


async def test_a_keyboard_interrupt_is_a_failed_attempt_and_asks_an_embedded_worker_to_leave() -> None:
    worker = Worker()
    worker.register("act", raising(KeyboardInterrupt()))
    async with Gateway() as gateway, running(worker, gateway) as task:
        result = await gateway.result_of(await gateway.give("act"))
        assert result["error"]["type"] == "KeyboardInterrupt"
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("make", [raising, raising_later], ids=["sync", "async"])
async def test_long_messages_and_stacks_are_cut(make: Any) -> None:
    result = await do(make(ValueError("ü" * 50_000)))
    error = result["error"]
    assert len(error["message"].encode()) <= 8 * 1024
    assert error["message"].endswith("ü…")
    assert len(error["stack"].encode()) <= 16 * 1024


async def test_an_exception_whose_text_cannot_be_had_is_reported_all_the_same() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    result = await do(raising(Odd()))
    assert result["error"]["type"] == "Odd"
    assert "RuntimeError" in result["error"]["message"]


@pytest.mark.parametrize(
    ("value", "place"),
    [(float("nan"), r"$ is nan"), ({"at": datetime.now(timezone.utc)}, "$.at is of type datetime"), ([b""], "$[0]"),
     (10**5000, "more than 4300 digits"), ("\ud800", "lone surrogate")],
    ids=["nan", "datetime", "bytes", "digits", "surrogate"],
)  # fmt: skip
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_result_that_is_not_json_is_a_final_failure(value: Any, place: str, is_async: bool) -> None:
    async def handler(payload: Any) -> Any:
        return value

    result = await do(handler if is_async else lambda payload: value)
    error = result["error"]
    assert (result["status"], error["type"], error["retryable"]) == ("failed", "ResultNotSerializable", False)
    assert place in error["message"]


async def test_a_result_that_is_too_large_is_a_final_failure() -> None:
    worker = Worker()
    worker.register("act", lambda payload: "x" * payload)
    async with Gateway(resultBytesMax=1000) as gateway, running(worker, gateway):
        fits = await gateway.result_of(await gateway.give("act", 998))
        large = await gateway.result_of(await gateway.give("act", 999))
    assert fits["result"] == "x" * 998
    assert (large["error"]["type"], large["error"]["retryable"]) == ("ResultTooLarge", False)
    assert "1001 bytes" in large["error"]["message"]


async def test_a_job_for_an_unknown_action_fails() -> None:
    worker = Worker()
    worker.register("act", str)
    async with Gateway() as gateway, running(worker, gateway):
        result = await gateway.result_of(await gateway.give("other"))
    assert result["error"]["type"] == "ActionUnknown"


async def test_the_context_tells_what_the_job_is(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def handler(payload: Any, context: Context) -> None:
        seen.extend(
            [
                context.job_id,
                context.run_id,
                context.workflow_id,
                context.action,
                context.step_index,
                context.attempt,
                context.deadline,
                context.details,
                context.cancelled,
                (context.traceparent, context.tracestate, context.trace),
            ]
        )
        context.logger.warning("from the handler")

    fields = {"attempt": 2, "deadline": "2026-11-23T10:01:00.000000Z", "details": {"done": 40}, "stepIndex": 3}
    with caplog.at_level(logging.INFO):
        await do(handler, **fields)
    deadline = datetime(2026, 11, 23, 10, 1, tzinfo=timezone.utc)
    assert seen == ["run-0:0", "run-0", "flow", "act", 3, 2, deadline, {"done": 40}, False, (None, None, {})]
    record = next(record for record in caplog.records if record.message == "from the handler")
    assert (record.name, record.run, record.step, record.attempt) == ("workersdk", "run-0", 3, 2)  # type: ignore[attr-defined]


async def test_the_context_has_the_trace_of_the_run() -> None:
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=value"}
    seen: list[Any] = []

    def handler(payload: Any, context: Context) -> None:
        seen.append([context.traceparent, context.tracestate, context.trace])

    await do(handler, **trace)
    assert seen == [[*trace.values(), trace]]


async def test_sync_handlers_run_side_by_side_and_block_nobody() -> None:
    """Eight handlers meet at a barrier while an async one is done on the loop."""
    barrier = threading.Barrier(9)
    worker = Worker(concurrency=9)
    worker.register("meet", lambda payload: barrier.wait(5))
    worker.register("act", later)
    async with Gateway() as gateway:
        jobs = [gateway.add("meet") for _ in range(8)]
        async with running(worker, gateway):
            await gateway.result_of(await gateway.give("act"))
            assert not any(result.get("status") for result in gateway.results)
            await asyncio.to_thread(barrier.wait, 5)
            results = [await gateway.result_of(job) for job in jobs]
    assert len({result["result"] for result in results}) == 8


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_retry_later_wants_a_delay(delay: float) -> None:
    with pytest.raises(ValueError, match="RetryLater"):
        RetryLater(delay)
