"""One life of a worker over Kafka: its consumers, its producer, and what goes between them and the handlers.

Rule 1: a place is given back when the result is written, not when it has arrived; but results that do not arrive hold
        places once there are too many of them, so that an outage does not fill the memory.
Rule 2: results of one turn of the event loop go out together. After many of them those of the next few milliseconds do:
        a request costs more than what is in it. Their places are free meanwhile.
Rule 3: a job that runs alone may end this process: it starts when no result is left in it that could be lost with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from workersdk import outcomes
from workersdk.errors import SettingError
from workersdk.handlers import Handler
from workersdk.jobs import Job, Stop
from workersdk.kafka import records
from workersdk.kafka.config import LEASE_S_DEFAULT, KafkaConfig
from workersdk.kafka.consumer import ActionConsumer
from workersdk.kafka.control import Control
from workersdk.kafka.heartbeat import PRESENCE_S, Heartbeats
from workersdk.kafka.predecessors import Predecessors, note_gone, note_here
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.reader import Reader
from workersdk.kafka.records import BeatWriter, KafkaJob
from workersdk.kafka.sender import Sender, Sending
from workersdk.kafka.slots import Slots
from workersdk.kafka.undecodable import Undecodable
from workersdk.life import Life
from workersdk.outcomes import Failure, Outcome
from workersdk.transport import Hello

UNSENT_MAX: Final = 10_000
UNSENT_BYTES_MAX: Final = 64 * 1024 * 1024
CANCELLED_MAX: Final = 10_000
LOST_IS_TOLD_AFTER_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.5
LEAVE_GROUPS_S: Final = 3.0
MANY: Final = 8
REST_S: Final = 0.002


class KafkaSession(Life):
    """Takes jobs from a topic, one consumer group for each action, and writes results to another."""

    def __init__(
        self,
        config: KafkaConfig,
        hello: Hello,
        handlers: Mapping[str, Handler],
        *,
        group: str | None,
        drain_timeout: float,
        leaves_on_interrupt: bool,
        logger: logging.Logger,
    ) -> None:
        super().__init__(
            hello, handlers, drain_timeout=drain_timeout, leaves_on_interrupt=leaves_on_interrupt, logger=logger
        )
        self._config = config
        self._lease = hello.lease or LEASE_S_DEFAULT
        self._group = group
        self._slots = Slots(hello.concurrency)
        self._undecodable = Undecodable(logger)
        self._cancelled: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._ready: list[Outcome] = []  # results of this turn of the loop
        self._free = 0  # places of this turn of the loop
        self._freeing: asyncio.Handle | None = None
        self._flushing: asyncio.Handle | None = None
        self._rests_until = 0.0  # when results are sent again
        self._held = 0  # places that are held back until results have arrived
        self._down_since: float | None = None
        self._is_told = False
        self._telling: asyncio.TimerHandle | None = None
        self._starting: asyncio.Task[None] | None = None  # of a job that runs alone
        self._reader: Reader | None = None
        self._consumers: list[ActionConsumer] = []
        self._open()

    def _open(self) -> None:
        """Make the clients; none of them connects by waiting. Raises `SettingError`."""
        config, hello = self._config, self._hello
        try:
            self._control = Control(
                config, hello.worker_id, hello.actions, self._logger, self._threadsafe(self._cancel)
            )
            quiet = Quiet(self._logger, self._down)
            self._sender = Sender(
                config.producer(hello.worker_id, quiet),
                config.producer_of_many(hello.worker_id, quiet),
                self._logger,
                self._let_go_of_places,
            )
        except (KafkaException, TypeError, ValueError) as error:
            raise SettingError(f"Kafka does not take these settings: {_reason(error)}") from None
        self._heartbeats = Heartbeats(
            BeatWriter(hello, self._group, self._lease, PRESENCE_S),
            config.topics.heartbeats,
            hello.worker_id.encode(),
            self._lease,
            self._sender,
            self._jobs,
            self._sender.jobs,
            self._capacity,
            self._execution,
            self._up,
        )

    # ------------------------------------------------------------ the stages

    @property
    def _address(self) -> str:
        return self._config.address

    @property
    def _unsent(self) -> int:
        return self._sender.results_count

    async def _connect(self) -> None:
        is_told = False
        while (missing := await asyncio.to_thread(self._control.look)) is not None:
            if not is_told:
                self._logger.warning("cannot reach %s (%s); retrying", self._address, missing)
                is_told = True
            await asyncio.sleep(LOOK_AGAIN_S)
        self._sender.share(self._control.result_partitions)
        await self._wait_for_the_dead()

    async def _wait_for_the_dead(self) -> None:
        """Let the others of the groups go on until it is known there that a worker which was here has died."""
        predecessors = Predecessors(self._config, self._hello.worker_id, self._hello.actions, self._logger)
        until = self._loop.time() + predecessors.patience
        is_told = False
        while (dead := await asyncio.to_thread(predecessors.find)) and self._loop.time() < until:
            if not is_told:
                names = ", ".join(sorted(dead))
                self._logger.info("waiting until the groups have noticed that %s is dead", names)
                is_told = True
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _beat(self) -> None:
        await self._heartbeats.run()

    def _begin(self) -> None:
        note_here(self._hello.worker_id)
        self._control.start()
        reader = self._reader = Reader(
            self._config,
            self._hello.worker_id,
            self._lease,
            self._undecodable,
            self._logger,
            self._threadsafe(self._accept),
            self._threadsafe(self._failed),
        )
        reader.start()
        self._consumers = [
            ActionConsumer(
                action,
                self._config,
                self._hello.worker_id,
                reader,
                self._slots,
                self._logger,
                hand_over=self._threadsafe(self._accept),
                on_failure=self._threadsafe(self._failed),
            )
            for action in self._hello.actions
        ]
        for consumer in self._consumers:
            consumer.start()

    async def _stop_taking(self) -> None:
        for consumer in self._consumers:
            consumer.stop()
        await asyncio.sleep(0)  # what was handed over before that is on its way through the loop: it comes into hand

    async def _flush(self) -> None:
        self._send_ready()
        while self._sender.results_count:
            await self._sender.wait_sent()

    async def _say_goodbye(self, timeout: float) -> None:
        if self._undecodable.count:
            self._logger.warning("%d records on %s were no jobs", self._undecodable.count, self._config.topics.jobs)
        self._heartbeats.say_goodbye()
        try:
            await asyncio.wait_for(self._sender.wait_sent(), timeout)
        except (asyncio.TimeoutError, TimeoutError):
            self._logger.warning("left %s without a word: not acknowledged within %g s", self._address, timeout)
        else:
            self._logger.info("worker %s has left %s", self._hello.worker_id, self._address)

    async def _close(self) -> None:
        self._control.stop()
        for consumer in self._consumers:
            consumer.stop()
        if self._reader is not None:
            self._reader.stop()
        for handle in (self._freeing, self._flushing, self._starting):
            if handle is not None:
                handle.cancel()
        if self._telling is not None:
            self._telling.cancel()
        self._sender.close()
        until = self._loop.time() + LEAVE_GROUPS_S
        for consumer in self._consumers:
            await asyncio.to_thread(consumer.join, max(0.0, until - self._loop.time()))
        if self._reader is not None:
            await asyncio.to_thread(self._reader.join, max(0.0, until - self._loop.time()))
        note_gone(self._hello.worker_id)

    # ------------------------------------------------------------ from the threads

    def _threadsafe(self, call: Callable[..., None]) -> Callable[..., None]:
        """Return what threads may call: it happens on the loop, in the order of the calls, as long as there is one."""

        def hand_to_loop(*values: Any) -> None:
            try:
                self._loop.call_soon_threadsafe(call, *values)
            except RuntimeError:
                self._logger.debug("the worker has left: %s is not done", call)

        return hand_to_loop

    def _accept(self, jobs: Sequence[KafkaJob]) -> None:
        moment, start = self._loop.time(), records.start_of(self._hello.worker_id, records.now())
        accepted: list[KafkaJob] = []
        cancelled, take = self._cancelled, self._jobs.add
        for job in jobs:
            job.seen_at = moment
            job.start = start
            if (cancelled and (job.id, job.attempt) in cancelled) or not take(job):
                self._give_places((job,))
            else:
                accepted.append(job)
        if accepted:
            self._heartbeats.accepted()
            if accepted[0].is_alone:
                self._starting = self._loop.create_task(self._start_alone(accepted))
            else:
                self._execution.start(accepted)

    async def _start_alone(self, jobs: Sequence[KafkaJob]) -> None:
        await self._flush()
        self._execution.start(jobs)

    def _capacity(self) -> int:
        """Return how many more jobs could start now: none while others wait for a place, or the worker leaves."""
        if self._leaving.is_set():
            return 0
        waiting = 0 if self._reader is None else self._reader.waiting
        return max(0, self._slots.free - waiting)

    def _cancel(self, words: Sequence[dict[str, Any]]) -> None:
        for word in words:
            self._cancelled[word["jobId"], word["attempt"]] = None
        while len(self._cancelled) > CANCELLED_MAX:
            self._cancelled.popitem(last=False)
        self._execution.stop_jobs(self._jobs.find_all(words), Stop.CANCELLED)

    # ------------------------------------------------------------ results

    def _report(self, results: Sequence[Outcome]) -> None:
        jobs = [outcome.job for outcome in results]
        self._ready.extend(results)
        self._jobs.remove_all(jobs)
        self._give_places(jobs)

    def _drop(self, job: Job) -> None:
        self._jobs.remove(job)
        self._give_places((job,))

    def _give_places(self, jobs: Sequence[Job]) -> None:
        self._free += len(jobs)
        if len(jobs) == 1 and isinstance(jobs[0], KafkaJob) and jobs[0].is_alone:
            self._free -= 1
            self._slots.give_back_all()
        if self._freeing is None:
            self._freeing = self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Send the results of this turn of the loop, unless sending rests; then give back the places."""
        self._freeing = None
        if self._flushing is None and self._ready:
            rest = self._rests_until - self._loop.time()
            if rest > 0:
                self._flushing = self._loop.call_later(rest, self._send_ready)
            else:
                self._send_ready()
        self._held += self._free
        self._free = 0
        self._let_go_of_places()

    def _send_ready(self) -> None:
        self._flushing = None
        ready, self._ready = self._ready, []
        if len(ready) >= MANY:
            self._rests_until = self._loop.time() + REST_S
        if ready:
            self._send(ready)

    def _send(self, results: Sequence[Outcome]) -> None:
        topic, given_up = self._config.topics.results, self._given_up
        sendings: list[Sending] = []
        for outcome in results:
            job = outcome.job
            assert isinstance(job, KafkaJob)
            sendings.append(Sending(topic, job.key, outcome.body, given_up, job))
        self._sender.send_results(sendings)

    def _given_up(self, sending: Sending, error: KafkaError | None) -> None:
        """The broker will not have this result: say so in its place, so that the attempt does not hang."""
        job = sending.job
        assert job is not None
        assert error is not None
        if len(sending.value) <= outcomes.STACK_BYTES_MAX:
            self._logger.error("%s: its result of %d bytes was not taken: %s", job, len(sending.value), error.str())
            return
        message = f"the result of {len(sending.value)} bytes was not taken by the broker: {error.str()}"
        self._logger.warning("%s: %s", job, message)
        self._send([outcomes.failed(job, Failure(outcomes.TOO_LARGE, message, is_retryable=False))])

    def _let_go_of_places(self) -> None:
        sender = self._sender
        if self._held and sender.results_count < UNSENT_MAX and sender.results_bytes < UNSENT_BYTES_MAX:
            free, self._held = self._held, 0
            self._slots.give_back(free)

    # ------------------------------------------------------------ outages

    def _down(self, reason: str) -> None:
        """All brokers are out of reach. It is told when it lasts; the next heartbeat shows when it is over."""
        if self._is_connected and self._down_since is None:
            self._down_since = self._loop.time()
            self._telling = self._loop.call_later(LOST_IS_TOLD_AFTER_S, self._tell_lost, reason)
            self._heartbeats.beat()

    def _tell_lost(self, reason: str) -> None:
        self._is_told = True
        self._logger.warning("lost %s (%s); retrying", self._address, reason)

    def _up(self) -> None:
        if self._down_since is None:
            return
        if self._telling is not None:
            self._telling.cancel()
        if self._is_told:
            seconds = self._loop.time() - self._down_since
            self._logger.info("connected again to %s after %.1f s", self._address, seconds)
        self._down_since = None
        self._is_told = False


def _reason(error: BaseException) -> str:
    first = error.args[0] if error.args else error
    return str(first.str() if isinstance(first, KafkaError) else first)
