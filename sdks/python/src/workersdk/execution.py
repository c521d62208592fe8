"""Running handlers: async ones as tasks of the loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from workersdk import codec, outcomes
from workersdk.context import Context
from workersdk.handlers import Handler
from workersdk.jobs import Job, Stop
from workersdk.outcomes import Failure, Outcome
from workersdk.threads import HandlerThreads


class Execution:
    """Takes jobs, gives outcomes to `deliver`. Every job that is started is delivered once, in any order."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        concurrency: int,
        logger: logging.Logger,
        deliver: Callable[[Sequence[Outcome]], None],
        on_interrupt: Callable[[], None],
    ) -> None:
        self.result_bytes_max = 2 * 1024 * 1024
        self._handlers = handlers
        self._logger = logger
        self._deliver = deliver
        self._on_interrupt = on_interrupt
        self._loop = asyncio.get_running_loop()
        self._threads = HandlerThreads(concurrency, self._run_sync, deliver)

    def start(self, jobs: Sequence[Job]) -> None:
        """Start jobs."""
        hopeless = []
        for job in jobs:
            handler = self._handlers.get(job.raw.get("action", ""))
            if handler is None or type(job.raw.get("payload")) is codec.UnreadableInt:
                hopeless.append(outcomes.failed(job, _why_hopeless(job)))
            elif handler.is_async:
                job.task = self._loop.create_task(self._run_async(job, handler))
            else:
                self._threads.submit(job)
        self._threads.kick()
        if hopeless:
            self._deliver(hopeless)

    def stop(self, job: Job, why: Stop) -> None:
        """Tell a job to stop: its context says so, and an async handler gets a CancelledError."""
        if job.stop is not None:
            return
        job.stop = why
        # A task that has not begun is left to find the mark: cancelling it would end it without an outcome.
        if job.task is not None and job.has_begun:
            job.task.cancel()

    def close(self) -> None:
        """Let the threads go; the tasks end with the loop."""
        self._threads.close()

    async def _run_async(self, job: Job, handler: Handler) -> None:
        job.has_begun = True
        if job.stop is None:
            try:
                result = await self._call(handler, job)
                outcome = outcomes.completed(job, result, self.result_bytes_max)
            except BaseException as error:
                outcome = self._fail(job, error)
        else:
            outcome = outcomes.released(job)
        self._deliver((outcome,))

    def _run_sync(self, job: Job) -> Outcome | None:
        """Run a sync handler, in a thread. Never raises."""
        if job.stop is not None:
            return outcomes.released(job)
        try:
            handler = self._handlers[job.raw["action"]]
            result = self._call(handler, job)
            outcome = outcomes.completed(job, result, self.result_bytes_max)
            if outcome.is_failure and inspect.isawaitable(result):
                # A sync function that returned a coroutine, such as `lambda payload: fetch(payload)`.
                self._loop.call_soon_threadsafe(self._go_on, job, result)
                return None
        except BaseException as error:
            return self._fail(job, error)
        return outcome

    def _call(self, handler: Handler, job: Job) -> Any:
        payload = job.raw.get("payload")
        return handler.call(payload, Context(job, self._logger)) if handler.takes_context else handler.call(payload)

    def _go_on(self, job: Job, awaitable: Awaitable[Any]) -> None:
        rest = Handler(job.raw["action"], lambda _: awaitable, is_async=True, takes_context=False)
        job.task = self._loop.create_task(self._run_async(job, rest))

    def _fail(self, job: Job, error: BaseException) -> Outcome:
        if isinstance(error, KeyboardInterrupt):
            self._on_interrupt()
        if job.stop is not None and isinstance(error, asyncio.CancelledError):
            return outcomes.released(job)
        return outcomes.failed(job, outcomes.failure_of(error))


def _why_hopeless(job: Job) -> Failure:
    payload = job.raw.get("payload")
    if isinstance(payload, codec.UnreadableInt):
        return Failure(
            outcomes.NOT_READABLE,
            f"the payload holds an integer of {payload.digits} digits; Python reads as many as "
            "sys.set_int_max_str_digits allows",
            is_retryable=False,
        )
    return Failure(outcomes.UNKNOWN_ACTION, f"this worker has no handler for the action {job.raw.get('action')!r}")
