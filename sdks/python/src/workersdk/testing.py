"""Test your handlers as the workflow that they are, without an orchestrator and without waiting.

    from workersdk.testing import run_workflow

    def test_the_card_is_charged_once_the_bank_is_back():
        run = run_workflow(worker, {"id": "order", "steps": [{"action": "reserve"}, {"action": "charge"}]}, {"id": 7})
        assert run.status == "COMPLETED"
        assert [attempt.status for attempt in run.steps[1].attempts] == ["FAILED", "COMPLETED"]
        assert run.elapsed == 1.0

The whole run happens in memory, with the worker's own handlers. Retries follow the policies of the definition; their
delays are not waited for but added to a clock of the run, which handlers do not move. Between the steps every payload
is written as JSON and read again, as on the way through an orchestrator.

What this leaves out: jitter, time-outs, leases, cancelling.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from workersdk import codec, outcomes
from workersdk.client import make_definition
from workersdk.errors import WorkflowError
from workersdk.handlers import Context, Handler
from workersdk.jobs import Job
from workersdk.models import DeadLetter, Run
from workersdk.outcomes import Failure
from workersdk.transport import Terms
from workersdk.worker import Worker

__all__ = ["SimulatedRun", "run_workflow", "run_workflow_async"]

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?", re.ASCII)
_DOUBLINGS_MAX: Final = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun(Run):
    """A run as a client would see it, and what only a test wants to know.

    `elapsed`: seconds on the run's own clock, which is the sum of the delays between attempts.
    `dead_letter`: what people would find after a step has failed for good.
    """

    elapsed: float = 0.0
    dead_letter: DeadLetter | None = None


def run_workflow(
    worker: Worker,
    definition: Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    input: Any = None,  # noqa: A002 - the field's name on the wire
    *,
    start: datetime | None = None,
) -> SimulatedRun:
    """Run a workflow to its end with the handlers of a worker that is not started.

    `definition`: a whole one, or only its steps. `start`: when the run's clock begins; now when left out.
    Raises `WorkflowError` when an action has no handler, `ValueError` when the input is not JSON or the definition
    is not valid. A run that fails is no error: look at `status`.
    """
    return asyncio.run(run_workflow_async(worker, definition, input, start=start))


async def run_workflow_async(
    worker: Worker,
    definition: Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
    input: Any = None,  # noqa: A002 - the field's name on the wire
    *,
    start: datetime | None = None,
) -> SimulatedRun:
    """Do the same as `run_workflow` inside a running event loop."""
    whole = definition if isinstance(definition, Mapping) else make_definition("test", definition)
    simulation = _Simulation(worker, whole, start or datetime.now(timezone.utc))
    return await simulation.run(input)


class _Simulation:
    def __init__(self, worker: Worker, definition: Mapping[str, Any], start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("start is a datetime with a time zone, such as datetime.now(timezone.utc)")
        self._worker = worker
        self._workflow_id = str(definition.get("id", "test"))
        self._definition = definition
        self._steps = _sorted_steps(definition)
        self._policy = RetryPolicy().refined(definition.get("retry"))
        self._run_id = str(uuid.uuid4())
        self._start = self._now = start
        missing = [step["action"] for step in self._steps if step["action"] not in worker.handlers]
        if missing:
            raise WorkflowError(f"the worker has no handler for {', '.join(map(repr, missing))}")

    async def run(self, given: Any) -> SimulatedRun:
        payload = _round_trip(given)
        raw: dict[str, Any] = {
            "runId": self._run_id,
            "workflowId": self._workflow_id,
            "workflowVersion": 1,
            "startTime": _iso(self._start),
            "input": payload,
            "status": "COMPLETED",
            "stepResults": [],
            "steps": [
                {"stepIndex": step["stepIndex"], "action": step["action"], "status": "PENDING", "attempts": []}
                for step in self._steps
            ],
        }
        dead_letter = None
        for step, shown in zip(self._steps, raw["steps"], strict=True):
            raw["currentStep"] = step["stepIndex"]
            outcome = await self._run_step(step, shown, payload)
            if isinstance(outcome, Failure):
                raw["status"] = "FAILED"
                raw["error"] = _error(outcome)
                dead_letter = self._dead_letter(shown, payload, outcome)
                break
            payload = outcome[0]
            raw["stepResults"].append(
                {
                    "action": step["action"],
                    "stepIndex": step["stepIndex"],
                    "result": payload,
                    "timestamp": self._iso_now(),
                }
            )
        else:
            raw["finalOutput"] = payload
        raw["endTime"] = self._iso_now()
        run = Run.from_json(raw)
        values = {field.name: getattr(run, field.name) for field in fields(run)}
        return SimulatedRun(**values, elapsed=(self._now - self._start).total_seconds(), dead_letter=dead_letter)

    async def _run_step(self, step: Mapping[str, Any], shown: dict[str, Any], payload: Any) -> tuple[Any] | Failure:
        """Return the result, in a tuple to tell it from a failure, or the last attempt's failure."""
        policy = self._policy.refined(step.get("retry"))
        details: Any = None
        while True:
            number = len(shown["attempts"]) + 1
            job = self._job(step, number, payload, details)
            started = self._iso_now()
            outcome = await _attempt(self._worker.handlers[step["action"]], job)
            failure = outcome if isinstance(outcome, Failure) else None
            shown["status"] = "COMPLETED" if failure is None else "FAILED"
            attempt = {"attempt": number, "status": shown["status"], "worker": self._worker.worker_id}
            times = {"scheduledAt": started, "startedAt": started, "finishedAt": self._iso_now()}
            shown["attempts"].append({**attempt, **times, "error": failure and _error(failure)})
            if failure is None:
                return outcome
            delay = policy.next_delay(failure, number)
            if delay is None:
                return failure
            self._now += timedelta(seconds=delay)
            details = codec.loads(job.details) if job.details is not None else details

    def _job(self, step: Mapping[str, Any], attempt: int, payload: Any, details: Any) -> Job:
        raw = {
            "jobId": f"{self._run_id}:{step['stepIndex']}",
            "attempt": attempt,
            "workflowRunId": self._run_id,
            "workflowId": self._workflow_id,
            "stepIndex": step["stepIndex"],
            "action": step["action"],
            "payload": _round_trip(payload),
            "details": details,
        }
        timeout = step.get("timeout") or self._definition.get("stepTimeout")
        if timeout is not None:
            raw["deadline"] = _iso(self._now + timedelta(seconds=parse_duration(timeout)))
        return Job(raw, 0.0)

    def _dead_letter(self, shown: Mapping[str, Any], payload: Any, failure: Failure) -> DeadLetter:
        number = len(shown["attempts"])
        return DeadLetter.from_json(
            {
                "id": f"{self._run_id}:{shown['stepIndex']}:{number}",
                "runId": self._run_id,
                "workflowId": self._workflow_id,
                "stepIndex": shown["stepIndex"],
                "action": shown["action"],
                "attempts": number,
                "payload": payload,
                "error": _error(failure),
                "createdAt": self._iso_now(),
            }
        )

    def _iso_now(self) -> str:
        return _iso(self._now)


async def _attempt(handler: Handler, job: Job) -> tuple[Any] | Failure:
    """Do what a worker does with one attempt; a sync handler runs in a thread here too."""
    arguments = [job.raw["payload"]]
    if handler.takes_context:
        arguments.append(Context(job, logging.getLogger("workersdk")))
    try:
        if handler.is_async:
            result = await handler.call(*arguments)
        else:
            result = await asyncio.to_thread(_call, handler, arguments)
            if isinstance(result, _Raised):
                return outcomes.failure_of(result.error)
            if inspect.isawaitable(result):
                result = await result
    except (Exception, SystemExit) as error:
        return outcomes.failure_of(error)
    written = outcomes.write_result(result, Terms().result_bytes_max)
    return written if isinstance(written, Failure) else (codec.loads(written),)


@dataclass(frozen=True, slots=True)
class _Raised:
    error: BaseException


def _call(handler: Handler, arguments: Sequence[Any]) -> Any:
    """Call a sync handler in a thread; its exception comes back as a value, since a future takes no StopIteration."""
    try:
        return handler.call(*arguments)
    except BaseException as error:
        return _Raised(error)


def _sorted_steps(definition: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = definition.get("steps")
    if not given:
        raise ValueError("the definition has no steps")
    steps = [
        {"stepIndex": place, **{k: v for k, v in step.items() if v is not None}} for place, step in enumerate(given)
    ]
    for step in steps:
        if not isinstance(step.get("action"), str):
            raise ValueError(f"a step has no action: {step}")
    indexes = [step["stepIndex"] for step in steps]
    for index in indexes:
        if type(index) is not int or index < 0:
            raise ValueError(f"a stepIndex is a whole number from 0 on, not {index!r}")
    if len(set(indexes)) < len(indexes):
        raise ValueError(f"two steps have the same stepIndex: {indexes}")
    return sorted(steps, key=lambda step: step["stepIndex"])


def _round_trip(value: Any) -> Any:
    return codec.loads(codec.dumps(value))


def _error(failure: Failure) -> dict[str, Any]:
    return {"type": failure.type, "message": failure.message, "stack": failure.stack or None}


def _iso(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a failed attempt is followed by another: what docs/rest-api.md says, without jitter.

    `max_retries` after the first attempt; delays in seconds.
    """

    max_retries: int = 3
    delay: float = 1.0
    backoff: str = "fixed"
    max_delay: float | None = None
    non_retryable: tuple[str, ...] = ()

    def refined(self, body: Mapping[str, Any] | None) -> RetryPolicy:
        """Return this policy with the fields that a definition's `retry` names replaced. Raises `ValueError`."""
        given = body or {}
        backoff = given.get("backoff") or self.backoff
        if backoff not in ("fixed", "exponential"):
            raise ValueError(f'backoff is "fixed" or "exponential", not {backoff!r}')
        non_retryable = given.get("nonRetryable")
        return RetryPolicy(
            max_retries=int(_given(given, "maxRetries", self.max_retries)),
            delay=parse_duration(_given(given, "delay", self.delay)),
            backoff=backoff,
            max_delay=None
            if (longest := _given(given, "maxDelay", self.max_delay)) is None
            else parse_duration(longest),
            non_retryable=self.non_retryable if non_retryable is None else tuple(non_retryable),
        )

    def next_delay(self, failure: Failure, failures: int) -> float | None:
        """Return the seconds before the next attempt after so many failures; None when there is no next attempt."""
        if not failure.is_retryable or failures > self.max_retries or failure.type in self.non_retryable:
            return None
        if failure.retry_after is not None:
            return failure.retry_after
        delay = self.delay
        if self.backoff == "exponential":
            delay *= 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
        return delay if self.max_delay is None else min(delay, self.max_delay)


def parse_duration(value: float | str) -> float:
    """Read a duration: a number of seconds, or a string such as "500ms", "30s", "5m", "2h". Raises `ValueError`."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError(
                f'a duration is a number of seconds or a string such as "500ms", "30s", "5m", not {value!r}'
            )
        return float(match[1]) * _UNITS[match[2] or "s"]
    if not 0 <= value < float("inf"):
        raise ValueError(f"a duration is a number of seconds from 0 up, not {value!r}")
    return float(value)


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value
