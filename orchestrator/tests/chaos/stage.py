"""One installation under load: faults are played on it, it heals, comes to rest, and is checked."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from orchestrator.adapters.failpoints.names import FAILPOINTS
from tests.chaos import kinds, store
from tests.chaos.checker import Verdict, check
from tests.chaos.child import Child, until
from tests.chaos.client import Clients
from tests.chaos.installation import LEASE_SECONDS, LOST_ATTEMPTS_MAX, SLOTS, Installation
from tests.chaos.journal import Journal
from tests.chaos.kinds import Kind
from tests.chaos.store import Kept

REST_SECONDS = 300.0
"""How long after the last fault everything may take to end. A quiet machine needs a tenth of it."""
CHATTER_SECONDS = 0.4
_MET = re.compile(r"failpoint ([a-z_.]+): ")


@dataclass(frozen=True)
class Setup:
    """What there is of each kind, and how it is set."""

    replicas: int = 2
    """Orchestrators."""
    workers: int = 2
    """Over Kafka, with the SDK; one that knows three fields is there always."""
    http: int = 0
    """Workers over HTTP with the SDK, each at one of the replicas by turns."""
    repeats: float = 0.05
    """The part of its answers that the plain worker gives twice."""
    echo: float = 0.0
    """The part of all results that is written again."""
    with_redis: bool = False
    with_cluster: bool = False
    """Three brokers with three copies in place of a single one."""
    lost_attempts_max: int = LOST_ATTEMPTS_MAX
    lease_seconds: float = LEASE_SECONDS
    slots: int = SLOTS


class Stage:
    """An installation, its clients, and what was done to it."""

    def __init__(self, folder: Path, seed: int, setup: Setup = Setup()) -> None:
        self.random = random.Random(seed)
        self.setup = setup
        self.parts = Installation(
            folder,
            with_redis=setup.with_redis,
            with_cluster=setup.with_cluster,
            lost_attempts_max=setup.lost_attempts_max,
            lease_seconds=setup.lease_seconds,
            slots=setup.slots,
        )
        self.clients = Clients(self._ports, seed)
        self.faults: Counter[str] = Counter()
        self.wrong: list[str] = []
        """Violations that are seen while faults are played."""
        self.remarks: list[str] = []
        """Figures that a fault has found."""
        self.seconds: dict[str, float] = {}
        """How long the phases of the play took."""
        self.look_closer: Callable[[Kept, Journal], list[str]] = lambda kept, journal: []
        """What else is to be checked once everything has come to rest."""
        self._is_over = threading.Event()
        self._versions = 0

    def _ports(self) -> list[int]:
        return [self.parts.port_of(replica) for replica in self.parts.replicas]

    @contextlib.contextmanager
    def open(self) -> Iterator[Stage]:
        """Start everything, with the workflows defined."""
        with self.parts.running():
            for number in range(self.setup.replicas):
                self.parts.replica("abc"[number])
            for number in range(self.setup.workers):
                self.parts.worker(f"worker-{number + 1}")
            for number in range(self.setup.http):
                self.parts.http_worker(f"http-{number + 1}", self.parts.replicas[number % self.setup.replicas])
            self.parts.wait_until_ready()
            # Now there are topics: a plain client that does not find its topic looks again after minutes.
            self.parts.foreign_worker("foreign-1", self.setup.repeats)
            if self.setup.echo:
                self.parts.echo(self.setup.echo)
            self.clients.define()
            chatter = threading.Thread(target=self._chatter, daemon=True)
            chatter.start()
            try:
                yield self
            finally:
                self._is_over.set()
                self.clients.finish()
                chatter.join(30)

    def _chatter(self) -> None:
        """Do now and then what people do: settle dead letters, look at workers, make versions of a workflow."""
        while not self._is_over.wait(CHATTER_SECONDS):
            self.clients.settle()
            self.clients.call("GET", "/metrics")
            self.clients.look_at_workers()
            self._versions += 1
            step = {"action": "prepare"}
            self.clients.call(
                "POST", "/workflow/", {"id": "other", "description": f"{self._versions}", "steps": [step]}
            )

    # --- a play ------------------------------------------------------------------------------------------------------

    def play(
        self,
        fault: Callable[[Stage], None],
        per_second: float = 15.0,
        runs: int = 10_000_000,
        mix: tuple[Kind, ...] = kinds.MIX,
    ) -> Verdict:
        """Play a fault under load, heal, wait for rest, and check everything that has been since the stage was opened.

        Args:
            fault: does it, and returns when it is over.
            per_second: runs that are asked for in a second.
            runs: how many at most; as many as fit into the time of the fault by default.
            mix: the kinds of runs, by turns.
        """
        self.clients.start(runs, per_second, mix)
        with self._timed("fault"):
            fault(self)
        with self._timed("healing"):
            self.clients.rest()
            self.parts.heal()
        with self._timed("rest"):
            self._come_to_rest()
        found = check(
            self.parts.postgres.url,
            self.parts.kafka.url,
            self.parts.topics.dead_letters,
            self.clients.asked.values(),
            self.parts.journal(),
            self.setup.lost_attempts_max,
            self.look_closer,
        )
        found.violations = [*self.wrong, *self.clients.wrong, *self._crashes(), *found.violations]
        return found

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        begun = monotonic()
        yield
        self.seconds[phase] = monotonic() - begun

    def _crashes(self) -> list[str]:
        """Name the processes that a signal has ended which nobody had sent; note those that gave a reason."""
        ends = self.parts.ends()
        for name, code in ends:
            if code > 0:
                self.note(f"{name} gave up with code {code}")
        return [f"{name} crashed: signal {-code}" for name, code in ends if code < 0]

    def _come_to_rest(self) -> None:
        if not until(lambda: self.clients.is_done, REST_SECONDS):
            left = [one.number for one in self.clients.asked.values() if not one.run_ids]
            self.wrong.append(f"I1: {len(left)} triggers were never answered: {left[:20]}")
        deadline = monotonic() + REST_SECONDS
        while found := self._waiting():
            if monotonic() > deadline:
                self.wrong.append(f"I12: {len(found)} are stuck: {found[:20]}")
                return
            sleep(0.25)

    def _waiting(self) -> list[str]:
        return asyncio.run(store.waiting(self.parts.postgres.url))

    # --- what faults ask ---------------------------------------------------------------------------------------------

    def note(self, fault: str, times: int = 1) -> None:
        """Count a fault."""
        self.faults[fault] += times

    def for_seconds(self, seconds: float, pause: float) -> Iterator[int]:
        """Give turns with a pause after each until the time is over; one at least."""
        over = monotonic() + seconds
        turn = 0
        while True:
            yield turn
            turn += 1
            sleep(pause * self.random.uniform(0.5, 1.5))
            if monotonic() > over:
                return

    def met(self) -> Counter[str]:
        """Count the failpoints that acted, by what the logs of the replicas say."""
        return Counter(name for replica in self.parts.replicas for name in _MET.findall(replica.said()))

    def answered(self, more: int, seconds: float = 240.0) -> None:
        """Wait until so many more runs were accepted: the installation is at work."""
        before = self._accepted()
        if not until(lambda: self._accepted() >= before + more, seconds):
            self.wrong.append(f"I13: fewer than {more} runs were accepted within {seconds:g} s")

    def ended(self, more: int, seconds: float = 120.0) -> float:
        """Wait until so many more runs have ended, which takes every part; give the seconds that it took."""
        before = self._ended()
        begun = monotonic()
        if not until(lambda: self._ended() >= before + more, seconds, look=0.25):
            self.wrong.append(f"I13: fewer than {more} runs ended within {seconds:g} s")
        return monotonic() - begun

    def _ended(self) -> int:
        return int(self.parts.postgres.execute("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL") or 0)

    def _accepted(self) -> int:
        return sum(bool(one.run_ids) for one in list(self.clients.asked.values()))

    def one_of(self, children: list[Child]) -> Child:
        """Draw a process."""
        return self.random.choice(children)


EMBEDDED_ONLY = frozenset({"store.pending", "store.leased", "store.payloads"})
"""What a process over Kafka never comes to."""


def failpoints_with(action: str) -> list[str]:
    """List the failpoints that a process over Kafka comes to, and that know an action."""
    return [name for name, point in FAILPOINTS.items() if action in point.actions and name not in EMBEDDED_ONLY]


def plays(fault: Callable[..., None], *arguments: Any, **named: Any) -> Callable[[Stage], None]:
    """Bind the arguments of a fault."""
    return lambda stage: fault(stage, *arguments, **named)
