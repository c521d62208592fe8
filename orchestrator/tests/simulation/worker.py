"""A worker as docs/worker-protocol.md describes it, and the ways in which it comes to grief."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from msgspec import Raw

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.waits import Caller
from orchestrator.model.errors import OrchestratorError, WorkerNotFound
from orchestrator.model.wire import AttemptRef, HeartbeatBody, JobInFlight, JobOut, RegisterBody
from tests.simulation import handlers, watch
from tests.simulation.journal import Execution
from tests.simulation.options import POISON_ACTION, Fault
from tests.simulation.process import Request
from tests.simulation.world import ConnectionLost, World, ask

_T = TypeVar("_T")

SCRIPT: Final = "script"
"""How a worker that sends no heartbeats is called."""
Held = tuple[str, int]
"""Job id and attempt."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a worker is built."""

    actions: tuple[str, ...]
    concurrency: int
    lease: float
    wait: float
    combined: bool
    """Whether it has one job at a time, and asks for the next in the call that reports the last."""
    heartbeats: bool
    """Whether it sends any; a script asks for a long lease in their place."""


class SimulatedWorker:
    """One worker process."""

    def __init__(self, world: World, worker_id: str, style: Style) -> None:
        self.worker_id = worker_id
        self.style = style
        self.alive = True
        self.in_hand: dict[Held, asyncio.Task[None]] = {}
        self.outbox: dict[Held, Raw] = {}
        """Results that nobody has acknowledged."""
        self._world = world
        self._connection = Caller()
        self._jobs: dict[Held, JobOut] = {}
        self._registered = False
        self._leaving = False
        self._muted_until = 0.0
        self._finished = asyncio.Event()
        self._thawed = asyncio.Event()
        self._thawed.set()
        loops = [self._exchanges()]
        if style.heartbeats:
            loops.append(self._heartbeats())
        if not style.combined:
            loops.append(self._reports())
        self._tasks = [world.launch(loop, f"{worker_id} loop {number}") for number, loop in enumerate(loops)]

    # --- what befalls it -----------------------------------------------------------------------------------------

    def die(self) -> None:
        """Stop at once, with everything in hand."""
        self.alive = False
        if self.in_hand:
            self._world.journal.met("worker died with jobs in hand")
        # The machine closes what a process leaves open.
        self._connection.leave()
        self._world.journal.deaths[self.worker_id] = self._world.journal.second()
        for task in [*self._tasks, *self.in_hand.values()]:
            task.cancel()
        self.in_hand.clear()
        self.outbox.clear()

    def freeze(self, seconds: float) -> None:
        """Stop for a while, as a suspended process does, and go on as if nothing had been."""
        self._thawed.clear()
        if self.in_hand and seconds > self.style.lease:
            self._world.journal.met("worker came back as a zombie")
        asyncio.get_running_loop().call_later(seconds, self._thawed.set)

    def mute(self, seconds: float) -> None:
        """Send no heartbeats for a while."""
        self._muted_until = self._world.journal.second() + seconds
        if self.in_hand:
            self._world.journal.met("worker with jobs sent no heartbeats")

    def leave(self) -> None:
        """Go, with jobs in hand or without."""
        self._leaving = True
        self._finished.set()

    # --- its loops -----------------------------------------------------------------------------------------------

    async def _exchanges(self) -> None:
        while not self._leaving:
            try:
                if not self._registered:
                    await self._register()
                elif self.style.combined and self.in_hand and not self.outbox:
                    await self._look_around()
                else:
                    results = dict(self.outbox) if self.style.combined else {}
                    await self._exchange(results, self._room(), self.style.wait)
                    await asyncio.sleep(0.0 if self.style.wait else 0.05)
            except (ConnectionLost, OrchestratorError) as error:
                await self._after(error)
        await self._go()

    def _room(self) -> int:
        return max(0, self.style.concurrency - len(self.in_hand))

    async def _look_around(self) -> None:
        """With a job in hand, wait for its end, and ask for news now and then."""
        self._finished.clear()
        try:
            async with asyncio.timeout(1):
                await self._finished.wait()
        except TimeoutError:
            await self._exchange({}, 0, 0)

    async def _reports(self) -> None:
        while True:
            await self._finished.wait()
            self._finished.clear()
            while self.outbox:
                try:
                    if self._registered:
                        room = self._world.draw.choice((0, self._room()))
                        await self._exchange(dict(self.outbox), room, 0)
                    else:
                        await asyncio.sleep(0.05)
                except (ConnectionLost, OrchestratorError) as error:
                    await self._after(error)

    async def _after(self, error: Exception) -> None:
        if isinstance(error, WorkerNotFound):
            self._world.journal.met("worker was not known")
            self._registered = False
        elif isinstance(error, OrchestratorError) and error.http_status != 503:
            raise error
        else:
            await asyncio.sleep(self._world.draw.uniform(0.05, 0.5))

    async def _heartbeats(self) -> None:
        beaten = 0.0
        while True:
            # A job that was taken meanwhile may ask for more frequent beats.
            await asyncio.sleep(min(0.1, self._pause()))
            await self._thawed.wait()
            if self._world.journal.second() - beaten < self._pause():
                continue
            beaten = self._world.journal.second()
            if not self.in_hand or not self._registered or self._world.journal.second() < self._muted_until:
                continue
            body = HeartbeatBody(
                in_flight=[
                    JobInFlight(job_id=job_id, attempt=attempt, details=self._details())
                    for job_id, attempt in self.in_hand
                ]
            )
            try:
                answer = await self._call("beats", watch.heartbeat(self._world, self.worker_id, body))
            except WorkerNotFound:
                self._registered = False
            except ConnectionLost:
                continue
            else:
                self._stop([*answer.cancelled, *answer.unknown])

    def _pause(self) -> float:
        limits = [job.heartbeat_timeout for job in self._jobs.values() if job.heartbeat_timeout]
        return min([self.style.lease, *limits]) / 3

    def _details(self) -> Raw:
        draw = self._world.draw.random()
        return Raw(b'{"done":%d}' % (draw * 100) if draw < 0.3 else b"")

    # --- its calls -----------------------------------------------------------------------------------------------

    async def _call(self, name: str, request: Request[_T]) -> _T:
        await self._thawed.wait()
        try:
            answer = await self._world.call(f"{self.worker_id} {name}", request, self._connection)
        except ConnectionLost:
            if self._world.draw.random() < 0.7:
                # Otherwise the connection stays half open, and the server never learns of it.
                self._connection.leave()
            self._connection = Caller()
            raise
        await self._thawed.wait()
        return answer

    async def _register(self) -> None:
        body = RegisterBody(worker_id=self.worker_id, actions=list(self.style.actions), lease=self.style.lease)

        async def request(orchestrator: Orchestrator, caller: Caller) -> None:
            orchestrator.gateway.register(body, "unnamed")

        await self._call("registers", request)
        self._registered = True

    async def _exchange(self, results: dict[Held, Raw], capacity: int, wait: float) -> None:
        raw = msgspec.json.encode({"results": list(results.values()), "capacity": capacity, "wait": wait})
        answer = await self._call("exchanges", watch.exchange(self._world, self.worker_id, raw))
        for held in results:
            self.outbox.pop(held, None)
        if results or answer.jobs or answer.cancelled:
            self._world.journal.note(
                f"{self.worker_id}: {list(results)} -> {[(job.job_id, job.attempt) for job in answer.jobs]}, "
                f"stop {answer.cancelled}, rejected {[one.code for one in answer.rejected]}"
            )
        self._stop(answer.cancelled)
        for job in answer.jobs:
            self._take(job)

    async def _go(self) -> None:
        """Give some jobs back by name, and leave; the others go back by themselves."""
        journal = self._world.journal
        journal.met("worker left with jobs in hand" if self.in_hand else "worker left with empty hands")
        for held, task in list(self.in_hand.items()):
            task.cancel()
            if self._world.draw.random() < 0.5:
                self.outbox[held] = handlers.released(held)
        self.in_hand.clear()
        try:
            if self.outbox:
                await self._exchange(dict(self.outbox), 0, 0)
            await self._call("leaves", ask(lambda orchestrator: orchestrator.gateway.leave(self.worker_id)))
        except (ConnectionLost, OrchestratorError) as error:
            journal.note(f"{self.worker_id} went without a word: {error!r}")
        self.alive = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()

    # --- its work ------------------------------------------------------------------------------------------------

    def _take(self, job: JobOut) -> None:
        held = (job.job_id, job.attempt)
        if held in self.in_hand or held in self.outbox:
            return
        for other in [other for other in self.in_hand if other[0] == job.job_id]:
            self._drop(other)
        self._jobs[held] = job
        self.in_hand[held] = self._world.launch(self._work(job), f"{self.worker_id} {held}")

    def _stop(self, attempts: list[AttemptRef]) -> None:
        for ref in attempts:
            if (held := (ref.job_id, ref.attempt)) in self.in_hand:
                self._drop(held)

    def _drop(self, held: Held) -> None:
        if self._world.strikes(Fault.WORKER_DISOBEYS):
            return
        self.in_hand.pop(held).cancel()
        self._jobs.pop(held, None)

    async def _work(self, job: JobOut) -> None:
        world, held = self._world, (job.job_id, job.attempt)
        execution = Execution(world.journal.second(), self.worker_id, bytes(job.payload))
        world.journal.executions[watch.key_of(*held)].append(execution)
        plan = handlers.plan(world, job)
        await asyncio.sleep(plan.seconds)
        await self._thawed.wait()
        if job.action == POISON_ACTION:
            world.journal.met("poison killed its worker")
            self.die()
            return
        execution.result = plan.result
        self.outbox[held] = plan.report
        self.in_hand.pop(held, None)
        self._jobs.pop(held, None)
        self._finished.set()
