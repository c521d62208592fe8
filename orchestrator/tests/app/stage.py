"""An orchestrator whose clock, crashes and workers are in the hands of a test; its timers look when told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.embedded.roster import MemoryRoster
from orchestrator.adapters.sqlite.database import Database
from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.adapters.system import uuid7
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.pipeline import Point
from orchestrator.app.plans import Plans
from orchestrator.app.waits import Caller
from orchestrator.model.event import Event
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Time
from orchestrator.model.view import RunView
from orchestrator.model.wire import (
    ExchangeAnswer,
    HeartbeatAnswer,
    HeartbeatBody,
    JobInFlight,
    JobOut,
    RegisterBody,
)
from orchestrator.ports.store import Store

_T = TypeVar("_T")

NOW: Final = Time(1_800_000_000 * MICROS)
LIMITS: Final = Limits()


class ProcessDied(BaseException):
    """The machine stopped."""


class StageClock:
    """See `ports.clock.Clock`: virtual seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        """Seconds by which the time of day was set."""

    def now(self) -> Time:
        return Time(NOW + self.monotonic() + round(self.ahead * MICROS))

    def monotonic(self) -> int:
        return round(asyncio.get_running_loop().time() * MICROS)


class StageChance:
    """See `ports.clock.Chance`: the same every time."""

    def __init__(self) -> None:
        self._random = random.Random(1)

    def run_id(self, now: Time) -> RunId:
        return uuid7(now, self._random.getrandbits(74))

    def draw(self) -> float:
        return self._random.random()


class Stage:
    """The database lives as long as the stage; the orchestrator until it dies."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self.database = database
        self.limits = limits
        self.clock = StageClock()
        self.dies_at: Point | None = None
        """The failpoint at which the orchestrator dies when it gets there next."""
        self.reached: list[Point] = []
        self.before_commit: Callable[[], None] = lambda: None
        """Called while a transaction is open, everything written: what it raises comes from the store."""
        self._chance = StageChance()
        self._tasks: list[asyncio.Task[None]] = []
        self._build()

    def _build(self) -> None:
        plans = Plans()
        self.roster = MemoryRoster(self.clock)
        self.queue = EmbeddedQueue(self.limits.ready_jobs_max, self.limits.ready_bytes_max)
        self.store: Store = SqliteStore(self.database, plans.fold, self.limits.open_runs_cached_max)
        self.orchestrator = Orchestrator(
            store=self.store,
            queries=SqliteQueries(self.database),
            queue=self.queue,
            clock=self.clock,
            chance=self._chance,
            limits=self.limits,
            plans=plans,
            roster=self.roster,
            reach=self._reach,
        )
        self.gateway = self.orchestrator.gateway
        self.timers = self.orchestrator.timers

    def _reach(self, point: Point) -> None:
        self.reached.append(point)
        if point == "batch.written":
            self.before_commit()
        if point == self.dies_at:
            self.dies_at = None
            raise ProcessDied

    async def open(self) -> None:
        """Recover, and process requests from now on."""
        self._tasks.append(asyncio.create_task(self.orchestrator.pipeline.run()))
        await self.timers.recover()

    async def die(self) -> None:
        """Lose everything that is in memory, and whatever was under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.exception()
        self._tasks.clear()

    async def restart(self) -> None:
        """Die, and begin again over the same database."""
        await self.die()
        self._build()
        await self.open()

    async def restart_after(self, call: Coroutine[Any, Any, object], point: Point) -> None:
        """Make a call that the orchestrator does not survive, and start it again."""
        self.dies_at = point
        answer = asyncio.create_task(call)
        await asyncio.wait([answer, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()
        await asyncio.wait([answer])
        if not answer.cancelled():
            # Nobody is there to hear it.
            answer.exception()
        assert self.dies_at is None, f"{point} was not reached"
        await self.restart()

    # --- time --------------------------------------------------------------------------------------------------------

    async def wait(self, seconds: float) -> None:
        """Let time pass, while the timers look every tenth of a second."""
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(0.1, left))
            await self.timers.run_once()

    # --- clients -----------------------------------------------------------------------------------------------------

    async def define(self, *actions: str, workflow_id: str = "flow", **more: Any) -> None:
        """Define a workflow of these actions."""
        steps = [{"action": action} for action in actions]
        await self.orchestrator.define(msgspec.json.encode({"id": workflow_id, "steps": steps, **more}))

    async def trigger(self, payload: bytes = b"null", key: str | None = None, workflow_id: str = "flow") -> RunId:
        """Start a run."""
        return (await self.orchestrator.trigger(workflow_id, b'{"input":%s}' % payload, key)).run_id

    async def view(self, run_id: RunId) -> RunView:
        """Read a run."""
        return await self.orchestrator.run(run_id)

    async def events(self, run_id: RunId) -> list[Event]:
        """Read a run's history."""
        return (await SqliteQueries(self.database).history(run_id)).events

    async def kinds(self, run_id: RunId) -> list[str]:
        """Read what kinds of events a run's history has."""
        return [type(event).__name__ for event in await self.events(run_id)]

    async def runs(self) -> list[str]:
        """List the ids of all runs."""
        found = self.database.reader.execute("SELECT run_id FROM runs ORDER BY seq")
        return [run_id for (run_id,) in found]

    def keys(self) -> list[str]:
        """List the keys that are remembered."""
        return [key for (key,) in self.database.reader.execute("SELECT key FROM idempotency ORDER BY key")]

    # --- workers -----------------------------------------------------------------------------------------------------

    def register(self, worker_id: str, *actions: str, lease: float | None = None) -> None:
        """Register a worker."""
        self.gateway.register(RegisterBody(worker_id=worker_id, actions=list(actions), lease=lease), "unnamed")

    async def exchange(
        self,
        worker_id: str,
        *results: dict[str, Any],
        capacity: int = 0,
        wait: float = 0,
        caller: Caller | None = None,
    ) -> ExchangeAnswer:
        """Report results and ask for jobs."""
        raw = msgspec.json.encode({"results": results, "capacity": capacity, "wait": wait})
        return await self.gateway.exchange(worker_id, raw, caller)

    async def take(self, worker_id: str, capacity: int = 1) -> list[JobOut]:
        """Ask for jobs."""
        return (await self.exchange(worker_id, capacity=capacity)).jobs

    async def take_one(self, worker_id: str) -> JobOut:
        """Ask for a job that has to be there."""
        (job,) = await self.take(worker_id)
        return job

    def beat(self, worker_id: str, *jobs: JobOut, details: bytes = b"") -> HeartbeatAnswer:
        """Send a heartbeat."""
        in_flight = [JobInFlight(job_id=job.job_id, attempt=job.attempt, details=msgspec.Raw(details)) for job in jobs]
        return self.gateway.heartbeat(worker_id, HeartbeatBody(in_flight=in_flight))


def done(job: JobOut, result: Any = None) -> dict[str, Any]:
    """Report a success."""
    return {"jobId": job.job_id, "attempt": job.attempt, "result": result}


def failed(job: JobOut, **error: Any) -> dict[str, Any]:
    """Report an error."""
    return {"jobId": job.job_id, "attempt": job.attempt, "status": "failed", "error": {"type": "Broke", **error}}


def released(job: JobOut) -> dict[str, Any]:
    """Give a job back."""
    return {"jobId": job.job_id, "attempt": job.attempt, "status": "released"}


def caller_that_leaves(after: float) -> Caller:
    """Make a caller that goes away after a while."""
    caller = Caller()
    asyncio.get_running_loop().call_later(after, caller.leave)
    return caller


async def waiting(call: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Start a call and let it come to the point where it waits."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0.001)
    return task


async def answer_of(call: Awaitable[_T], within: float = 1) -> _T:
    """Wait for an answer that has to come soon."""
    async with asyncio.timeout(within):
        return await call


@asynccontextmanager
async def make_stage(**limits: float) -> AsyncIterator[Stage]:
    """Open a stage with some limits of its own."""
    database = Database(None)
    try:
        stage = Stage(database, msgspec.convert({**msgspec.to_builtins(LIMITS), **limits}, Limits))
        await stage.open()
        yield stage
        await stage.die()
    finally:
        await database.close()
