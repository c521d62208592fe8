"""What is armed: read from text, counted as it is met, and carried out."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

import msgspec

from orchestrator.adapters.failpoints.names import (
    DELAY,
    DONE_THEN_ERROR,
    DONE_THEN_KILL,
    ERROR,
    FAILPOINTS,
    KILL,
)
from orchestrator.model.errors import Unavailable

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_FORM: Final = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>[a-z-]+)(:(?P<seconds>[0-9]+(\.[0-9]+)?))?(@(?P<nth>[0-9]{1,9})(?P<each>n)?)?"
)
_EXAMPLE: Final = "batch.committed=kill@7"


class FailpointsNotValid(ValueError):
    """The text names what is not there, or asks for what cannot be done there."""


class Armed(msgspec.Struct, frozen=True):
    """One fault that waits for its time."""

    action: str
    nth: int
    """The time at which it happens, from 1."""
    each: bool = False
    """Whether it happens again each so many times."""
    seconds: float = 0.0
    """How long a delay is."""

    def is_due(self, time: int) -> bool:
        """Whether it happens at this time."""
        return time % self.nth == 0 if self.each else time == self.nth


class Failpoints:
    """The armed failpoints of a process, and how often each was met."""

    def __init__(self, armed: dict[str, list[Armed]]) -> None:
        self._armed = armed
        self.met: Counter[str] = Counter()
        """How often each armed failpoint was met."""

    @classmethod
    def parse(cls, text: str) -> Failpoints:
        """Read ``name=action@nth, …``: the first time when nth is left out, each nth time with ``@7n``.

        Raises:
            FailpointsNotValid: it cannot be read, or asks for what is not there.
        """
        armed: defaultdict[str, list[Armed]] = defaultdict(list)
        for one in filter(None, (part.strip() for part in text.split(","))):
            name, found = _read(one)
            armed[name].append(found)
        return cls(dict(armed))

    def __contains__(self, name: str) -> bool:
        return name in self._armed

    def warn(self) -> None:
        """Say in the log that this process fails on purpose."""
        _log.warning(
            "FAILPOINTS ARE ARMED: this process will fail on purpose at %s; unset ORCHESTRATOR_FAILPOINTS unless this "
            "is a test",
            ", ".join(sorted(self._armed)),
        )

    def due(self, name: str) -> Armed | None:
        """Count a failpoint as met; give what happens there this time."""
        self.met[name] += 1
        times = self.met[name]
        for one in self._armed.get(name, ()):
            if one.is_due(times):
                _log.warning("failpoint %s: %s at time %d", name, one.action, times)
                return one
        return None

    def reach(self, name: str) -> None:
        """Pass a point where nothing can wait: a delay there holds up the whole process."""
        due = self.due(name)
        if due is not None:
            before(name, due)

    def through(self, name: str, call: Callable[[], _T], failed: _T) -> _T:
        """Make a call that does not wait, and give its answer, or ``failed``; a delay holds up the whole process."""
        due = self.due(name)
        if due is None:
            return call()
        if due.action == ERROR:
            return failed
        before(name, due)
        answer = call()
        if due.action == DONE_THEN_KILL:
            _die()
        return failed if due.action == DONE_THEN_ERROR else answer

    async def enter(self, name: str) -> Armed | None:
        """Begin a call; give what `leave` is to be told when it is done."""
        due = self.due(name)
        if due is not None and due.action == DELAY:
            await asyncio.sleep(due.seconds)
        elif due is not None:
            before(name, due)
        return due

    @staticmethod
    def leave(name: str, due: Armed | None) -> None:
        """End a call that was done."""
        if due is None:
            return
        if due.action == DONE_THEN_ERROR:
            raise _failure(name)
        if due.action == DONE_THEN_KILL:
            _die()


def before(name: str, due: Armed) -> None:
    """Carry out what happens before anything is done."""
    if due.action == KILL:
        _die()
    if due.action == ERROR:
        raise _failure(name)
    if due.action == DELAY:
        time.sleep(due.seconds)


def _failure(name: str) -> Unavailable:
    return Unavailable(f"failpoint {name}: it failed on purpose")


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    # The signal is on its way to this very process.
    while True:
        signal.pause()


def _read(text: str) -> tuple[str, Armed]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise FailpointsNotValid(f"{text!r} is no failpoint: write NAME=ACTION@NTH, such as {_EXAMPLE}")
    name, action, seconds = found["name"], found["action"], found["seconds"]
    point = FAILPOINTS.get(name)
    if point is None:
        raise FailpointsNotValid(f"there is no failpoint {name!r}; there are {', '.join(FAILPOINTS)}")
    if action not in point.actions:
        raise FailpointsNotValid(f"{name} takes {', '.join(point.actions)}, and no {action!r}")
    if (seconds is None) == (action == DELAY):
        raise FailpointsNotValid(f"{text!r}: a delay needs seconds, such as delay:0.5, and nothing else takes any")
    nth = int(found["nth"] or 1)
    if nth == 0:
        raise FailpointsNotValid(f"{text!r}: the first time is 1")
    return name, Armed(action, nth, found["each"] is not None, float(seconds or 0))
