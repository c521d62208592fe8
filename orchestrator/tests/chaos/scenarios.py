"""The crash table: what is played, on which stage, for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from orchestrator.adapters.failpoints.names import DELAY, DONE_THEN_ERROR, DONE_THEN_KILL, ERROR, KILL
from tests.chaos import faults, kinds
from tests.chaos.kinds import Kind
from tests.chaos.stage import Setup, Stage, failpoints_with, plays

PILLS: Final = (120, 121)
"""The numbers of the runs that kill their worker: two at once, among neighbours."""
POISONED: Final[tuple[Kind, ...]] = tuple(
    "poison" if number in PILLS else ("plain", "busy")[number % 2] for number in range(20_000)
)
POISON_LEASE_SECONDS: Final = 10.0
"""Longer than a group takes to notice that a member has died, as it is by default."""
POISON_SLOTS: Final = 10
"""As by default."""
PLENTY: Final = Setup(workers=1, http=2, with_redis=True)
"""All that there can be, so that a process comes to every failpoint."""
CHECKS: Final = ("batch.committed", "batch.published")
"""Where a failure cannot be told to anybody: the process ends."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    name: str
    title: str
    fault: Callable[[Stage], None]
    per_second: float = 15.0
    runs: int | None = None
    """How many runs; as many as fit into the time of the fault where it is None."""
    mix: tuple[Kind, ...] = kinds.MIX
    setup: Setup = field(default_factory=Setup)
    failpoints: tuple[str, ...] = ()
    """Those that it walks over."""


def scenarios(runs: int) -> list[Scenario]:
    """Give all of them; ``runs`` is how many the largest has."""
    return [
        *walks(),
        Scenario(
            "postgres", "PostgreSQL restarted every few seconds, in six ways", plays(faults.postgres_restarts, 45)
        ),
        Scenario("broker", "broker killed and restarted every few seconds", plays(faults.broker_restarts, 45)),
        Scenario(
            "brokers",
            "each of three brokers killed, then each stopped, while the others go on",
            plays(faults.brokers_of_a_cluster),
            setup=Setup(with_cluster=True),
        ),
        Scenario("broker-down", "broker away for a minute", plays(faults.broker_down, 60)),
        Scenario("broker-frozen", "broker frozen, connections open", plays(faults.broker_frozen, 12)),
        Scenario("redelivery", "all results delivered again from offset 0", plays(faults.results_again)),
        Scenario(
            "redis", "Redis flushed, killed, frozen", plays(faults.redis_troubles, 30), setup=Setup(with_redis=True)
        ),
        Scenario("workers", "workers killed with jobs in hand", plays(faults.workers_killed, 45)),
        Scenario("worker-frozen", "worker frozen past its lease, then continued", plays(faults.worker_frozen)),
        Scenario(
            "http-workers",
            "workers over HTTP and over Kafka, killed and frozen",
            plays(faults.workers_killed_or_frozen, 60),
            setup=Setup(workers=1, http=2),
        ),
        Scenario("zombie", "replica frozen past its leases, then continued", plays(faults.zombie, 35)),
        Scenario(
            "http-zombie",
            "replica with workers over HTTP frozen past their leases, then continued",
            plays(faults.zombie, 12),
            setup=Setup(workers=0, http=2),
        ),
        Scenario("replicas", "replicas killed every few seconds", plays(faults.replicas_killed, 30)),
        Scenario(
            "http-replicas",
            "replicas killed that workers over HTTP are at, or kept away past the leases",
            plays(faults.replicas_killed_or_away, 60),
            setup=Setup(workers=0, http=3),
        ),
        Scenario("rolling", "replicas restarted one after another", plays(faults.rolling_restart), setup=Setup(http=2)),
        Scenario(
            "repeats",
            "results repeated and out of order (20 %)",
            plays(faults.results_repeated, 600),
            per_second=40,
            setup=Setup(repeats=0.2, echo=0.2),
        ),
        *(
            Scenario(
                name,
                f"poison pill that kills its worker, among busy neighbours: {whose}",
                plays(faults.poison, len(PILLS)),
                per_second=24,
                mix=POISONED,
                setup=Setup(
                    lost_attempts_max=3,
                    slots=POISON_SLOTS,
                    lease_seconds=POISON_LEASE_SECONDS,
                    workers=workers,
                    http=http,
                ),
            )
            for name, whose, workers, http in (
                ("poison", "workers over Kafka", 2, 0),
                ("poison-http", "workers over HTTP", 0, 2),
                ("poison-both", "workers over Kafka and over HTTP", 2, 2),
            )
        ),
        Scenario(
            "everything",
            f"{runs:,} runs, and every part is killed",
            plays(faults.every_part_killed, runs),
            per_second=400,
            runs=runs,
            setup=Setup(replicas=3, workers=2, http=2, with_redis=True),
        ),
    ]


def walks(pattern: str = "*") -> list[Scenario]:
    """Give the scenarios that walk over failpoints, over those with such a name; without those that meet none."""
    rows = (
        ("kill", "`kill -9`", KILL, _once),
        ("done-then-kill", "done and then `kill -9`", DONE_THEN_KILL, _once),
        ("error", "error", ERROR, _often),
        ("doubt", "done but reported as failed", DONE_THEN_ERROR, _often),
        ("delay", "delay of 0.2 s", f"{DELAY}:0.2", _often),
    )
    found: list[Scenario] = []
    for name, what, action, walk in rows:
        names = tuple(one for one in failpoints_with(action.partition(":")[0]) if fnmatchcase(one, pattern))
        if names:
            fault = plays(walk, action, names)
            found.append(Scenario(name, f"each failpoint, {what}", fault, setup=PLENTY, failpoints=names))
    return found


def _once(stage: Stage, action: str, names: Sequence[str]) -> None:
    faults.each_failpoint_once(stage, action, names)


def _often(stage: Stage, action: str, names: Sequence[str]) -> None:
    ends = [name for name in names if action == ERROR and name in CHECKS]
    if others := [name for name in names if name not in ends]:
        faults.each_failpoint_often(stage, action, 20, others)
    faults.each_failpoint_once(stage, action, ends)
