"""One life of a worker: register, work, leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final

from workersdk import outcomes
from workersdk.exchange import Exchanges
from workersdk.execution import Execution
from workersdk.handlers import Handler
from workersdk.heartbeat import Heartbeats
from workersdk.jobs import Job, JobsInHand, Stop
from workersdk.link import Link
from workersdk.outcomes import Outcome
from workersdk.transport import Hello, Transport, TransportError, WorkerUnknown

FAREWELL_S: Final = 5.0
HURRIED_FAREWELL_S: Final = 1.0

# Attempts whose result nobody wants: the orchestrator said so, or has it from elsewhere.
_UNWANTED: Final = frozenset({Stop.CANCELLED, Stop.LEASE_LOST})


class Session:
    """Wires the parts of a worker to one transport and runs them until it is told to leave."""

    def __init__(
        self,
        transport: Transport,
        hello: Hello,
        handlers: Mapping[str, Handler],
        *,
        drain_timeout: float,
        leaves_on_interrupt: bool,
        logger: logging.Logger,
    ) -> None:
        self._transport = transport
        self._hello = hello
        self._drain_timeout = drain_timeout
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._leaving = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._failure: BaseException | None = None
        self._jobs = JobsInHand()
        self._link = Link(transport, hello, logger)
        self._exchanges = Exchanges(
            self._link, self._jobs, hello.concurrency, logger, self._asked_to_drain, self._failed, self._accepted
        )
        self._heartbeats = Heartbeats(self._link, self._jobs, self._exchanges, logger, self._asked_to_drain)
        # A program that runs the worker in its own loop gets its Ctrl-C wherever the loop is, also inside a handler.
        on_interrupt = self.leave if leaves_on_interrupt else lambda: None
        self._execution = Execution(handlers, hello.concurrency, logger, self._deliver, on_interrupt)
        self._exchanges.execution = self._execution
        self._link.on_recovery = self._recovered

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
            if not await self._register():
                return
            beating = self._loop.create_task(self._beat())
            self._exchanges.nudge()
            await self._leaving.wait()
            await self._drain()
        except asyncio.CancelledError:
            self._hurrying.set()
            await asyncio.shield(self._loop.create_task(self._drain()))
            raise
        finally:
            if beating is not None:
                beating.cancel()
            await self._exchanges.close()
            self._execution.close()
            await self._transport.close()
        if self._failure is not None:
            raise self._failure

    # ------------------------------------------------------------ what the parts say

    def _deliver(self, results: Sequence[Outcome]) -> None:
        wanted = []
        for outcome in results:
            job = outcome.job
            if not self._jobs.holds(job):
                continue  # given back in the meantime
            if job.stop in _UNWANTED:
                self._exchanges.drop(job)
            else:
                wanted.append(outcome)
        if wanted:
            self._exchanges.report(wanted)

    def _asked_to_drain(self) -> None:
        if not self._leaving.is_set():
            self._logger.info("the orchestrator asks this worker to finish and go")
            self._leaving.set()

    def _failed(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._hurrying.set()
        self._leaving.set()

    def _recovered(self) -> None:
        self._exchanges.resume()
        self._heartbeats.resume()

    def _accepted(self, jobs: Sequence[Job]) -> None:
        self._heartbeats.accepted(jobs)

    # ------------------------------------------------------------ the stages

    async def _register(self) -> bool:
        """Register; False when the worker was told to leave before it was done."""
        registering = self._loop.create_task(self._link.register())
        leaving = self._loop.create_task(self._leaving.wait())
        try:
            await asyncio.wait((registering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not registering.done():
                return False
            registering.result()
        finally:
            registering.cancel()
            leaving.cancel()
        terms = self._link.terms
        self._execution.result_bytes_max = terms.result_bytes_max
        self._exchanges.outbox.request_bytes_max = terms.request_bytes_max
        self._logger.info(
            "worker %s connected to %s, actions: %s, concurrency %d",
            self._hello.worker_id,
            self._transport.address,
            ", ".join(self._hello.actions),
            self._hello.concurrency,
        )
        return True

    async def _beat(self) -> None:
        try:
            await asyncio.gather(self._heartbeats.run(), self._heartbeats.guard())
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failed(error)

    async def _drain(self) -> None:
        """Let the jobs in hand finish, report them, give back the rest, and go."""
        if not self._link.registrations:
            return
        self._exchanges.stop_taking()
        until = self._loop.time() + self._drain_timeout
        if self._jobs:
            self._logger.info("leaving: %d jobs in hand get up to %g s", len(self._jobs), self._drain_timeout)
            await self._wait(self._jobs.wait_empty(), self._drain_timeout, hurried=0)
        await self._give_back()
        await self._exchanges.abort_waiting()
        farewell = max(FAREWELL_S, until - self._loop.time())
        await self._wait(self._exchanges.wait_flushed(), farewell, hurried=HURRIED_FAREWELL_S)
        unsent = len(self._exchanges.outbox)
        if unsent:
            self._logger.error("%d results could not be reported to %s", unsent, self._transport.address)
        try:
            await self._transport.leave(HURRIED_FAREWELL_S if self._hurrying.is_set() else FAREWELL_S)
        except WorkerUnknown:
            self._logger.info("%s had forgotten worker %s", self._transport.address, self._hello.worker_id)
        except TransportError as error:
            self._logger.warning("left %s without a word: %s", self._transport.address, error)
        else:
            self._logger.info("worker %s has left %s", self._hello.worker_id, self._transport.address)

    async def _give_back(self) -> None:
        left = list(self._jobs)
        if not left:
            return
        names = ", ".join(str(job) for job in left[:10])
        self._logger.warning("giving back %d jobs that have not finished: %s", len(left), names)
        self._exchanges.stop_jobs(left, Stop.RELEASED)
        self._exchanges.report([outcomes.released(job) for job in left if job.stop not in _UNWANTED])
        for job in left:
            self._jobs.remove(job)
        tasks = [job.task for job in left if job.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=HURRIED_FAREWELL_S)

    async def _wait(self, end: Coroutine[Any, Any, None], timeout: float, *, hurried: float) -> None:
        """Wait for an end, `timeout` seconds at most, and no longer than `hurried` seconds once told to hurry."""
        ending = self._loop.create_task(end)
        hurrying = self._loop.create_task(self._hurrying.wait())
        await asyncio.wait((ending, hurrying), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if hurrying.done() and not ending.done():
            await asyncio.wait((ending,), timeout=hurried)
        ending.cancel()
        hurrying.cancel()
