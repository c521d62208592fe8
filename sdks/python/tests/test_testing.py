"""Workflows in memory: same handlers, same policies, no waiting."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from workersdk import Context, NonRetryableError, RetryLater, Worker, WorkflowError
from workersdk.testing import run_workflow, run_workflow_async

START = datetime(2026, 11, 23, 10, tzinfo=timezone.utc)


def failing(times: int, error: Exception) -> Any:
    left = times

    def handler(payload: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        return f"{payload} after {times} failures"

    return handler


def workflow(*actions: str, **fields: Any) -> dict[str, Any]:
    return {"id": "flow", "steps": [{"action": action} for action in actions], **fields}


def test_a_run_goes_from_step_to_step() -> None:
    worker = Worker()
    worker.register("add", lambda payload: payload + 1)

    @worker.register("pair")
    async def pair(payload: Any, context: Context) -> Any:
        return payload, context.workflow_id, context.step_index

    run = run_workflow(worker, workflow("add", "add", "pair"), 10**30)
    assert (run.status, run.final_output, run.elapsed) == ("COMPLETED", [10**30 + 2, "flow", 2], 0.0)
    assert [result.result for result in run.step_results] == [10**30 + 1, 10**30 + 2, run.final_output]
    assert [step.status for step in run.steps] == ["COMPLETED"] * 3
    assert (run.workflow_id, run.input, run.error, run.dead_letter) == ("flow", 10**30, None, None)


def test_steps_go_in_the_order_of_their_index() -> None:
    worker = Worker()
    worker.register("a", lambda payload: payload + "a")
    worker.register("b", lambda payload: payload + "b")
    steps = [{"action": "a", "stepIndex": 7}, {"action": "b", "stepIndex": 3}]
    assert run_workflow(worker, {"id": "flow", "steps": steps}, "").final_output == "ba"
    assert run_workflow(worker, ["a", "b"], "").final_output == "ab"


def test_retries_take_no_time_but_the_run_s_own() -> None:
    worker = Worker()
    worker.register("act", failing(3, ValueError("not yet")))
    begun = time.monotonic()
    run = run_workflow(worker, workflow("act"), "done", start=START)
    assert time.monotonic() - begun < 1
    assert (run.status, run.final_output, run.elapsed) == ("COMPLETED", "done after 3 failures", 3.0)
    attempts = run.steps[0].attempts
    assert [attempt.status for attempt in attempts] == ["FAILED", "FAILED", "FAILED", "COMPLETED"]
    assert [attempt.started_at for attempt in attempts] == [START + timedelta(seconds=s) for s in range(4)]
    assert attempts[0].error is not None
    assert (attempts[0].error.type, attempts[0].error.message) == ("ValueError", "not yet")
    assert "in handler" in (attempts[0].error.stack or "")


def test_a_step_that_fails_for_good_is_a_dead_letter() -> None:
    worker = Worker()
    worker.register("first", lambda payload: {"to": payload})
    worker.register("act", failing(99, ValueError("never")))
    worker.register("last", str)
    run = run_workflow(worker, workflow("first", "act", "last"), 7, start=START)
    assert (run.status, run.final_output, run.elapsed) == ("FAILED", None, 3.0)
    assert run.error is not None
    assert (run.error.type, run.error.message) == ("ValueError", "never")
    assert [step.status for step in run.steps] == ["COMPLETED", "FAILED", "PENDING"]
    assert [result.action for result in run.step_results] == ["first"]
    assert run.dead_letter is not None
    assert (run.dead_letter.action, run.dead_letter.step_index, run.dead_letter.attempts) == ("act", 1, 4)
    assert run.dead_letter.payload == {"to": 7}
    assert run.end_time == START + timedelta(seconds=3)


@pytest.mark.parametrize(
    ("retry", "error", "attempts", "elapsed"),
    [
        ({"maxRetries": 0}, ValueError(), 1, 0.0),
        ({"maxRetries": 5, "delay": "2s"}, ValueError(), 6, 10.0),
        ({"maxRetries": 4, "backoff": "exponential"}, ValueError(), 5, 15.0),
        ({"maxRetries": 4, "backoff": "exponential", "maxDelay": "5s"}, ValueError(), 5, 12.0),
        ({"nonRetryable": ["ValueError"]}, ValueError(), 1, 0.0),
        ({"nonRetryable": ["KeyError"]}, ValueError(), 4, 3.0),
        ({}, NonRetryableError("never"), 1, 0.0),
        ({"nonRetryable": ["Gone"]}, NonRetryableError("never", type="Gone"), 1, 0.0),
        ({}, RetryLater(3600), 4, 10800.0),
        ({}, StopIteration(), 4, 3.0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_policies(retry: dict[str, Any], error: Exception, attempts: int, elapsed: float) -> None:
    worker = Worker()
    worker.register("act", failing(99, error))
    for definition in (workflow("act", retry=retry), {"id": "flow", "steps": [{"action": "act", "retry": retry}]}):
        run = run_workflow(worker, definition)
        assert (len(run.steps[0].attempts), run.elapsed) == (attempts, elapsed)


def test_what_is_not_json_is_found() -> None:
    worker = Worker()
    worker.register("set", lambda payload: {1, 2})
    worker.register("key", lambda payload: {1: "one"})
    worker.register("same", lambda payload: payload)
    run = run_workflow(worker, workflow("set"))
    assert run.error is not None
    assert run.error.type == "ResultNotSerializable"
    assert len(run.steps[0].attempts) == 1
    assert run_workflow(worker, workflow("key", "same")).final_output == {"1": "one"}
    with pytest.raises(ValueError, match=r"\$ is of type set"):
        run_workflow(worker, workflow("same"), {1})


def test_a_payload_belongs_to_its_attempt() -> None:
    worker = Worker()

    @worker.register("act")
    def act(payload: list[int], context: Context) -> list[int]:
        payload.append(context.attempt)
        if context.attempt < 3:
            raise ValueError
        return payload

    assert run_workflow(worker, workflow("act"), []).final_output == [3]


def test_details_reach_the_next_attempt() -> None:
    worker = Worker()
    seen: list[Any] = []

    @worker.register("act")
    def act(payload: Any, context: Context) -> None:
        seen.append(context.details)
        if context.attempt < 3:
            context.heartbeat({"done": context.attempt})
        if context.attempt < 4:
            raise ValueError

    run_workflow(worker, workflow("act"))
    assert seen == [None, {"done": 1}, {"done": 2}, {"done": 2}]


def test_a_deadline_is_on_the_run_s_clock() -> None:
    worker = Worker()
    seen: list[Any] = []

    @worker.register("act")
    def act(payload: Any, context: Context) -> None:
        seen.append(context.deadline)
        if context.attempt == 1:
            raise RetryLater(60)

    run_workflow(worker, workflow("act", stepTimeout="20s"), start=START)
    assert seen == [START + timedelta(seconds=20), START + timedelta(seconds=80)]


async def test_inside_a_loop_of_one_s_own() -> None:
    worker = Worker()

    async def add(payload: int) -> int:
        return payload + 1

    worker.register("async", add)
    worker.register("coroutine", lambda payload: add(payload))
    worker.register("exit", lambda payload: exit(payload))
    assert (await run_workflow_async(worker, ["async", "coroutine"], 1)).final_output == 3
    run = await run_workflow_async(worker, {"id": "x", "retry": {"maxRetries": 0}, "steps": [{"action": "exit"}]})
    assert run.error is not None
    assert run.error.type == "SystemExit"


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        (workflow("missing", "act", "lost"), "no handler for 'missing', 'lost'"),
        ({"id": "flow", "steps": []}, "no steps"),
        ({"id": "flow", "steps": [{"stepIndex": 1}]}, "no action"),
        ({"id": "flow", "steps": [{"action": "act", "stepIndex": 1}, {"action": "act"}]}, "same stepIndex"),
        ({"id": "flow", "steps": [{"action": "act", "stepIndex": -1}]}, "whole number from 0 on"),
        (workflow("act", retry={"delay": "soon"}), "soon"),
    ],
    ids=["missing", "empty", "no action", "twice", "negative", "delay"],
)
def test_a_mistake_in_the_test_is_an_error(definition: dict[str, Any], complaint: str) -> None:
    worker = Worker()
    worker.register("act", str)
    with pytest.raises((WorkflowError, ValueError), match=complaint):
        run_workflow(worker, definition)


def test_the_clock_needs_a_zone() -> None:
    worker = Worker()
    worker.register("act", str)
    with pytest.raises(ValueError, match="time zone"):
        run_workflow(worker, ["act"], start=datetime(2026, 11, 23))
