"""What this process knows of workers, told to all others: see `ports.roster`.

These are the workers over HTTP that registered here, and those over Kafka whose signs of life came to this process.

Rule 1: told is what is new, and again what would be over soon: a worker costs a row every few seconds, a step nothing.
Rule 2: a worker over HTTP is there for as long as this process is: what is told of it is soon over. One over Kafka is
        there for as long as it has said itself, whatever becomes of the process that heard it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from orchestrator.app.duties import perform
from orchestrator.app.gateway import Gateway
from orchestrator.app.records import Heard
from orchestrator.app.workers import Worker, WorkerStatus
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.limits import Limits
from orchestrator.model.role import Duty
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.model.worker import About, Transport
from orchestrator.ports.clock import Clock
from orchestrator.ports.duties import Duties
from orchestrator.ports.roster import Presence, Roster

_log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often what is known is compared with what was told."""
LEASE_MIN: Final = 5 * MICROS
"""The shortest time that a word is good for; a worker whose lease is shorter is listed elsewhere for so long."""
TOLD_MAX: Final = 1_000
"""Workers told of at a time."""
_PARTS: Final = 4
"""A word is told again when so many times less than it was good for has gone by."""


@dataclass(slots=True)
class _Known:
    """A worker over Kafka. Times named ``…_on`` are of the monotonic clock, in microseconds."""

    about: About
    registered_on: int
    seen_on: int
    until_on: int
    has_left: bool
    is_full: bool

    def status(self, now_on: int) -> WorkerStatus:
        return WorkerStatus.GONE if self.has_left or self.until_on <= now_on else WorkerStatus.CONNECTED


class _Word(NamedTuple):
    """What is to be told of a worker, or was."""

    about: About
    registered_on: int
    seen_on: int
    until_on: int
    is_draining: bool = False
    has_left: bool = False
    is_full: bool = False


class Attendance:
    """Tells. `run` is its service."""

    def __init__(self, roster: Roster, gateway: Gateway, clock: Clock, limits: Limits, duties: Duties) -> None:
        self._roster = roster
        self._gateway = gateway
        self._clock = clock
        self._limits = limits
        self._duties = duties
        self._known: dict[str, _Known] = {}
        self._told: dict[str, tuple[_Word, int]] = {}
        """What was told last of each worker, and when a later end of it is worth telling."""
        self._presence = round(limits.worker_presence_seconds * MICROS)
        self._cleaned_on = clock.monotonic()

    def heard(self, workers: Iterable[Heard]) -> None:
        """Note signs of life that came through the broker."""
        now_on = self._clock.monotonic()
        # What has waited in the broker for so long says nothing of now, however far apart the clocks of machines are.
        after = self._clock.now() - round(self._limits.worker_forget_seconds * MICROS)
        for worker in workers:
            known = self._known.get(worker.worker_id)
            if worker.produced_at < after or (known is None and len(self._known) >= self._limits.workers_max):
                continue
            is_new = known is None or known.status(now_on) is WorkerStatus.GONE
            self._known[worker.worker_id] = _Known(
                about=worker.about if known is None or known.about != worker.about else known.about,
                registered_on=now_on if known is None or is_new else known.registered_on,
                seen_on=now_on,
                until_on=now_on + worker.good_for,
                has_left=worker.is_leaving,
                is_full=worker.is_full,
            )

    def counts(self) -> Counter[tuple[Transport, WorkerStatus]]:
        """Count the workers that this process tells of; no other process counts the same ones for long."""
        now_on = self._clock.monotonic()
        counts = Counter((Transport.HTTP, worker.status(now_on)) for worker in self._gateway.workers.all())
        counts.update((Transport.KAFKA, known.status(now_on)) for known in self._known.values())
        return counts

    async def run(self) -> None:
        """Serve until cancelled. A failing store is tried again at the next look."""
        failing = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.run_once()
                failing = False
            except OrchestratorError as error:
                if not failing:
                    _log.warning("other processes are not told of workers: %s", error)
                failing = True

    async def run_once(self) -> None:
        """Tell what is worth telling, once."""
        now_on = self._clock.monotonic()
        words = dict(self._words(now_on))
        for worker_id in self._told.keys() - words.keys():
            del self._told[worker_id]
        news = [(worker_id, word) for worker_id, word in words.items() if self._is_news(worker_id, word)]
        for first in range(0, len(news), TOLD_MAX):
            await self._tell(news[first : first + TOLD_MAX])
        self._known = {
            worker_id: known
            for worker_id, known in self._known.items()
            if known.status(now_on) is not WorkerStatus.GONE
        }
        if now_on - self._cleaned_on > self._limits.cleaning_seconds * MICROS:
            self._cleaned_on = now_on
            await perform(self._duties, Duty.CLEANING, self._forget)

    def _words(self, now_on: int) -> Iterator[tuple[str, _Word]]:
        """Give what is known now; of a worker that is known twice, what was seen later."""
        for worker_id, known in self._known.items():
            word = _Word(
                known.about,
                known.registered_on,
                known.seen_on,
                known.until_on,
                has_left=known.has_left,
                is_full=known.is_full,
            )
            here = self._gateway.workers.get(worker_id)
            if here is None or here.seen_on < known.seen_on:
                yield worker_id, word
        now = self._clock.now()
        for worker in self._gateway.workers.all():
            heard = self._known.get(worker.worker_id)
            if heard is None or worker.seen_on >= heard.seen_on:
                yield worker.worker_id, self._word_of(worker, now, now_on)

    def _word_of(self, worker: Worker, now: Time, now_on: int) -> _Word:
        seen_on = now_on if worker.waiting else worker.seen_on
        until_on = min(seen_on + max(worker.lease, LEASE_MIN), now_on + self._presence)
        registered_on = now_on - max(0, now - worker.registered_at)
        is_full = self._gateway.is_full(worker)
        return _Word(worker.about, registered_on, worker.seen_on, until_on, worker.draining, worker.left, is_full)

    def _is_news(self, worker_id: str, word: _Word) -> bool:
        if worker_id not in self._told:
            return True
        told, worth_on = self._told[worker_id]
        if word.about is not told.about or (word.is_draining, word.has_left) != (told.is_draining, told.has_left):
            return True
        if word.is_full and not told.is_full:
            # The other way round it waits for the next word: whoever takes jobs up is soon done with what waits.
            return True
        return word.until_on >= worth_on and not word.has_left

    async def _tell(self, news: Sequence[tuple[str, _Word]]) -> None:
        now_on = self._clock.monotonic()
        asked = await self._roster.tell([_presence(worker_id, word, now_on) for worker_id, word in news])
        for worker_id, word in news:
            self._told[worker_id] = word, word.until_on + max(1, (word.until_on - now_on) // _PARTS)
        for worker_id in asked:
            if self._gateway.workers.get(worker_id) is not None:
                self._gateway.drain(worker_id)

    async def _forget(self) -> None:
        within = Duration(round(self._limits.worker_forget_seconds * MICROS))
        while await self._roster.forget(within, TOLD_MAX) == TOLD_MAX:
            continue


def _presence(worker_id: str, word: _Word, now_on: int) -> Presence:
    return Presence(
        worker_id=worker_id,
        about=word.about,
        registered_ago=Duration(now_on - word.registered_on),
        seen_ago=Duration(now_on - word.seen_on),
        good_for=Duration(word.until_on - now_on),
        is_draining=word.is_draining,
        has_left=word.has_left,
        is_full=word.is_full,
    )
