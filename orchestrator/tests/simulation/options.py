"""What a seed means: how large the world is, what goes wrong in it, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from orchestrator.model.limits import Limits


class Fault(StrEnum):
    """One way in which the world is not what a program would like it to be."""

    CALL_LOST = "call lost"
    ANSWER_LOST = "answer lost"
    CALL_REPEATED = "call repeated"
    CALL_LATE = "call late"
    WORKER_DIES = "worker dies"
    WORKER_FREEZES = "worker freezes"
    WORKER_IS_MUTE = "worker sends no heartbeat"
    WORKER_LEAVES = "worker leaves"
    WORKER_DISOBEYS = "worker goes on with a job it was told to stop"
    POISON = "action kills its worker"
    FAILURES = "handler fails"
    HANGS = "handler takes too long"
    ODD_RESULTS = "result nobody can take"
    CANCELS = "client cancels"
    REDRIVES = "person settles dead letters"
    REDEFINITIONS = "workflow is defined anew"
    CLOCK_JUMPS = "time of day is set"
    CRASHES = "orchestrator dies"
    RESTARTS = "orchestrator is restarted"
    COMMITS_FAIL = "commit fails"
    COMMITS_UNSURE = "commit is done and reported as failed"
    READS_FAIL = "read fails"
    QUEUE_TINY = "queue holds next to nothing"
    PIPELINE_TINY = "pipeline holds next to nothing"


ACTIONS: Final = ("gather", "weigh", "mix", "bake", "sell")
"""Actions whose handlers do nothing worse than fail."""
POISON_ACTION: Final = "devour"
"""The action that takes its worker down."""
BROKEN_ACTION: Final = "refuse"
"""The action that always fails."""
SLOW_ACTION: Final = "dawdle"
"""The action that may take for ever; its steps have a timeout."""
ALL_ACTIONS: Final = (*ACTIONS, POISON_ACTION, BROKEN_ACTION, SLOW_ACTION)

PAYLOAD_BYTES_MAX: Final = 4_096
LOSSES_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Options:
    """The world of one seed, printed when it fails."""

    seed: int
    faults: frozenset[Fault]
    fault_seconds: float
    """How long things go wrong before everything heals."""
    runs: int
    workers: int
    network_rate: float
    """Share of the calls that meet one of the network's faults."""
    store_rate: float
    """Share of the transactions or reads that meet one of the store's faults."""
    incident_seconds: float
    """Mean time between two incidents: deaths, crashes, jumps of the clock."""
    page: int
    """Rows that the timers read at once."""
    limits: Limits

    def has(self, fault: Fault) -> bool:
        """Whether this kind of fault belongs to the world."""
        return fault in self.faults

    def __str__(self) -> str:
        faults = ", ".join(sorted(self.faults)) or "none"
        return (
            f"seed {self.seed}: {self.runs} runs, {self.workers} workers, {self.fault_seconds:.0f} s of faults "
            f"({faults}); network {self.network_rate:.2f}, store {self.store_rate:.2f}, an incident every "
            f"{self.incident_seconds:.1f} s; queue {self.limits.ready_jobs_max}, page {self.page}, "
            f"batch {self.limits.batch_commands_max}, waiting {self.limits.commands_waiting_max}, "
            f"cached runs {self.limits.open_runs_cached_max}"
        )


def options_of(seed: int) -> Options:
    """Expand a seed. Each world has some of the faults only: together they would hide each other."""
    draw = random.Random(f"options {seed}")
    share = draw.choice((0.1, 0.3, 0.5, 0.9))
    faults = frozenset(fault for fault in Fault if draw.random() < share)
    return Options(
        seed=seed,
        faults=faults,
        fault_seconds=draw.uniform(3, 14),
        runs=draw.randint(3, 14),
        workers=draw.randint(1, 4),
        network_rate=draw.choice((0.02, 0.1, 0.25)),
        store_rate=draw.choice((0.01, 0.05, 0.15)),
        incident_seconds=draw.uniform(0.5, 3),
        page=draw.choice((1, 2, 1_000)),
        limits=_limits(draw, faults),
    )


def _limits(draw: random.Random, faults: frozenset[Fault]) -> Limits:
    return Limits(
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        json_depth_max=8,
        lost_attempts_max=LOSSES_MAX,
        lease_seconds_default=3.0,
        wait_seconds_max=5.0,
        worker_forget_seconds=20.0,
        jobs_per_call_max=draw.choice((2, 100)),
        batch_commands_max=draw.choice((1, 2, 5, 2_000)),
        open_runs_cached_max=draw.choice((1, 3, 1_000)),
        ready_jobs_max=draw.choice((1, 2, 4)) if Fault.QUEUE_TINY in faults else 10_000,
        ready_bytes_max=draw.choice((64, 256)) if draw.random() < 0.3 and Fault.QUEUE_TINY in faults else 1_000_000,
        commands_waiting_max=draw.choice((1, 2, 4)) if Fault.PIPELINE_TINY in faults else 10_000,
        idempotency_seconds=86_400.0 * 30,
        job_bytes_per_call_max=draw.choice((1, 3_000, 1_000_000)),
    )


def definition_of(draw: random.Random, workflow_id: str, faults: frozenset[Fault]) -> dict[str, Any]:
    """Draw a workflow definition, as a user would send it."""
    steps = [_step(draw, faults) for _ in range(draw.randint(1, 4))]
    body: dict[str, Any] = {
        "id": workflow_id,
        "description": f"version {draw.getrandbits(32)}",
        "steps": steps,
        "retry": {
            "maxRetries": draw.choice((0, 1, 2, 3)),
            "delay": draw.choice((0, 0.05, 0.4, 1.5)),
            "backoff": draw.choice(("fixed", "exponential")),
            "maxDelay": 2,
            "jitter": draw.choice((0, 0.5)),
            "nonRetryable": draw.choice(([], ["Hopeless"], ["Hopeless", "WorkerLost"])),
        },
    }
    if Fault.HANGS in faults and draw.random() < 0.3:
        body["timeout"] = draw.choice((2, 6))
    if draw.random() < 0.3:
        for place, step in enumerate(steps):
            step["stepIndex"] = 3 * (len(steps) - place)
    return body


def _step(draw: random.Random, faults: frozenset[Fault]) -> dict[str, Any]:
    action = draw.choice(ACTIONS)
    odd = draw.random()
    if odd < 0.1 and Fault.POISON in faults:
        action = POISON_ACTION
    elif odd < 0.2 and Fault.FAILURES in faults:
        action = BROKEN_ACTION
    elif odd < 0.4 and Fault.HANGS in faults:
        return {"action": SLOW_ACTION, "timeout": draw.choice((0.4, 1.5))}
    step: dict[str, Any] = {"action": action}
    if Fault.HANGS in faults and draw.random() < 0.2:
        step["timeout"] = draw.choice((1, 4))
    if draw.random() < 0.2:
        step["heartbeatTimeout"] = draw.choice((0.5, 1.2))
    return step
