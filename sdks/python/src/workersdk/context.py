"""What a handler may know about the attempt it is doing, and what it may say about it."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workersdk import codec
from workersdk.jobs import DETAILS_BYTES_MAX, Job

if TYPE_CHECKING:
    ContextLogger = logging.LoggerAdapter[logging.Logger]
else:
    ContextLogger = logging.LoggerAdapter


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
        return parse_time(text) if text else None

    @property
    def details(self) -> Any:
        """What the previous attempt said in its last heartbeat; None when it said nothing."""
        return self._job.raw.get("details")

    @property
    def cancelled(self) -> bool:
        """True once this attempt is not wanted any more: stop as soon as you can, the result will not be used.

        That is when the run was cancelled, the attempt has timed out, the lease is lost, the orchestrator could not be
        reached for longer than the lease, or the worker leaves without waiting any longer. An async handler gets an
        `asyncio.CancelledError` as well.
        """
        return self._job.stop is not None

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
        self._job.details_are_told = False


def parse_time(text: str) -> datetime:
    """Read a time of the wire (ISO 8601, UTC, `Z`)."""
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
