"""All failpoints: the points of the pipeline, and each call of a port that it or its services make.

The calls are read from the ports, so that a new method of one is a failpoint from its first day.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Final

import msgspec

from orchestrator.ports.broker import Broker, Inbox
from orchestrator.ports.duties import Duties
from orchestrator.ports.feed import Feed
from orchestrator.ports.hints import Hints
from orchestrator.ports.outbox import Outbox
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store, Transaction
from orchestrator.ports.strangers import Strangers

KILL: Final = "kill"
ERROR: Final = "error"
DELAY: Final = "delay"
DONE_THEN_ERROR: Final = "done-then-error"
DONE_THEN_KILL: Final = "done-then-kill"

ACTIONS: Final = {
    KILL: "the process dies at once, as by `kill -9`, before anything is done",
    ERROR: "nothing is done, and the caller is told that it failed",
    DELAY: "it is done so many seconds later: `delay:0.5`",
    DONE_THEN_ERROR: "it is done, and the caller is told that it failed, as by an answer that is lost",
    DONE_THEN_KILL: "it is done, and then the process dies at once",
}
"""What can happen at a failpoint."""

_POINT: Final = (KILL, ERROR, DELAY)
_CALL: Final = tuple(ACTIONS)
_WORDLESS: Final = (KILL, ERROR, DELAY, DONE_THEN_KILL)
"""Of a call that tells its caller nothing: whether it failed before or after makes no difference to anybody."""
_TAKE: Final = (KILL, DELAY, DONE_THEN_KILL)
"""Of a call that waits as long as it takes, and of a word that nobody says again: neither fails."""


class Failpoint(msgspec.Struct, frozen=True):
    """One place, and what can happen there."""

    name: str
    meaning: str
    actions: tuple[str, ...]


def _points() -> Iterator[Failpoint]:
    for name, meaning in (
        ("batch.begun", "A batch has its transaction, and has read nothing yet."),
        ("batch.written", "A batch has written all that it decided, and has not committed."),
        ("batch.committed", "A batch has committed, and nobody knows yet."),
        ("batch.published", "What a batch decided is handed over, and nobody has an answer yet."),
    ):
        yield Failpoint(name, meaning, _POINT)


def _calls(prefix: str, port: type) -> Iterator[Failpoint]:
    for name, method in vars(port).items():
        if inspect.iscoroutinefunction(method) and not name.startswith("_"):
            yield _call(prefix, port, name, _TAKE if name == "take" else _CALL)


def _call(prefix: str, port: type, name: str, actions: tuple[str, ...]) -> Failpoint:
    meaning = " ".join((inspect.getdoc(getattr(port, name)) or "").split("\n\n", 1)[0].split())
    return Failpoint(f"{prefix}.{name}", meaning, actions)


def _quick_calls() -> Iterator[Failpoint]:
    """Give the calls that do not wait, and what they tell of by themselves."""
    yield _call("feed", Feed, "read", _WORDLESS)
    yield Failpoint("feed.jobs", "Tell that there are jobs for workers over HTTP.", _TAKE)
    yield Failpoint("feed.stops", "Tell which attempts of workers over HTTP are over.", _WORDLESS)
    for name in ("take", "take_alone", "leftovers"):
        yield _call("feed", Feed, name, _CALL)
    for name in ("has", "give_up"):
        yield _call("duties", Duties, name, _WORDLESS)
    yield _call("hints", Hints, "recall", _CALL)
    for name in ("keep", "tell"):
        yield _call("hints", Hints, name, _WORDLESS)
    yield Failpoint("hints.hear", "Tell which runs have ended at other processes.", _WORDLESS)


def _all() -> Iterator[Failpoint]:
    yield from _points()
    yield Failpoint("transaction.begin", "Open a transaction.", _CALL)
    yield from _calls("transaction", Transaction)
    yield Failpoint("transaction.commit", "Make a transaction durable.", _CALL)
    yield from _calls("store", Store)
    yield Failpoint("broker.send", "Hand jobs over without waiting.", _CALL)
    yield Failpoint("broker.stop", "Tell workers to stop attempts.", _WORDLESS)
    yield from _calls("broker", Broker)
    for inbox in ("results", "heartbeats"):
        yield from _calls(inbox, Inbox)
        yield Failpoint(f"{inbox}.done", "Say that what was taken is durable.", _WORDLESS)
    yield from _calls("outbox", Outbox)
    yield from _quick_calls()
    yield from _calls("roster", Roster)
    yield from _calls("strangers", Strangers)


FAILPOINTS: Final = {point.name: point for point in _all()}
"""By name, in the order in which a job meets them."""
