"""One life of a worker that calls the orchestrator: its parts wired to one transport."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from workersdk.exchange import Exchanges
from workersdk.handlers import Handler
from workersdk.heartbeat import Heartbeats
from workersdk.jobs import Job
from workersdk.life import Life
from workersdk.link import Link
from workersdk.outcomes import Outcome
from workersdk.transport import Hello, Transport, TransportError, WorkerUnknown


class Session(Life):
    """Registers, exchanges results for jobs, beats, and leaves, by the five calls of a transport."""

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
        super().__init__(
            hello,
            handlers,
            drain_timeout=drain_timeout,
            leaves_on_interrupt=leaves_on_interrupt,
            logger=logger,
        )
        self._transport = transport
        self._link = Link(transport, hello, logger)
        self._exchanges = Exchanges(
            self._link, self._jobs, hello.concurrency, logger, self._asked_to_drain, self._failed, self._accepted
        )
        self._heartbeats = Heartbeats(self._link, self._jobs, self._exchanges, logger, self._asked_to_drain)
        self._exchanges.execution = self._execution
        self._link.on_recovery = self._recovered

    # ------------------------------------------------------------ what the parts say

    def _asked_to_drain(self) -> None:
        if not self._leaving.is_set():
            self._logger.info("the orchestrator asks this worker to finish and go")
            self._leaving.set()

    def _recovered(self) -> None:
        self._exchanges.resume()
        self._heartbeats.resume()

    def _accepted(self, jobs: Sequence[Job]) -> None:
        self._heartbeats.accepted(jobs)

    # ------------------------------------------------------------ the stages

    @property
    def _address(self) -> str:
        return self._transport.address

    @property
    def _unsent(self) -> int:
        return len(self._exchanges.outbox)

    async def _connect(self) -> None:
        await self._link.register()
        terms = self._link.terms
        self._execution.result_bytes_max = terms.result_bytes_max
        self._exchanges.outbox.request_bytes_max = terms.request_bytes_max

    async def _beat(self) -> None:
        await asyncio.gather(self._heartbeats.run(), self._heartbeats.guard())

    def _begin(self) -> None:
        self._exchanges.nudge()

    async def _stop_taking(self) -> None:
        self._exchanges.stop_taking()

    def _report(self, results: Sequence[Outcome]) -> None:
        self._exchanges.report(results)

    def _drop(self, job: Job) -> None:
        self._exchanges.drop(job)

    async def _prepare_flush(self) -> None:
        await self._exchanges.abort_waiting()

    async def _flush(self) -> None:
        await self._exchanges.wait_flushed()

    async def _say_goodbye(self, timeout: float) -> None:
        try:
            await self._transport.leave(timeout)
        except WorkerUnknown:
            self._logger.info("%s had forgotten worker %s", self._address, self._hello.worker_id)
        except TransportError as error:
            self._logger.warning("left %s without a word: %s", self._address, error)
        else:
            self._logger.info("worker %s has left %s", self._hello.worker_id, self._address)

    async def _end(self) -> None:
        await self._exchanges.close()
        await super()._end()

    async def _close(self) -> None:
        await self._transport.close()
