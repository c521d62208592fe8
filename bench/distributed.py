"""The benchmarks on Kafka, PostgreSQL and Redis; see README.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bare
from cost import children_cpu
from installation import HERE, Installation, Services, installation, services, without_worker
from load import Load
from run import (
    HOST,
    IN_FLIGHT_OF_SDKS,
    PAYLOAD,
    RUNS_OF_SDKS,
    SDKS_HEADER,
    STEPS,
    WARM_RUNS_OF_SDKS,
    define,
    sdk_row,
)

from stack.examples import LANGUAGES

WARM = ((1_000, 70_000), (100, 2_000))
"""Runs in flight, and how many, before anything is measured. The broker's compiler works through the first 350,000
steps, and takes as much as the broker itself; a service that runs for days does not pay for it."""
COLUMNS = ("server", "worker", "client", "kafka", "postgres", "redis")
HEADER = "steps/s  | CPU-s/1k | " + " | ".join(f"{name:>8}" for name in COLUMNS) + " | p50 ms   | p99 ms"
COUNTED = "transactions | flushes | WAL bytes | records | Kafka requests"


@dataclass
class Figures:
    """What one measurement gave."""

    steps_per_s: float
    cpu: dict[str, float]
    """Seconds per 1,000 steps, by part."""
    p50: float
    p99: float

    def row(self) -> str:
        """Write a table row."""
        parts = " | ".join(f"{self.cpu[name]:8.3f}" for name in COLUMNS)
        return f"{self.steps_per_s:8,.0f} | {sum(self.cpu.values()):8.3f} | {parts} | {self.p50:8.2f} | {self.p99:8.2f}"


def measure(at: Installation, in_flight: int, total: int) -> Figures:
    """Keep runs in flight until ``total`` have completed."""
    load = Load(HOST, at.ports, "bench", PAYLOAD)
    before = at.cpu()
    seconds = asyncio.run(load.run(in_flight, total))
    thousands = total * STEPS / 1_000
    cpu = {name: (after - before[name]) / thousands for name, after in at.cpu().items()}
    return Figures(total * STEPS / seconds, cpu, load.percentile(0.5), load.percentile(0.99))


def counted(at: Installation, in_flight: int, total: int) -> str:
    """Measure once more, and give what a step took of each part, as a table row."""
    before = at.counts()
    asyncio.run(Load(HOST, at.ports, "bench", PAYLOAD).run(in_flight, total))
    one = at.counts().since(before)
    steps = total * STEPS
    return (
        f"{one.transactions / steps:12.3f} | {one.flushes / steps:7.3f} | {one.wal_bytes / steps:9,.0f} "
        f"| {one.records / steps:7.2f} | {one.requests / steps:14.3f}"
    )


def warm(at: Installation) -> None:
    """Define the workflow, and let every part get used to it."""
    asyncio.run(define(at.ports[0], "bench", STEPS))
    for in_flight, total in WARM:
        measure(at, in_flight, total)


def throughput(folder: Path, rounds: int) -> None:
    """Many runs in flight."""
    print(f"\n## Throughput: {STEPS} no-op steps, {len(PAYLOAD)} bytes\n\nin flight | {HEADER}")
    kinds = ((1_000, 20_000), (100, 8_000))
    with installation(folder, actions=STEPS) as at:
        warm(at)
        for _ in range(rounds):
            for in_flight, total in kinds:
                print(f"{in_flight:9,} | {measure(at, in_flight, total).row()}", flush=True)
        print(f"\nper step\n\nin flight | {COUNTED}")
        for in_flight, total in kinds:
            print(f"{in_flight:9,} | {counted(at, in_flight, total)}", flush=True)


def latency(folder: Path, rounds: int) -> None:
    """One run at a time."""
    print(f"\n## One run at a time: {STEPS} steps\n\n{HEADER}")
    with installation(folder, actions=STEPS) as at:
        warm(at)
        measure(at, 1, 200)
        for _ in range(rounds):
            print(measure(at, 1, 1_000).row(), flush=True)
        print(f"\nper step\n\n{COUNTED}\n{counted(at, 1, 500)}", flush=True)


def footprint(folder: Path, rounds: int) -> None:
    """Memory, before and after work."""
    print("\n## Resident memory, MiB; what processes share counts once\n\n")
    names = ("server", "worker", "kafka", "postgres", "redis")
    print("runs done | " + " | ".join(f"{name:>8}" for name in names))
    with installation(folder, actions=STEPS) as at:
        asyncio.run(define(at.ports[0], "bench", STEPS))
        done = 0
        for runs in (100, *([20_000] * rounds)):
            measure(at, min(runs, 1_000), runs)
            done += runs
            memory = at.memory()
            print(f"{done:9,} | " + " | ".join(f"{memory[name]:8,.0f}" for name in names), flush=True)


def replicas(folder: Path, rounds: int) -> None:
    """One, two and three servers: what each adds in cost on the same cores."""
    print("\n## Servers over one installation, 1,000 runs in flight\n\nservers   | " + HEADER)
    for servers in (1, 2, 3):
        with installation(folder / str(servers), actions=STEPS, servers=servers) as at:
            warm(at)
            for _ in range(rounds):
                print(f"{servers:9,} | {measure(at, 1_000, 15_000).row()}", flush=True)


def sdks(folder: Path, rounds: int) -> None:
    """One worker of each SDK after the other, over Kafka."""
    print(f"\n## Workers of each SDK over Kafka: {IN_FLIGHT_OF_SDKS:,} runs in flight\n\n{SDKS_HEADER}")
    with without_worker(folder) as at:
        asyncio.run(define(at.ports[0], "bench", STEPS))
        for _ in range(rounds):
            for language in LANGUAGES:
                with at.worker(language, STEPS):
                    measure(at, IN_FLIGHT_OF_SDKS, WARM_RUNS_OF_SDKS)
                    figures = measure(at, IN_FLIGHT_OF_SDKS, RUNS_OF_SDKS)
                    memory = at.memory()["worker"]
                    print(sdk_row(language, figures.steps_per_s, figures.cpu["worker"], memory), flush=True)


def floor(folder: Path, rounds: int) -> None:
    """The same way with nothing around it, for a comparison on the same machine; see `bare.py`."""
    print("\n## The floor: Kafka and PostgreSQL alone\n\nin flight | " + HEADER)
    kinds = ((1_000, 20_000), (100, 8_000), (1, 1_000))
    with services(folder) as at:
        at.postgres.execute(bare.SCHEMA)
        at.make_topics(bare.JOBS, bare.RESULTS, partitions=bare.PARTITIONS)
        with at.process("worker", [sys.executable, bare.__file__, "worker", at.kafka.url]):
            for in_flight, total in WARM:
                bare_row(at, in_flight, total)
            for _ in range(rounds):
                for in_flight, total in kinds:
                    print(f"{in_flight:9,} | {bare_row(at, in_flight, total).row()}", flush=True)


def bare_row(at: Services, in_flight: int, total: int) -> Figures:
    """Measure `bare.py` once."""
    before, own = at.cpu(), children_cpu()
    command = [sys.executable, bare.__file__, "orchestrator", at.kafka.url, at.postgres.url, str(in_flight), str(total)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, p50, p99 = map(float, printed.split())
    thousands = total * STEPS / 1_000
    cpu = {name: (after - before[name]) / thousands for name, after in at.cpu().items()}
    cpu["server"] = (children_cpu() - own) / thousands
    return Figures(total * STEPS / seconds, dict.fromkeys(COLUMNS, 0.0) | cpu, p50 * 1_000, p99 * 1_000)


PARTS: dict[str, Callable[[Path, int], None]] = {
    "throughput": throughput,
    "latency": latency,
    "footprint": footprint,
    "replicas": replicas,
    "sdks": sdks,
    "floor": floor,
}


def main() -> None:
    """Run the parts that are asked for, each on an installation of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part only; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in arguments.only or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-", dir=HERE))
        try:
            PARTS[name](folder, arguments.rounds)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
