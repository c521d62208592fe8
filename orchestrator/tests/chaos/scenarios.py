"""The crash table: what is played, on which stage, for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.settings import Settings
from tests.chaos import faults, kinds
from tests.chaos.kinds import Kind
from tests.chaos.stage import Stage, failpoints_with, plays

POISONED: Final[tuple[Kind, ...]] = ("plain", "poison", "poison", *("plain", "slow") * 10_000)
"""Two pills, and then neighbours only; runs are numbered from 1."""
CHECKS: Final = ("batch.committed", "batch.published")
"""Where a failure cannot be told to anybody: the process ends."""
HAS_REDIS: Final = "redis" in Settings.__struct_fields__


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
    stage: dict[str, Any] = field(default_factory=dict)


def scenarios(runs: int) -> list[Scenario]:
    """Give all of them; ``runs`` is how many the largest has."""
    return [
        Scenario("kill", "each failpoint, `kill -9`", plays(faults.each_failpoint_once, "kill")),
        Scenario(
            "done-then-kill",
            "each failpoint, done and then `kill -9`",
            plays(faults.each_failpoint_once, "done-then-kill"),
        ),
        Scenario("error", "each failpoint, error", _errors),
        Scenario(
            "doubt",
            "each failpoint, done but reported as failed",
            plays(faults.each_failpoint_often, "done-then-error", 20),
        ),
        Scenario("delay", "each failpoint, delay of 0.2 s", plays(faults.each_failpoint_often, "delay:0.2", 20)),
        Scenario(
            "postgres", "PostgreSQL restarted every few seconds, in six ways", plays(faults.postgres_restarts, 45)
        ),
        Scenario("broker", "broker killed and restarted every few seconds", plays(faults.broker_restarts, 45)),
        Scenario("broker-down", "broker away for a minute", plays(faults.broker_down, 60)),
        Scenario("broker-frozen", "broker frozen, connections open", plays(faults.broker_frozen, 12)),
        Scenario("redelivery", "all results delivered again from offset 0", plays(faults.results_again)),
        *(
            []
            if not HAS_REDIS
            else [
                Scenario(
                    "redis",
                    "Redis flushed, killed, frozen",
                    plays(faults.redis_troubles, 30),
                    stage={"with_redis": True},
                )
            ]
        ),
        Scenario("workers", "workers killed with jobs in hand", plays(faults.workers_killed, 45)),
        Scenario("worker-frozen", "worker frozen past its lease, then continued", plays(faults.worker_frozen)),
        Scenario("zombie", "replica frozen past its leases, then continued", plays(faults.zombie, 35)),
        Scenario("replicas", "replicas killed every few seconds", plays(faults.replicas_killed, 30)),
        Scenario("rolling", "replicas restarted one after another", plays(faults.rolling_restart)),
        Scenario(
            "repeats",
            "results repeated and out of order (20 %)",
            plays(faults.results_repeated, 600),
            per_second=40,
            stage={"repeats": 0.2, "echo": 0.2},
        ),
        Scenario(
            "poison",
            "poison pill that kills its worker, among busy neighbours",
            plays(faults.poison, 2),
            per_second=8,
            mix=POISONED,
            stage={"lost_attempts_max": 3},
        ),
        Scenario(
            "everything",
            f"{runs:,} runs, and every part is killed",
            plays(faults.every_part_killed, runs),
            per_second=400,
            runs=runs,
            stage={"replicas": 3, "workers": 3},
        ),
    ]


def _errors(stage: Stage) -> None:
    names = [name for name in failpoints_with("error") if name not in CHECKS]
    faults.each_failpoint_often(stage, "error", 20, names)
    faults.each_failpoint_once(stage, "error", list(CHECKS))
