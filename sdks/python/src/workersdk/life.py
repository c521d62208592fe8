"""One life of a worker, whatever it speaks: connect, work, leave.

Rule 1: a worker that leaves takes no more jobs first, and says goodbye last.
Rule 2: jobs in hand get the drain time-out to finish; what is not finished by then is given back.
Rule 3: a result of an attempt that nobody wants any more is dropped; every other one is reported.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from workersdk import outcomes
from workersdk.execution import Execution
from workersdk.handlers import Handler
from workersdk.jobs import Job, JobsInHand, Stop
from workersdk.outcomes import Outcome
from workersdk.transport import Hello

FAREWELL_S: Final = 5.0
HURRIED_FAREWELL_S: Final = 1.0

# Attempts whose result nobody wants: the orchestrator said so, or has it from elsewhere.
_UNWANTED: Final = frozenset({Stop.CANCELLED, Stop.LEASE_LOST})


class Life(ABC):
    """Runs handlers from the first connection to the goodbye. What is said, and to whom, is a subclass's."""

    def __init__(
        self,
        hello: Hello,
        handlers: Mapping[str, Handler],
        *,
        drain_timeout: float,
        leaves_on_interrupt: bool,
        logger: logging.Logger,
    ) -> None:
        self._hello = hello
        self._drain_timeout = drain_timeout
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._is_connected = False
        self._failure: BaseException | None = None
        self._jobs = JobsInHand()
        # A program that runs the worker in its own loop gets its Ctrl-C wherever the loop is, also inside a handler.
        on_interrupt = self.leave if leaves_on_interrupt else lambda: None
        self._execution = Execution(handlers, hello.concurrency, logger, self._deliver, on_interrupt)

    def leave(self) -> None:
        """Finish what is in hand and go. Safe to call from any thread."""
        self._loop.call_soon_threadsafe(self._leaving.set)

    def leave_at_once(self) -> None:
        """Give back what is in hand and go. Safe to call from any thread."""
        self._loop.call_soon_threadsafe(self._hurrying.set)
        self.leave()

    async def run(self) -> None:
        """Work until told to leave. Raises `RegistrationError` when the orchestrator refuses the worker."""
        beating: asyncio.Task[None] | None = None
        try:
            if not await self._connect_unless_told_to_leave():
                return
            beating = self._loop.create_task(self._beat_or_fail())
            self._begin()
            await self._leaving.wait()
            await self._drain()
        except asyncio.CancelledError:
            self._hurrying.set()
            await asyncio.shield(self._loop.create_task(self._drain()))
            raise
        finally:
            if beating is not None:
                beating.cancel()
            await self._end()
        if self._failure is not None:
            raise self._failure

    # ------------------------------------------------------------ what a subclass says

    @property
    @abstractmethod
    def _address(self) -> str:
        """The other side, for log lines: without a password."""

    @property
    @abstractmethod
    def _unsent(self) -> int:
        """How many results are not acknowledged."""

    @abstractmethod
    async def _connect(self) -> None:
        """Connect, trying until it is done; cancelled to give up."""

    @abstractmethod
    async def _beat(self) -> None:
        """Give signs of life until cancelled."""

    @abstractmethod
    def _begin(self) -> None:
        """Take jobs from now on."""

    @abstractmethod
    async def _stop_taking(self) -> None:
        """Take no more jobs. Those that still come are given back."""

    @abstractmethod
    def _report(self, results: Sequence[Outcome]) -> None:
        """Take results that are ready to be sent, and their jobs out of hand."""

    @abstractmethod
    def _drop(self, job: Job) -> None:
        """Let a job go of which nobody wants the result."""

    @abstractmethod
    async def _flush(self) -> None:
        """Return when every result has been acknowledged."""

    @abstractmethod
    async def _say_goodbye(self, timeout: float) -> None:
        """Say that this worker leaves, and log how that went. Never fails."""

    @abstractmethod
    async def _close(self) -> None:
        """Close the connections. Never fails."""

    async def _prepare_flush(self) -> None:  # noqa: B027 - most have nothing to do here
        """End what would bring new jobs while the last results go out."""

    # ------------------------------------------------------------ what the parts say

    def _deliver(self, results: Sequence[Outcome]) -> None:
        wanted = []
        for outcome in results:
            job = outcome.job
            if not self._jobs.holds(job):
                continue  # given back in the meantime
            if job.stop is not None and job.stop in _UNWANTED:
                self._drop(job)
            else:
                wanted.append(outcome)
        if wanted:
            self._report(wanted)

    def _failed(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._hurrying.set()
        self._leaving.set()

    # ------------------------------------------------------------ the stages

    async def _connect_unless_told_to_leave(self) -> bool:
        """Connect; False when the worker was told to leave before it was done."""
        connecting = self._loop.create_task(self._connect())
        leaving = self._loop.create_task(self._leaving.wait())
        try:
            await asyncio.wait((connecting, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                return False
            connecting.result()
        finally:
            connecting.cancel()
            leaving.cancel()
        self._is_connected = True
        self._logger.info(
            "worker %s connected to %s, actions: %s, concurrency %d",
            self._hello.worker_id,
            self._address,
            ", ".join(self._hello.actions),
            self._hello.concurrency,
        )
        return True

    async def _beat_or_fail(self) -> None:
        try:
            await self._beat()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failed(error)

    async def _drain(self) -> None:
        """Let the jobs in hand finish, report them, give back the rest, and go."""
        if not self._is_connected:
            return
        await self._stop_taking()
        until = self._loop.time() + self._drain_timeout
        if self._jobs:
            self._logger.info("leaving: %d jobs in hand get up to %g s", len(self._jobs), self._drain_timeout)
            await self._wait(self._jobs.wait_empty(), self._drain_timeout, hurried=0)
        await self._give_back()
        await self._prepare_flush()
        farewell = max(FAREWELL_S, until - self._loop.time())
        await self._wait(self._flush(), farewell, hurried=HURRIED_FAREWELL_S)
        if self._unsent:
            self._logger.error("%d results could not be reported to %s", self._unsent, self._address)
        await self._say_goodbye(HURRIED_FAREWELL_S if self._hurrying.is_set() else FAREWELL_S)

    async def _give_back(self) -> None:
        self._execution.deliver_done()
        left = list(self._jobs)
        if not left:
            return
        names = ", ".join(str(job) for job in left[:10])
        self._logger.warning("giving back %d jobs that have not finished: %s", len(left), names)
        self._execution.stop_jobs(left, Stop.RELEASED)
        self._report([outcomes.released(job) for job in left if job.stop not in _UNWANTED])
        for job in left:
            self._jobs.remove(job)
        tasks = [job.task for job in left if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=HURRIED_FAREWELL_S)

    async def _end(self) -> None:
        self._execution.close()
        await self._close()

    async def _wait(self, end: Coroutine[Any, Any, object], timeout: float, *, hurried: float) -> None:
        """Wait for an end, `timeout` seconds at most, and no longer than `hurried` seconds once told to hurry."""
        ending = self._loop.create_task(end)
        hurrying = self._loop.create_task(self._hurrying.wait())
        await asyncio.wait((ending, hurrying), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done() and not ending.done():
            await asyncio.wait((ending,), timeout=hurried)
        ending.cancel()
        hurrying.cancel()
