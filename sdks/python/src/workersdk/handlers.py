"""What a handler looks like, decided once, when it is registered; and the context that it may ask for."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from workersdk import codec
from workersdk.jobs import DETAILS_BYTES_MAX, TRACE_FIELDS, Job

if TYPE_CHECKING:
    ContextLogger = logging.LoggerAdapter[logging.Logger]
else:
    ContextLogger = logging.LoggerAdapter

CONTEXT_NAMES: Final = frozenset({"context", "ctx"})


class Context:
    """The second argument of a handler that wants one."""

    __slots__ = ("_job", "_logger")

    def __init__(self, job: Job, logger: logging.Logger) -> None:
        self._job = job
        self._logger = logger

    def __repr__(self) -> str:
        return f"<Context {self.action} {self.job_id} attempt {self.attempt}>"

    @property
    def job_id(self) -> str:
        """The step's own id, the same for all its attempts: the idempotency key for effects outside."""
        return self._job.id

    @property
    def attempt(self) -> int:
        """Which attempt this is: 1, 2, 3 …"""
        return self._job.attempt

    @property
    def run_id(self) -> str:
        """The run that this step belongs to."""
        return str(self._job.raw.get("workflowRunId", ""))

    @property
    def workflow_id(self) -> str:
        """The workflow that the run is one of."""
        return str(self._job.raw.get("workflowId", ""))

    @property
    def action(self) -> str:
        """The action that this handler was registered for."""
        return str(self._job.raw.get("action", ""))

    @property
    def step_index(self) -> int:
        """The place of the step in its workflow, from 0."""
        return int(self._job.raw.get("stepIndex", 0))

    @property
    def deadline(self) -> datetime | None:
        """When the attempt has failed whatever comes (UTC, aware); None when the step has no time-out."""
        text = self._job.raw.get("deadline")
        return codec.parse_time(text) if text else None

    @property
    def details(self) -> Any:
        """What the previous attempt said in its last heartbeat; None when it said nothing."""
        return self._job.raw.get("details")

    @property
    def traceparent(self) -> str | None:
        """The `traceparent` that the run was triggered with; None when there was none."""
        return self.trace.get("traceparent")

    @property
    def tracestate(self) -> str | None:
        """The `tracestate` that goes with it; None when there is none."""
        return self.trace.get("tracestate")

    @property
    def trace(self) -> dict[str, str]:
        """Both by their names, as OpenTelemetry's `extract` takes them; empty when there is no trace."""
        found = {name: self._job.raw.get(name) for name in TRACE_FIELDS}
        return {name: value for name, value in found.items() if isinstance(value, str) and value}

    @property
    def cancelled(self) -> bool:
        """True once this attempt is not wanted any more: stop as soon as you can, the result will not be used.

        That is when the run was cancelled, the attempt has timed out, the lease is lost, the orchestrator could not be
        reached for longer than the lease, or the worker leaves without waiting any longer. An async handler gets an
        `asyncio.CancelledError` as well.
        """
        if self._job.stop is None:
            return False
        self._job.has_seen_stop = True
        return True

    @property
    def logger(self) -> ContextLogger:
        """A logger whose records carry `workflow`, `run`, `step`, `action` and `attempt`."""
        fields = {
            "workflow": self.workflow_id,
            "run": self.run_id,
            "step": self.step_index,
            "action": self.action,
            "attempt": self.attempt,
        }
        return logging.LoggerAdapter(self._logger, fields)

    def heartbeat(self, details: Any = None) -> None:
        """Say how far this attempt is. It goes with the worker's next heartbeat.

        `details` is any JSON value up to 16 KiB: people see it, and the next attempt finds it in `context.details`.
        Without it the last details stay. Raises `ValueError` when the details are not JSON or are too large.

        The worker beats by itself while a handler runs; this call is only for the details.
        """
        if details is None:
            return
        text = codec.dumps(details)
        if len(text) > DETAILS_BYTES_MAX:
            raise ValueError(f"heartbeat details are at most {DETAILS_BYTES_MAX} bytes of JSON, these are {len(text)}")
        self._job.details = text


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler that is always called as `call(payload)`, or as `call(payload, context)` when `takes_context`."""

    action: str
    call: Callable[..., Any]
    is_async: bool
    takes_context: bool


def make_handler(action: str, function: Callable[..., Any]) -> Handler:
    """Look at a function and decide how it is called. Raises `TypeError` when it cannot take a payload."""
    if not isinstance(action, str) or not action:
        raise TypeError(f"an action is a non-empty string, not {action!r}")
    if not callable(function):
        raise TypeError(f"the handler of {action!r} is not callable: {function!r}")
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the method itself is wanted: an object may have an async one
    )
    style = _context_style(action, function)
    if style == "keyword":
        return Handler(action, _by_keyword(function), is_async, takes_context=True)
    return Handler(action, function, is_async, takes_context=style == "second")


def _context_style(action: str, function: Callable[..., Any]) -> str:
    """Return how the context goes in: `second` argument, `keyword`, or `none`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return "none"  # a builtin that does not tell its signature
    in_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in in_place if p.default is p.empty]
    by_name = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    is_named = [p.name for p in by_name] == ["context"]
    if (not in_place and not takes_any) or len(required) > 2 or (by_name and not is_named):
        raise TypeError(
            f"the handler of {action!r} is called with (payload) or (payload, context); "
            f"{getattr(function, '__qualname__', function)}{inspect.signature(function)} does not fit"
        )
    if is_named:
        return "keyword"
    if len(required) == 2:
        return "second"
    # A second parameter with a default is the context only if it says so: `lambda payload, x=x: …` keeps its x.
    return "second" if len(in_place) >= 2 and _means_context(in_place[1]) else "none"


def _means_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    name = annotation if isinstance(annotation, str) else repr(annotation)
    return parameter.name in CONTEXT_NAMES or "Context" in name


def _by_keyword(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(payload: Any, context: Any) -> Any:
        return function(payload, context=context)

    return call
