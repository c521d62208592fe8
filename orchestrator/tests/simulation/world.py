"""The place where everything of one seed happens: one database, the lives of the orchestrator, a network between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from orchestrator.adapters.sqlite.database import Database
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.waits import Caller
from orchestrator.model.errors import OrchestratorError
from tests.simulation.journal import Journal
from tests.simulation.options import Fault, options_of
from tests.simulation.process import Process, Request

_T = TypeVar("_T")

PATIENCE_SECONDS: Final = 8.0
"""How long a caller waits for an answer before it takes the connection for broken."""


class ConnectionLost(Exception):
    """No answer came: the call may have been done, or not."""


class World:
    """See `process.Surroundings`, and the faults that strike from outside."""

    def __init__(self, seed: int, database: Database) -> None:
        loop = asyncio.get_running_loop()
        self.options = options_of(seed)
        self.journal = Journal(loop.time)
        self.database = database
        self.draw = random.Random(f"world {seed}")
        self.chance = random.Random(f"chance {seed}")
        self.wall_offset = self.wall_offset_max = 0.0
        self.healed = False
        self.process: Process | None = None
        self.late_packets = 0
        """Repetitions under way: they may change something when everybody has gone home."""
        self._lives: list[Process] = []
        self._tasks: set[asyncio.Task[None]] = set()
        """Held here, for the loop does not."""

    # --- chance --------------------------------------------------------------------------------------------------

    def strikes(self, fault: Fault) -> bool:
        """Say whether a fault strikes here and now; count it if so."""
        options = self.options
        if self.healed or not options.has(fault):
            return False
        rate = {
            Fault.COMMITS_FAIL: options.store_rate,
            Fault.COMMITS_UNSURE: options.store_rate,
            Fault.READS_FAIL: options.store_rate / 5,
            Fault.CALL_LOST: options.network_rate,
            Fault.ANSWER_LOST: options.network_rate,
            Fault.CALL_REPEATED: options.network_rate,
            Fault.CALL_LATE: options.network_rate,
        }.get(fault, 0.25)
        if self.draw.random() >= rate:
            return False
        self.journal.met(fault)
        return True

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.healed = True
        self.journal.note("everything heals")
        # A timer that was set when the clock was ahead waits until the time of day is there.
        self.wall_offset = self.wall_offset_max
        if self.process is not None:
            self.process.dies_at = None

    # --- tasks ---------------------------------------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Start something of the world that nobody waits for."""
        _ = self.launch(coroutine, name)

    def launch(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start something of the world; its failure is a violation."""

        def over(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                self.journal.violate("no surprises", f"{name}: {error!r}")

        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(over)
        return task

    async def end(self) -> None:
        """Stop all that is left, dead processes included."""
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    # --- the orchestrator ----------------------------------------------------------------------------------------

    async def supervise(self) -> None:
        """Start the orchestrator again whenever it is gone."""
        while True:
            self.process = process = Process(len(self._lives) + 1, self)
            self._lives.append(process)
            began = self.journal.second()
            await process.live()
            gone = self.journal.second()
            # A start that fails serves nobody either.
            await asyncio.sleep(0.05 if self.healed else self.draw.choice((0.05, 0.3, 2.0)))
            self.journal.outages.append((gone if process.served else began, self.journal.second()))

    # --- the network ---------------------------------------------------------------------------------------------

    async def call(self, name: str, request: Request[_T], caller: Caller | None = None) -> _T:
        """Make a request as a client does: there and back through the network, on a kept connection or its own.

        Raises:
            ConnectionLost: no answer came.
            OrchestratorError: the answer is an error.
        """
        connection = caller or Caller()
        try:
            await asyncio.sleep(self._delay())
            if self.strikes(Fault.CALL_LOST):
                await asyncio.sleep(self.draw.uniform(0.1, 2))
                raise ConnectionLost
            if self.strikes(Fault.CALL_REPEATED):
                self.spawn(self._repeat(request, self.draw.choice((0.001, 0.1, 4.0))), f"{name} again")
            if self.strikes(Fault.PIPELINE_TINY):
                for _ in range(4):
                    self.spawn(self._repeat(request, 0), f"{name} in a crowd")
            answer = await self._deliver(request, connection)
            if self.strikes(Fault.ANSWER_LOST):
                await asyncio.sleep(self.draw.uniform(0.1, 2))
                raise ConnectionLost
            await asyncio.sleep(self._delay())
            return answer
        finally:
            if caller is None and self.draw.random() < 0.7:
                # Otherwise the connection stays half open, and the server never learns of it.
                connection.leave()

    def _delay(self) -> float:
        if self.strikes(Fault.CALL_LATE):
            return self.draw.uniform(0.2, 5)
        return self.draw.uniform(0.0005, 0.02)

    async def _deliver(self, request: Request[_T], caller: Caller) -> _T:
        process = self.process
        if process is None or not process.up.is_set():
            await asyncio.sleep(0.01)
            raise ConnectionLost
        task = process.handle(request, caller)
        await asyncio.wait([task], timeout=PATIENCE_SECONDS)
        if not task.done() or task.cancelled():
            raise ConnectionLost
        return task.result()

    async def _repeat(self, request: Request[_T], later: float) -> None:
        """The same packets arrive again; nobody reads the answer."""
        self.late_packets += 1
        try:
            await asyncio.sleep(later)
            await self._deliver(request, Caller())
        except ConnectionLost:
            return
        except OrchestratorError as error:
            self.journal.met(f"answered {error.code}")
        finally:
            self.late_packets -= 1

    async def insist(self, name: str, request: Request[_T], pause: Callable[[], float]) -> _T:
        """Call until there is an answer that another try would not change."""
        while True:
            try:
                return await self.call(name, request)
            except ConnectionLost:
                pass
            except OrchestratorError as error:
                self.journal.met(f"answered {error.code}")
                if error.http_status != 503:
                    raise
            await asyncio.sleep(pause())


def ask(request: Callable[[Orchestrator], Awaitable[_T]]) -> Request[_T]:
    """Make a request that does not care whether its caller is still there."""

    async def answer(orchestrator: Orchestrator, caller: Caller) -> _T:
        return await request(orchestrator)

    return answer
