"""The ports with failpoints around their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Any, cast

from orchestrator.adapters.failpoints.armed import Failpoints, before
from orchestrator.adapters.failpoints.names import DELAY, DONE_THEN_ERROR, ERROR
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job
from orchestrator.model.role import Duty
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.broker import Broker, Inbox, Refused, Sent, Stop
from orchestrator.ports.duties import Duties
from orchestrator.ports.feed import Feed
from orchestrator.ports.hints import Hints
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.queue import Room
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store, Transaction
from orchestrator.ports.strangers import Strangers


def armed_store(store: Store, points: Failpoints) -> Store:
    """Put failpoints around a store, and around its transactions."""
    return cast("Store", _Store(store, "store", points))


def armed_outbox(outbox: Outbox, points: Failpoints) -> Outbox:
    """Put failpoints around an outbox."""
    return cast("Outbox", _Calls(outbox, "outbox", points))


def armed_broker(broker: Broker, points: Failpoints) -> Broker:
    """Put failpoints around a broker, and around its inboxes."""
    return cast("Broker", _Broker(broker, "broker", points))


def armed_feed(feed: Feed, points: Failpoints) -> Feed:
    """Put failpoints around a feed, and around what it tells."""
    return cast("Feed", _Feed(feed, "feed", points))


def armed_duties(duties: Duties, points: Failpoints) -> Duties:
    """Put failpoints around duties: a failure is to be told that this process does not have one."""
    return _Duties(duties, points)


def armed_hints(hints: Hints, points: Failpoints) -> Hints:
    """Put failpoints around hints, and around what they tell; a failure is a miss."""
    return cast("Hints", _Hints(hints, "hints", points))


def armed_roster(roster: Roster, points: Failpoints) -> Roster:
    """Put failpoints around the list of workers."""
    return cast("Roster", _Calls(roster, "roster", points))


def armed_strangers(strangers: Strangers, points: Failpoints) -> Strangers:
    """Put failpoints around the question who else reads jobs."""
    return cast("Strangers", _Calls(strangers, "strangers", points))


class _Calls:
    """Passes everything on; what is armed goes by its failpoint."""

    def __init__(self, inner: Any, prefix: str, points: Failpoints) -> None:
        self._inner = inner
        self._prefix = prefix
        self._points = points

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        armed = f"{self._prefix}.{name}"
        if armed not in self._points:
            return found
        points = self._points

        async def call(*arguments: Any, **named: Any) -> Any:
            try:
                due = await points.enter(armed)
                answer = await found(*arguments, **named)
                points.leave(armed, due)
            except Unavailable as error:
                self._failed(error)
                raise
            return answer

        return call

    def _failed(self, error: Unavailable) -> None:
        """Take note of a failure."""


class _Transaction(_Calls):
    failure: Unavailable | None = None

    def _failed(self, error: Unavailable) -> None:
        self.failure = self.failure or error


class _Store(_Calls):
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        points = self._points
        due = await points.enter("transaction.begin")
        async with self._inner.transaction() as tx:
            points.leave("transaction.begin", due)
            armed = _Transaction(tx, "transaction", points)
            yield cast("Transaction", armed)
            if armed.failure is not None:
                # The caller went on after it; no store lets such a transaction be.
                raise armed.failure
            due = await points.enter("transaction.commit")
        points.leave("transaction.commit", due)


class _Broker(_Calls):
    @cached_property
    def results(self) -> Inbox:
        return cast("Inbox", _Inbox(self._inner.results, "results", self._points))

    @cached_property
    def heartbeats(self) -> Inbox:
        return cast("Inbox", _Inbox(self._inner.heartbeats, "heartbeats", self._points))

    def send(
        self,
        jobs: Sequence[Job],
        on_sent: Callable[[list[Sent]], None],
        on_refused: Callable[[list[Refused]], None],
        on_failed: Callable[[list[Job]], None],
    ) -> None:
        due = self._points.due("broker.send")
        if due is None:
            self._inner.send(jobs, on_sent, on_refused, on_failed)
        elif due.action == DELAY:
            asyncio.get_running_loop().call_later(due.seconds, self._inner.send, jobs, on_sent, on_refused, on_failed)
        elif due.action in {ERROR, DONE_THEN_ERROR}:
            if due.action == DONE_THEN_ERROR:
                self._inner.send(jobs, _nobody, on_refused, _nobody)
            asyncio.get_running_loop().call_soon(on_failed, list(jobs))
        else:
            before("broker.send", due)
            self._inner.send(jobs, on_sent, on_refused, on_failed)
            self._points.leave("broker.send", due)

    def stop(self, *arguments: Any) -> None:
        due = self._points.due("broker.stop")
        if due is not None and due.action == DELAY:
            asyncio.get_running_loop().call_later(due.seconds, self._inner.stop, *arguments)
        elif due is None or due.action != ERROR:
            if due is not None:
                before("broker.stop", due)
            self._inner.stop(*arguments)
            self._points.leave("broker.stop", due)


class _Inbox(_Calls):
    def done(self) -> None:
        name = f"{self._prefix}.done"
        due = self._points.due(name)
        if due is None:
            self._inner.done()
        elif due.action != ERROR:
            # What is done later would speak for records that were taken later: the process waits.
            before(name, due)
            self._inner.done()
            self._points.leave(name, due)


class _Feed(_Calls):
    def listen(self, on_jobs: Callable[[str, int, bool], None], on_stops: Callable[[Sequence[Stop]], None]) -> None:
        def jobs(action: str, count: int, alone: bool) -> None:  # noqa: FBT001 - as the port has it
            self._points.through("feed.jobs", lambda: on_jobs(action, count, alone), None)

        def stops(some: Sequence[Stop]) -> None:
            self._points.through("feed.stops", lambda: on_stops(some), None)

        self._inner.listen(jobs, stops)

    def read(self, actions: Collection[str]) -> None:
        self._points.through("feed.read", lambda: self._inner.read(actions), None)

    def take(self, actions: Collection[str], room: Room) -> list[Job]:
        return self._points.through("feed.take", lambda: self._inner.take(actions, room), [])

    def take_alone(self, actions: Collection[str]) -> Job | None:
        job: Job | None = self._points.through("feed.take_alone", lambda: self._inner.take_alone(actions), None)
        return job

    def leftovers(self, seconds: float) -> list[Job]:
        return self._points.through("feed.leftovers", lambda: self._inner.leftovers(seconds), [])


class _Duties:
    def __init__(self, inner: Duties, points: Failpoints) -> None:
        self._inner = inner
        self._points = points

    def has(self, duty: Duty) -> bool:
        return self._points.through("duties.has", lambda: self._inner.has(duty), failed=False)

    def give_up(self, duty: Duty) -> None:
        self._points.through("duties.give_up", lambda: self._inner.give_up(duty), None)


class _Hints(_Calls):
    async def recall(self, name: bytes) -> bytes | None:
        try:
            due = await self._points.enter("hints.recall")
            value: bytes | None = await self._inner.recall(name)
            self._points.leave("hints.recall", due)
        except Unavailable:
            return None
        return value

    def keep(self, name: bytes, value: bytes, until: Time) -> None:
        self._points.through("hints.keep", lambda: self._inner.keep(name, value, until), None)

    def tell(self, run_ids: Iterable[RunId]) -> None:
        self._points.through("hints.tell", lambda: self._inner.tell(run_ids), None)

    def listen(self, hear: Callable[[list[RunId]], None]) -> None:
        self._inner.listen(lambda run_ids: self._points.through("hints.hear", lambda: hear(run_ids), None))


def _nobody(answered: list[Any]) -> None:
    """An acknowledgement that is lost."""
