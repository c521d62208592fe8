"""Threads for sync handlers: few for short ones, as many as needed for those that block.

A thread that has begun goes on with the next waiting job when it is done with one, so that a burst of short jobs costs
one wake-up and not one for each. A job that still waits after a millisecond gets help: one more thread, then two more,
then four. A handler that blocks therefore delays nobody for longer than that.

Results come back the same way: threads lay them down, and the loop is woken once when nothing waits any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

from workersdk.jobs import Job
from workersdk.outcomes import Outcome

HELP_AFTER_S: Final = 0.001


class HandlerThreads:
    """Runs `work(job)` in threads and hands the outcomes to `deliver` on the event loop, many at once.

    `work` never raises; it returns None for a job that goes on elsewhere.
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
