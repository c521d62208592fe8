"""The way of every change: requests gather, share one transaction, and are acted on once that has committed.

    gather -> begin -> load -> decide -> write -> commit -> publish jobs, take jobs back, tell waiters -> answer

Rule 1: nothing in the world happens before the commit.
Rule 2: everything that happens after it can be done again from what was committed (`Recovery`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple, Protocol, overload

from orchestrator.app.batch import Batch
from orchestrator.app.command import (
    Define,
    Defined,
    Direct,
    Discard,
    Record,
    Redrive,
    Request,
    Requeue,
    Trigger,
    Triggered,
)
from orchestrator.app.plans import Plans
from orchestrator.app.tally import Tally
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import Busy, Contended, NotWritable, OrchestratorError, Unavailable
from orchestrator.model.job import Job, Rejection
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.store import Store, Transaction

_log = logging.getLogger(__name__)

GATHER_SECONDS: Final = 0.002
"""How long a batch gathers while the pipeline is busy."""

REST_SECONDS: Final = 0.002
"""How long the pipeline rests after a large batch where jobs go through a broker: there a batch costs requests as well,
to the broker and of every worker that waits for jobs. More than this saves nothing: what arrives meanwhile gathers at
the broker and at the workers too, and they would have to wait."""

LARGE: Final = 8
"""From how many reports and other requests on a batch is large."""

PLENTY: Final = 32
"""How many reports and other requests have to wait for a second transaction beside one that is under way."""

CONTENDED_MAX: Final = 5
"""How often a batch is decided again because another process was faster. Each time that one has got something done."""

Point = Literal["batch.begun", "batch.written", "batch.committed", "batch.published"]
"""Places in the pipeline where tests let the process die."""


class World(Protocol):
    """Who acts on what has committed."""

    def dispatch(self, jobs: list[Job]) -> None:
        """Bring jobs to workers."""
        ...

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """Take an attempt back from the queue or from the worker that has it."""
        ...

    def reported(self, run_id: RunId, step: int, attempt: int) -> None:
        """The attempt is over by its own report: nobody else has to begin it."""
        ...

    def dead_lettered(self, letters: list[DeadLetter]) -> None:
        """Tell the broker of steps that have failed for good."""
        ...

    def run_ended(self, run_id: RunId) -> None:
        """Tell those who wait for the run."""
        ...

    def doubt(self, steps: list[tuple[RunId, int]]) -> None:
        """Forget what is known of these jobs, and look into the store: it is not known whether a commit has been."""
        ...


class _Waiting(NamedTuple):
    request: Request
    answer: asyncio.Future[Any]


class Pipeline:
    """Gathers requests into transactions: one at a time, or two where the store takes so many and enough is waiting.

    Two are no different from those of two processes: the store keeps them apart, by the runs they are about.
    """

    def __init__(
        self,
        store: Store,
        plans: Plans,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        world: World,
        reach: Callable[[Point], None] = lambda point: None,
        resend_after: Duration | None = None,
        letter_after: Duration | None = None,
    ) -> None:
        self._store = store
        self._plans = plans
        self._clock = clock
        self._chance = chance
        self._limits = limits
        self._world = world
        self._reach = reach
        self._resend_after = resend_after
        """How long a broker has to acknowledge what it is handed; None without a broker."""
        self._letter_after = letter_after
        """How long the record of a dead letter is this process's to write; None without a broker."""
        self.rest_seconds = 0.0 if resend_after is None else REST_SECONDS
        """How long it rests after a large batch."""
        self.overlaps = resend_after is not None
        """Whether a second transaction may be under way while one waits; the stores beside a broker take two."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[_Waiting] = deque()
        self._weight = 0
        """How many reports and other requests wait."""
        self._plenty = asyncio.Event()
        self._arrived = asyncio.Event()
        self._closed = False
        self.is_refused = False
        """Whether the store took nothing when it was last given a batch; who finds out that it does again says so."""
        self.tally = Tally()
        """What this process has made durable."""
        self._rests_until = 0.0
        """When the next batch begins at the earliest, on the clock of the loop."""

    @overload
    def submit(self, request: Define) -> asyncio.Future[Defined]: ...
    @overload
    def submit(self, request: Trigger) -> asyncio.Future[Triggered]: ...
    @overload
    def submit(self, request: Record, *, refusable: bool = True) -> asyncio.Future[list[Rejection | None]]: ...
    @overload
    def submit(self, request: Direct, *, refusable: bool = True) -> asyncio.Future[bool | Rejection]: ...
    @overload
    def submit(self, request: Requeue, *, refusable: bool = True) -> asyncio.Future[list[bool]]: ...
    @overload
    def submit(self, request: Redrive, *, refusable: bool = True) -> asyncio.Future[RunId]: ...
    @overload
    def submit(self, request: Discard, *, refusable: bool = True) -> asyncio.Future[None]: ...
    def submit(self, request: Request, *, refusable: bool = True) -> asyncio.Future[Any]:
        """Hand a request in; the future has its answer once that is durable.

        Args:
            request: what is asked.
            refusable: False for what time brings along, which is bounded by what is open and must not wait for callers.

        Raises:
            Busy: too many requests wait.
            Unavailable: the process is going down.
        """
        if self._closed:
            raise Unavailable("the orchestrator is shutting down")
        if refusable and len(self._waiting) >= self._limits.commands_waiting_max:
            raise Busy(f"{self._limits.commands_waiting_max:,} requests wait already (commands_waiting_max)")
        # To ask for the running loop is a call of the system in Python 3.11.
        self._loop = self._loop or asyncio.get_running_loop()
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(_Waiting(request, answer))
        self._weight += _size(request)
        self._arrived.set()
        if self._weight >= PLENTY:
            self._plenty.set()
        return answer

    @property
    def waiting(self) -> int:
        """Count the requests that wait for a batch."""
        return len(self._waiting)

    async def run(self) -> None:
        """Process requests until cancelled or closed.

        Idle, a request is processed at once. Busy, a transaction costs more than a short wait for company: when others
        arrived while a batch was processed, the next one gathers first. With a broker it does so after each large one.
        """
        try:
            # The death of either is that of both: what ends here is noticed, and the process with it.
            async with asyncio.TaskGroup() as turns:
                if self.overlaps:
                    turns.create_task(self._run_beside(), name="pipeline beside")
                await self._run_in_turn()
        finally:
            # Whatever ended it: nobody waits for an answer that never comes.
            self._closed = True
            _stop(self._waiting)

    async def _run_in_turn(self) -> None:
        while not (self._closed and not self._waiting):
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self.run_once()
                # Let those in that the loop has received meanwhile.
                await asyncio.sleep(0)
                rest = max(self.rest, GATHER_SECONDS if self._waiting else 0.0)
                if rest and not self._closed:
                    await asyncio.sleep(rest)

    async def _run_beside(self) -> None:
        """Process what becomes plenty while another transaction waits for the store; the other has its own turn."""
        while not self._closed:
            await self._plenty.wait()
            self._plenty.clear()
            if (rest := self.rest) and not self._closed:
                await asyncio.sleep(rest)
            if self._weight >= PLENTY:
                await self.run_once()

    @property
    def rest(self) -> float:
        """How many seconds the pipeline rests from now on: what is brought before it is over shares the next batch."""
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    def close(self) -> None:
        """Take no more requests; `run` ends when those that wait have their answers."""
        self._closed = True
        self._arrived.set()
        self._plenty.set()

    async def run_once(self) -> int:
        """Process the requests that wait, as one batch; say how many there were."""
        waiting = self._waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), self._limits.batch_commands_max))]
        weight = sum(_size(item.request) for item in batch)
        self._weight -= weight
        if batch:
            try:
                await self._process(batch)
            except BaseException:
                _stop(batch)
                raise
            if weight >= LARGE:
                self._rests_until = asyncio.get_running_loop().time() + self.rest_seconds
        return len(batch)

    async def _process(self, items: list[_Waiting], contended_max: int = CONTENDED_MAX) -> None:
        batch: Batch | None = None
        began_on = self._clock.monotonic()
        try:
            async with self._store.transaction() as tx:
                self._reach("batch.begun")
                batch = self._begin(tx)
                await batch.load(item.request for item in items)
                answers = [await _answer(batch, item.request) for item in items]
                await batch.write()
                self._reach("batch.written")
        except Contended as error:
            # Nothing was recorded; what the other process wrote is seen by the next try.
            if contended_max:
                self.tally.again += 1
                _log.info("a batch of %d requests is decided again: %s", len(items), error)
                await self._process(items, contended_max - 1)
            else:
                _log.error("a batch of %d requests was not recorded: %s", len(items), error)
                _settle(items, [error] * len(items))
            return
        except OrchestratorError as error:
            self.tally.failed += 1
            self.is_refused = self.is_refused or isinstance(error, NotWritable)
            _log.error("a batch of %d requests was not recorded: %s", len(items), error)
            if batch is not None:
                # The commit may have been: what was to be done after it is done from what the store says.
                self._world.doubt(batch.touched)
            _settle(items, [error] * len(items))
            return
        except Exception as error:  # noqa: BLE001 - a bug in one request must not take the others along
            await self._isolate(items, error)
            return
        self._reach("batch.committed")
        self.tally.committed(batch.events, len(items), (self._clock.monotonic() - began_on) / MICROS)
        self._act(batch)
        self._reach("batch.published")
        _settle(items, answers)

    def _begin(self, tx: Transaction) -> Batch:
        now = self._clock.now()
        again_at = None if self._resend_after is None else Time(now + self._resend_after)
        letter_at = None if self._letter_after is None else Time(now + self._letter_after)
        return Batch(self._store, tx, self._plans, self._chance, self._limits, now, again_at, letter_at)

    async def _isolate(self, items: list[_Waiting], error: Exception) -> None:
        """After a fault in a batch, process its requests one by one, so that only the faulty one fails."""
        if len(items) == 1:
            _log.error("a request failed: %r", items[0].request, exc_info=error)
            _settle(items, [Unavailable("the request failed inside the orchestrator; its log says why")])
            return
        for item in items:
            await self._process([item])

    def _act(self, batch: Batch) -> None:
        world = self._world
        if batch.letters:
            world.dead_lettered(batch.letters)
        for run_id, step, attempt in batch.withdrawn:
            world.withdraw(run_id, step, attempt)
        for run_id, step, attempt in batch.reported:
            world.reported(run_id, step, attempt)
        if batch.jobs:
            world.dispatch(batch.jobs)
        for run_id in batch.ended:
            world.run_ended(run_id)


def _size(request: Request) -> int:
    return len(request.reports) if isinstance(request, Record) else 1


async def _answer(batch: Batch, request: Request) -> Any:
    try:
        return await batch.apply(request)
    except OrchestratorError as error:
        return error


def _stop(items: Iterable[_Waiting]) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(Unavailable("the orchestrator has stopped"))


def _settle(items: list[_Waiting], answers: list[Any]) -> None:
    for item, answer in zip(items, answers, strict=True):
        if item.answer.done():
            continue
        if isinstance(answer, OrchestratorError):
            item.answer.set_exception(answer)
        else:
            item.answer.set_result(answer)
