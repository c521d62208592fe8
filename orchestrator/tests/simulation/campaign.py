"""Many seeds, one after the other, and whether together they have met everything that can go wrong."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

from orchestrator.model import event
from orchestrator.model.job import Rejection
from tests.simulation.options import Fault
from tests.simulation.process import POINTS
from tests.simulation.simulation import Outcome, simulate

SEEDS: Final = int(os.environ.get("SIMULATION_SEEDS", "80"))
"""How many seeds are run, from 0 on."""
SEED: Final = os.environ.get("SIMULATION_SEED")
"""The one seed to run in their place."""
REGRESSIONS: Final = Path(__file__).with_name("regressions.txt")

_COUNTED_AS: Final[dict[Fault, tuple[str, ...]]] = {
    Fault.WORKER_DIES: ("worker died with jobs in hand",),
    Fault.WORKER_FREEZES: ("worker came back as a zombie",),
    Fault.WORKER_IS_MUTE: ("worker with jobs sent no heartbeats",),
    Fault.WORKER_LEAVES: ("worker left with jobs in hand", "worker left with empty hands"),
    Fault.POISON: ("poison killed its worker", "suspect ran alone"),
    Fault.HANGS: ("AttemptTimedOut", "RunTimedOut"),
    Fault.CANCELS: ("run was cancelled", "worker was told to stop a job"),
    Fault.REDRIVES: ("dead letter was redriven", "dead letter was discarded", "answered dead-letter-settled"),
    Fault.REDEFINITIONS: ("workflow has another version",),
    Fault.CLOCK_JUMPS: ("clock was set forward", "clock was set back"),
    Fault.CRASHES: ("orchestrator died between two batches", *(f"orchestrator died at {point}" for point in POINTS)),
    Fault.RESTARTS: ("orchestrator was restarted",),
    Fault.QUEUE_TINY: ("jobs waited in the store",),
    Fault.PIPELINE_TINY: ("answered busy",),
}
_ALSO: Final = (
    *(f"rejected: {rejection}" for rejection in Rejection),
    *(kind.__name__ for kind in event.Event.__args__),
    "answered idempotency-conflict",
    "answered run-finished",
    "answered unavailable",
    "attempt handed out again by a new process",
    "handler asked for a delay",
    "handler failed",
    "handler failed for good",
    "handler failed with a type of error",
    "job was lost on its way to the worker",
    "key was used again",
    "key was used for something else",
    "lease outlived its orchestrator",
    "odd result: another run",
    "odd result: another step",
    "odd result: later attempt",
    "odd result: no job",
    "odd result: no job id",
    "odd result: no result",
    "odd result: too deep",
    "odd result: too large",
    "odd result: wrong status",
    "worker was not known",
    "worker was told that a job is not its own",
)
SOMETIMES: Final = (*(name for fault in Fault for name in _COUNTED_AS.get(fault, (fault,))), *_ALSO)
"""What has to happen at least once in a campaign: a fault that never strikes proves nothing."""


@dataclass
class Campaign:
    """The sum of many seeds."""

    failed: list[Outcome] = field(default_factory=list)
    sometimes: Counter[str] = field(default_factory=Counter)
    seeds: int = 0
    runs: int = 0
    virtual_seconds: float = 0.0
    seconds: float = 0.0

    def run(self, seeds: Iterable[int], failures_max: int = 3) -> Campaign:
        """Run seeds until too many have failed."""
        began = perf_counter()
        for seed in seeds:
            outcome = simulate(seed)
            self.seeds += 1
            self.runs += outcome.runs
            self.virtual_seconds += outcome.virtual_seconds
            self.sometimes += outcome.sometimes
            if outcome.violations:
                self.failed.append(outcome)
                if len(self.failed) >= failures_max:
                    break
        self.seconds = perf_counter() - began
        return self

    def missed(self) -> list[str]:
        """List what never happened."""
        return [name for name in SOMETIMES if not self.sometimes[name]]

    def summary(self) -> str:
        """Give the figures."""
        total = f"{self.seeds:,} seeds, {self.runs:,} runs, {self.virtual_seconds:,.0f} virtual seconds"
        verdict = f"{total} in {self.seconds:.0f} s, {len(self.failed)} seeds with violations"
        return "\n".join([verdict, *(f"{count:9,} {name}" for name, count in sorted(self.sometimes.items()))])


def regressions() -> list[int]:
    """Read the seeds that have found something once."""
    lines = (line.partition("#")[0].strip() for line in REGRESSIONS.read_text("utf-8").splitlines())
    return [int(line) for line in lines if line]


if __name__ == "__main__":
    campaign = Campaign().run(range(SEEDS))
    print("\n".join([campaign.summary(), *(outcome.report() for outcome in campaign.failed)]))  # noqa: T201
