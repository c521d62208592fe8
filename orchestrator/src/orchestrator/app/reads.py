"""Reads of one run by many at once: they share, so that a run that everybody looks at costs what one reader costs.

No answer is older than its question: who asks while a read is under way gets the one after it. So for nobody a run ever
goes backwards. What can never change again, a completed run, is remembered for a moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from orchestrator.app import views
from orchestrator.app.gateway import Gateway
from orchestrator.app.reasons import Reasons
from orchestrator.engine.plan import Plan
from orchestrator.model.errors import RunNotFound
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.view import RunView
from orchestrator.ports.clock import Clock
from orchestrator.ports.queries import History, Queries, RunRecord

REMEMBERED: Final = Duration(5 * MICROS)
"""How long a completed run is remembered, from when its read began."""
REMEMBERED_BYTES_MAX: Final = 64 * 1024
"""Payload bytes of a run that is remembered; a larger one is read each time."""


class _Remembered(NamedTuple):
    view: RunView
    until: int


class _UnderWay:
    """A read of a run, and who waits for the next one."""

    __slots__ = ("following",)

    def __init__(self) -> None:
        self.following: asyncio.Future[RunView] | None = None


class Reads:
    """Reads runs as the API shows them."""

    def __init__(
        self,
        queries: Queries,
        plan: Callable[[str, int], Awaitable[Plan]],
        gateway: Gateway,
        reasons: Reasons,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._queries = queries
        self._plan = plan
        self._gateway = gateway
        self._reasons = reasons
        self._clock = clock
        self._limits = limits
        self._under_way: dict[RunId, _UnderWay] = {}
        self._remembered: OrderedDict[RunId, _Remembered] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, run_id: RunId) -> RunView:
        """Read a run as it is now or a moment later. The view belongs to all who asked for it: leave it as it is.

        Raises:
            RunNotFound: there is none.
            Unavailable: the store does not answer.
        """
        known = self._remembered.get(run_id)
        if known is not None:
            if self._clock.monotonic() < known.until:
                return known.view
            del self._remembered[run_id]
        under_way = self._under_way.get(run_id)
        if under_way is None:
            self._under_way[run_id] = under_way = _UnderWay()
            try:
                return await self._load(run_id)
            finally:
                self._go_on(run_id, under_way)
        if under_way.following is None:
            under_way.following = asyncio.get_running_loop().create_future()
        # One who goes away takes nothing from the others.
        return await asyncio.shield(under_way.following)

    def _go_on(self, run_id: RunId, under_way: _UnderWay) -> None:
        """After a read, begin the next one for those who have asked meanwhile."""
        answer = under_way.following
        if answer is None:
            del self._under_way[run_id]
            return
        under_way.following = None
        task = asyncio.get_running_loop().create_task(self._answer(run_id, under_way, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, run_id: RunId, under_way: _UnderWay, answer: asyncio.Future[RunView]) -> None:
        try:
            view = await self._load(run_id)
        except Exception as error:  # noqa: BLE001 - it is theirs who asked
            answer.set_exception(error)
            # They may all have gone.
            answer.exception()
        except BaseException:
            answer.cancel()
            raise
        else:
            answer.set_result(view)
        finally:
            self._go_on(run_id, under_way)

    async def _load(self, run_id: RunId) -> RunView:
        began_on = self._clock.monotonic()
        record = await self._queries.run(run_id)
        if record is None:
            raise RunNotFound(f"no run has the id {run_id!r}; GET /workflow/runs lists them")
        plan = await self._plan(record.workflow_id, record.version)
        history = await self._queries.history(run_id)
        view = views.run_view(
            record,
            history,
            plan,
            lambda step: self._gateway.lease_of(run_id, step),
            await self._queries.details(run_id) if record.ended_at is None else {},
        )
        if record.ended_at is None:
            view.waiting_for = await self._reasons.of(view.steps, plan)
        if record.status is RunStatus.COMPLETED and self._may_remember(record, history):
            self._remembered[run_id] = _Remembered(view, began_on + REMEMBERED)
            if len(self._remembered) > self._limits.completed_runs_cached_max:
                self._remembered.popitem(last=False)
        return view

    def _may_remember(self, record: RunRecord, history: History) -> bool:
        size = len(record.input) + len(record.output or b"") + sum(len(result.result) for result in history.results)
        if size > REMEMBERED_BYTES_MAX:
            return False
        kept = self._limits.runs_kept_seconds
        # One that may be removed meanwhile would be there for some and gone for others.
        return not kept or (record.ended_at or 0) + kept * MICROS > self._clock.now() + 2 * REMEMBERED
