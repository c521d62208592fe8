"""Running handlers: async ones as tasks of the loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Final

from workersdk import outcomes
from workersdk.handlers import Context, Handler
from workersdk.jobs import Job, Stop
from workersdk.outcomes import Failure, Outcome

HELP_AFTER_S: Final = 0.001


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
        self._done: list[Outcome] = []  # of async handlers, in this turn of the loop
        self._threads = _HandlerThreads(concurrency, self._run_sync, deliver)

    def start(self, jobs: Sequence[Job]) -> None:
        """Start jobs."""
        unknown = []
        handlers, create_task, run_async = self._handlers, self._loop.create_task, self._run_async
        for job in jobs:
            action = job.raw.get("action", "")
            handler = handlers.get(action)
            if handler is None:
                why = Failure(outcomes.UNKNOWN_ACTION, f"this worker has no handler for the action {action!r}")
                unknown.append(outcomes.failed(job, why))
            elif handler.is_async:
                job.task = create_task(run_async(job, handler))
            else:
                self._threads.submit(job)
        self._threads.kick()
        if unknown:
            self._deliver(unknown)

    def stop_jobs(self, jobs: Sequence[Job], why: Stop) -> None:
        """Tell jobs to stop, each once, and say so in the log."""
        for job in jobs:
            if job.stop is None:
                level = logging.DEBUG if why is Stop.RELEASED else logging.INFO
                self._logger.log(level, "%s: stopping: %s", job, why.value)
                self.stop(job, why)

    def stop(self, job: Job, why: Stop) -> None:
        """Tell a job to stop: its context says so, and an async handler gets a CancelledError."""
        if job.stop is not None:
            return
        job.stop = why
        # A task that has not begun is left to find the mark: cancelling it would end it without an outcome.
        if job.task is not None and job.has_begun:
            job.task.cancel()

    def deliver_done(self) -> None:
        """Deliver what async handlers have done so far; it happens by itself at the end of each turn of the loop."""
        done, self._done = self._done, []
        if done:
            self._deliver(done)

    def close(self) -> None:
        """Let the threads go; the tasks end with the loop."""
        self._threads.close()

    async def _run_async(self, job: Job, handler: Handler) -> None:
        job.has_begun = True
        if job.stop is None:
            try:
                result = await self._call(handler, job)
                outcome = self._complete(job, result)
            except BaseException as error:
                outcome = self._fail(job, error)
        else:
            outcome = outcomes.released(job)
        if not self._done:
            self._loop.call_soon(self.deliver_done)
        self._done.append(outcome)

    def _run_sync(self, job: Job) -> Outcome | None:
        """Run a sync handler, in a thread. Never raises."""
        if job.stop is not None:
            return outcomes.released(job)
        try:
            handler = self._handlers[job.raw["action"]]
            result = self._call(handler, job)
            outcome = self._complete(job, result)
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

    def _complete(self, job: Job, result: Any) -> Outcome:
        if job.has_seen_stop:
            # Its handler was promised that the result will not be used. The lease may live on: another attempt does it.
            return outcomes.released(job)
        return outcomes.completed(job, result, self.result_bytes_max)

    def _fail(self, job: Job, error: BaseException) -> Outcome:
        if isinstance(error, KeyboardInterrupt):
            self._on_interrupt()
        if job.has_seen_stop or (job.stop is not None and isinstance(error, asyncio.CancelledError)):
            return outcomes.released(job)
        failure = outcomes.failure_of(error)
        self._logger.warning("%s failed: %s: %.500s", job, failure.type, failure.message)
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug("%s", failure.stack)
        return outcomes.failed(job, failure)


class _HandlerThreads:
    """Runs `work(job)` in threads and hands the outcomes to `deliver` on the event loop, many at once.

    `work` never raises; it returns None for a job that goes on elsewhere.

    There are few threads for short jobs, and as many as needed for those that block. A thread that is done with a job
    goes on with the next waiting one, so that a burst of short jobs costs one wake-up and not one for each. A job that
    still waits after a millisecond gets help: one more thread, then two more, then four. A handler that blocks
    therefore delays nobody for longer than that. Results come back the same way: threads lay them down, and the loop
    is woken once when nothing waits any more.
    """

    def __init__(
        self, limit: int, work: Callable[[Job], Outcome | None], deliver: Callable[[Sequence[Outcome]], None]
    ) -> None:
        self._limit = limit
        self._work = work
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._done: deque[Outcome] = deque()
        self._permits: SimpleQueue[bool] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0
        self._is_notified = False
        self._is_closed = False
        self._helpers = 1
        self._help: asyncio.TimerHandle | None = None

    def submit(self, job: Job) -> None:
        """Lay a job down. It starts with the next `kick`."""
        self._waiting.append(job)

    def kick(self) -> None:
        """Start what was laid down."""
        if not self._waiting:
            return
        self._wake(1)
        if self._help is None:
            self._helpers = 1
            self._help = self._loop.call_later(HELP_AFTER_S, self._bring_help)

    def close(self) -> None:
        """Let the threads go. Those still in a handler end with it, or with the process."""
        self._is_closed = True
        self._waiting.clear()
        if self._help is not None:
            self._help.cancel()
            self._help = None
        with self._lock:
            for _ in range(self._threads):
                self._permits.put(False)

    def _bring_help(self) -> None:
        self._help = None
        self._collect()
        if self._waiting:
            self._wake(min(self._helpers, len(self._waiting)))
            self._helpers *= 2
            self._help = self._loop.call_later(HELP_AFTER_S, self._bring_help)

    def _wake(self, count: int) -> None:
        with self._lock:
            woken = min(count, self._idle)
            self._idle -= woken
            started = min(count - woken, self._limit - self._threads)
            self._threads += started
            first = self._threads - started
        for _ in range(woken):
            self._permits.put(True)
        for number in range(first, first + started):
            threading.Thread(target=self._run, name=f"workersdk-{number + 1}", daemon=True).start()

    def _run(self) -> None:
        waiting, done, work = self._waiting, self._done, self._work
        while True:
            while True:
                try:
                    job = waiting.popleft()
                except IndexError:
                    break
                outcome = work(job)
                if outcome is not None:
                    done.append(outcome)
                if not waiting:
                    self._notify()
            with self._lock:
                self._idle += 1
            if not self._permits.get():
                return

    def _notify(self) -> None:
        if self._is_notified or self._is_closed:
            return
        self._is_notified = True
        try:
            self._loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            self._is_closed = True  # the loop is gone: the worker has left without this job

    def _collect(self) -> None:
        # The flag falls before the look: an outcome laid down after the look raises it again.
        self._is_notified = False
        outcomes = []
        while self._done:
            outcomes.append(self._done.popleft())
        if outcomes:
            self._deliver(outcomes)
