"""The ports with failpoints around their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import Any, cast

from orchestrator.adapters.failpoints.armed import Failpoints, before
from orchestrator.adapters.failpoints.names import DELAY, DONE_THEN_ERROR, ERROR
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job
from orchestrator.ports.broker import Broker, Inbox, Refused, Sent
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.store import Store, Transaction


def armed_store(store: Store, points: Failpoints) -> Store:
    """Put failpoints around a store, and around its transactions."""
    return cast("Store", _Store(store, "store", points))


def armed_outbox(outbox: Outbox, points: Failpoints) -> Outbox:
    """Put failpoints around an outbox."""
    return cast("Outbox", _Calls(outbox, "outbox", points))


def armed_broker(broker: Broker, points: Failpoints) -> Broker:
    """Put failpoints around a broker, and around its inboxes."""
    return cast("Broker", _Broker(broker, "broker", points))


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


def _nobody(answered: list[Any]) -> None:
    """An acknowledgement that is lost."""
