"""What each action does to a call: what has been done, and what the caller hears."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from orchestrator.adapters.failpoints.armed import Failpoints, FailpointsNotValid
from orchestrator.adapters.failpoints.names import FAILPOINTS
from orchestrator.adapters.failpoints.ports import (
    armed_broker,
    armed_duties,
    armed_feed,
    armed_hints,
    armed_outbox,
    armed_store,
)
from orchestrator.model.errors import Unavailable
from orchestrator.ports.broker import Broker, Inbox
from orchestrator.ports.duties import Duties
from orchestrator.ports.feed import Feed
from orchestrator.ports.hints import Hints
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store, Transaction
from orchestrator.ports.strangers import Strangers


class Died(BaseException):
    """In place of the end of the process."""


class Parts:
    """Stands behind the wrappers and writes down what was done."""

    def __init__(self) -> None:
        self.done_: list[str] = []
        self.results = self.heartbeats = self

    async def note_published(self, letters: Sequence[str]) -> str:
        self.done_.append("note_published")
        return "answer"

    async def take(self) -> list[str]:
        self.done_.append("take")
        return ["record"]

    def done(self) -> None:
        self.done_.append("done")

    def lag(self) -> int:
        return 7

    def send(
        self, jobs: Sequence[str], on_sent: Callable[[list[Any]], None] | None, on_refused: object, on_failed: object
    ) -> None:
        self.done_.append("send")
        if on_sent is not None:
            on_sent(["sent"])

    def stop(self, attempts: Sequence[str]) -> None:
        self.done_.append("stop")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Parts]:
        self.done_.append("begin")
        try:
            yield self
        except BaseException:
            self.done_.append("rollback")
            raise
        self.done_.append("commit")

    async def save(self, changes: Sequence[str]) -> None:
        self.done_.append("save")


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    def die(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGKILL)
        raise Died

    monkeypatch.setattr(os, "kill", die)
    return Parts()


CASES = [
    ("error", [], Unavailable),
    ("kill", [], Died),
    ("delay:0.001", ["it"], None),
    ("done-then-error", ["it"], Unavailable),
    ("done-then-kill", ["it"], Died),
]


@pytest.mark.parametrize(("action", "done", "heard"), CASES)
def test_a_call_is_done_or_not_and_the_caller_hears_what_the_action_says(
    parts: Parts, action: str, done: list[str], heard: type[BaseException] | None
) -> None:
    outbox = armed_outbox(cast(Outbox, parts), Failpoints.parse(f"outbox.note_published={action}@2"))

    async def call() -> object:
        return await cast(Any, outbox).note_published(["x"])

    assert asyncio.run(call()) == "answer"
    parts.done_.clear()
    if heard is None:
        assert asyncio.run(call()) == "answer"
    else:
        with pytest.raises(heard):
            asyncio.run(call())
    assert parts.done_ == ["note_published" for _ in done]


@pytest.mark.parametrize(
    ("failpoint", "expected"),
    [
        ("transaction.begin=error", []),
        ("transaction.begin=done-then-error", ["begin", "rollback"]),
        ("transaction.save=error", ["begin", "rollback"]),
        ("transaction.save=done-then-error", ["begin", "save", "rollback"]),
        ("transaction.commit=error", ["begin", "save", "rollback"]),
        ("transaction.commit=done-then-error", ["begin", "save", "commit"]),
    ],
)
def test_a_transaction_fails_where_it_is_told_to(parts: Parts, failpoint: str, expected: list[str]) -> None:
    store = armed_store(cast(Store, parts), Failpoints.parse(failpoint))

    async def write() -> None:
        async with store.transaction() as tx:
            await tx.save([])

    with pytest.raises(Unavailable, match="on purpose"):
        asyncio.run(write())
    assert parts.done_ == expected
    parts.done_.clear()
    asyncio.run(write())
    assert parts.done_ == ["begin", "save", "commit"]


@pytest.mark.parametrize("action", ["error", "done-then-error"])
def test_a_transaction_that_has_had_a_failure_is_not_committed_whatever_its_caller_makes_of_it(
    parts: Parts, action: str
) -> None:
    store = armed_store(cast(Store, parts), Failpoints.parse(f"transaction.save={action}"))

    async def write() -> None:
        async with store.transaction() as tx:
            with contextlib.suppress(Unavailable):
                await tx.save([])

    with pytest.raises(Unavailable, match="on purpose"):
        asyncio.run(write())
    assert parts.done_[-1] == "rollback"


@pytest.mark.parametrize(
    ("action", "done", "told"),
    [("error", [], ["failed"]), ("done-then-error", ["send"], ["failed"]), ("delay:0.01", ["send"], ["sent"])],
)
def test_a_job_that_is_handed_over_is_lost_or_late_or_not_acknowledged(
    parts: Parts, action: str, done: list[str], told: list[str]
) -> None:
    broker = armed_broker(cast(Broker, parts), Failpoints.parse(f"broker.send={action}"))
    heard: list[Any] = []

    async def send() -> None:
        broker.send([], heard.extend, heard.extend, lambda jobs: heard.append("failed"))
        assert not heard
        await asyncio.sleep(0.05)

    asyncio.run(send())
    assert (parts.done_, heard) == (done, told)


@pytest.mark.parametrize("action", ["kill", "done-then-kill"])
@pytest.mark.parametrize("name", ["broker.send", "broker.stop", "results.done", "heartbeats.done"])
def test_calls_that_do_not_wait_can_be_the_last(parts: Parts, name: str, action: str) -> None:
    broker = armed_broker(cast(Broker, parts), Failpoints.parse(f"{name}={action}"))
    owner, _, call = name.partition(".")
    target = cast(Any, broker if owner == "broker" else getattr(broker, owner))
    with pytest.raises(Died):
        getattr(target, call)(*{"send": ([], None, None, None), "stop": ([],), "done": ()}[call])
    assert parts.done_ == ([call] if action == "done-then-kill" else [])


@pytest.mark.parametrize(("action", "done"), [("error", []), ("delay:0.001", ["done"])])
def test_records_that_are_not_said_to_be_done_come_again(parts: Parts, action: str, done: list[str]) -> None:
    broker = armed_broker(cast(Broker, parts), Failpoints.parse(f"results.done={action}"))
    broker.results.done()
    assert parts.done_ == done
    broker.heartbeats.done()
    assert parts.done_ == [*done, "done"]


@pytest.mark.parametrize(("action", "done"), [("error", []), ("delay:0.001", ["stop"])])
def test_a_stop_is_lost_or_late(parts: Parts, action: str, done: list[str]) -> None:
    broker = armed_broker(cast(Broker, parts), Failpoints.parse(f"broker.stop={action}"))

    async def stop() -> None:
        broker.stop([])
        await asyncio.sleep(0.05)

    asyncio.run(stop())
    assert parts.done_ == done


def test_what_is_not_armed_is_the_call_itself(parts: Parts) -> None:
    broker = armed_broker(cast(Broker, parts), Failpoints.parse("results.take=delay:0@9"))
    assert cast(Any, broker.heartbeats).take == parts.take
    assert cast(Any, broker.results).take != parts.take
    assert asyncio.run(cast(Any, broker.results).take()) == ["record"]
    assert broker.results.lag() == 7


QUICK = ("feed.read", "feed.take", "feed.take_alone", "feed.leftovers", "duties.has", "duties.give_up", "hints.keep")
"""Calls that do not wait; the others are what is told."""


class Quick:
    """Stands behind the ports whose calls do not wait, and writes down what was done."""

    def __init__(self) -> None:
        self.done_: list[str] = []
        self.tellers: list[Callable[..., None]] = []

    def __getattr__(self, name: str) -> Callable[..., object]:
        if name == "listen":
            return lambda *tellers: self.tellers.extend(tellers)

        def call(*arguments: object) -> list[str]:
            self.done_.append(name)
            return ["answer"]

        return call

    async def recall(self, name: bytes) -> bytes:
        self.done_.append("recall")
        return b"value"


def armed(quick: Quick, failpoint: str) -> dict[str, Any]:
    """Give the ports by their names, with a failpoint armed."""
    points = Failpoints.parse(failpoint)
    inner = cast(Any, quick)
    return {
        "feed": armed_feed(inner, points),
        "duties": armed_duties(inner, points),
        "hints": armed_hints(inner, points),
    }


@pytest.mark.parametrize(
    ("action", "done", "answers"),
    [
        ("kill", False, None),
        ("done-then-kill", True, None),
        ("error", False, False),
        ("done-then-error", True, False),
        ("delay:0.001", True, True),
    ],
)
@pytest.mark.parametrize("name", QUICK)
def test_a_call_that_does_not_wait_gives_nothing_where_it_fails(
    parts: Parts, name: str, action: str, done: bool, answers: bool | None
) -> None:
    if action not in FAILPOINTS[name].actions and not action.startswith("delay"):
        # It tells its caller nothing.
        with pytest.raises(FailpointsNotValid):
            Failpoints.parse(f"{name}={action}")
        return
    quick = Quick()
    owner, _, call = name.partition(".")
    port = armed(quick, f"{name}={action}@2")[owner]
    arguments = {"take": ((), 1), "keep": (b"", b"", 0), "give_up": ("",), "has": ("",)}.get(call, ((),))
    assert getattr(port, call)(*arguments) or call in {"read", "give_up", "keep"}
    quick.done_.clear()
    if answers is None:
        with pytest.raises(Died):
            getattr(port, call)(*arguments)
    else:
        answer = getattr(port, call)(*arguments)
        assert bool(answer) == (answers and call not in {"read", "give_up", "keep"})
    assert quick.done_ == ([call] if done else [])


@pytest.mark.parametrize(("action", "heard"), [("error", False), ("delay:0.001", True)])
@pytest.mark.parametrize("name", ["feed.stops", "hints.hear", "feed.jobs"])
def test_what_a_port_tells_is_lost_or_late(name: str, action: str, heard: bool) -> None:
    if action not in FAILPOINTS[name].actions and not action.startswith("delay"):
        with pytest.raises(FailpointsNotValid):
            Failpoints.parse(f"{name}={action}")
        return
    quick = Quick()
    told: list[str] = []
    ports = armed(quick, f"{name}={action}")
    ports["feed"].listen(lambda *jobs: told.append("feed.jobs"), lambda *stops: told.append("feed.stops"))
    ports["hints"].listen(lambda *run_ids: told.append("hints.hear"))
    jobs, stops, hear = quick.tellers
    {"feed.jobs": lambda: jobs("action", 1, False), "feed.stops": lambda: stops([]), "hints.hear": lambda: hear([])}[
        name
    ]()
    assert told == ([name] if heard else [])


@pytest.mark.parametrize(("action", "done"), [("error", []), ("done-then-error", ["recall"])])
def test_a_hint_that_cannot_be_had_is_a_miss(action: str, done: list[str]) -> None:
    quick = Quick()
    hints = armed(quick, f"hints.recall={action}@2")["hints"]
    assert asyncio.run(hints.recall(b"name")) == b"value"
    quick.done_.clear()
    assert asyncio.run(hints.recall(b"name")) is None
    assert quick.done_ == done


UNARMED = {
    "broker.report": "counters in memory",
    "broker.routes": "a setting",
    "feed.listen": "said once, before anything else",
    "feed.waiting_alone": "a count in memory",
    "feed.depths": "a count in memory",
    "hints.report": "counters in memory",
    "hints.listen": "said once, before anything else",
    "hints.run": "the service itself",
    "results.lag": "a count in memory",
    "heartbeats.lag": "a count in memory",
    "broker.results": "an inbox",
    "broker.heartbeats": "an inbox",
    "store.transaction": "its calls are failpoints",
    "strangers.topic_of": "a setting",
}
"""What a port has that is no failpoint, and why."""


def test_every_call_of_these_ports_is_a_failpoint_or_has_a_reason_not_to_be() -> None:
    ports = {
        "transaction": Transaction,
        "store": Store,
        "broker": Broker,
        "results": Inbox,
        "heartbeats": Inbox,
        "outbox": Outbox,
        "feed": Feed,
        "duties": Duties,
        "hints": Hints,
        "roster": Roster,
        "strangers": Strangers,
    }
    calls = {
        f"{prefix}.{name}"
        for prefix, port in ports.items()
        for name in dir(port)
        if not name.startswith("_") and (callable(getattr(port, name)) or isinstance(getattr(port, name), property))
    }
    assert calls - FAILPOINTS.keys() == UNARMED.keys()
