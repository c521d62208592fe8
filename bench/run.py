"""The benchmarks of the embedded profile; see README.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cost import cpu_of, own_cpu, rss_of
from fill import fill
from load import Connection, Load
from workers import command

from stack.examples import LANGUAGES

HERE = Path(__file__).parent
HOST = "127.0.0.1"
PAYLOAD = "x" * 100
STEPS = 5
STOP_SECONDS_MAX = 30
PARTS = ("throughput", "latency", "steps", "stored", "sdks")


@dataclass
class Site:
    """A server and a worker, each in its process."""

    folder: Path
    port: int
    server: subprocess.Popen[bytes]
    worker: subprocess.Popen[bytes]

    def cpu(self) -> tuple[float, float, float]:
        """Give the CPU seconds spent so far by server, worker and this process."""
        return cpu_of(self.server.pid), cpu_of(self.worker.pid), own_cpu()

    def rss(self) -> tuple[float, float]:
        """Give the resident memory of server and worker in MiB."""
        return rss_of(self.server.pid), rss_of(self.worker.pid)


@contextlib.contextmanager
def site(folder: Path) -> Iterator[Site]:
    """Start a server on a data folder, and a worker; stop both when the block ends."""
    with serving(folder) as (port, server), working(port) as worker:
        yield Site(folder, port, server, worker)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start a server on a data folder; stop it when the block ends. Give its port, and its process."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "orchestrator", "server", "--port", str(port), "--data", str(folder)]
    with stopped_at_the_end(
        subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.DEVNULL)
    ) as server:
        asyncio.run(until_ready(port, server))
        yield port, server


@contextlib.contextmanager
def working(port: int, language: str = "python") -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker of a server; stop it when the block ends."""
    words = command(language, f"http://{HOST}:{port}", STEPS)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with stopped_at_the_end(subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)) as worker:
        asyncio.run(until_connected(port, worker))
        yield worker


@contextlib.contextmanager
def stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Stop a process when the block ends."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS_MAX)


async def until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server takes requests."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError, EOFError):
            status, _ = await Connection(HOST, port).request("GET", "/health/ready")
            if status == 200:
                return
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start: {server.poll()}")
        await asyncio.sleep(0.02)


async def until_connected(port: int, worker: subprocess.Popen[bytes]) -> None:
    """Wait until a server has a worker."""
    deadline = time.monotonic() + 30
    connection = Connection(HOST, port)
    while all(one["status"] != "CONNECTED" for one in json.loads((await connection.request("GET", "/workers"))[1])):
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not connect: {worker.poll()}")
        await asyncio.sleep(0.02)


async def define(port: int, name: str, steps: int, actions: int = STEPS) -> None:
    """Define a workflow of no-op steps."""
    body = {"id": name, "steps": [{"action": f"noop-{number % actions}"} for number in range(steps)]}
    status, answer = await Connection(HOST, port).request("POST", "/workflow/", json.dumps(body).encode())
    if status not in (200, 201):
        raise RuntimeError(f"define was answered {status}: {answer!r}")


@dataclass
class Figures:
    """What one measurement gave."""

    steps_per_s: float
    cpu: tuple[float, float, float]
    """Seconds per 1,000 steps: server, worker, client."""
    p50: float
    p99: float

    def row(self) -> str:
        """Write a table row."""
        server, worker, client = self.cpu
        total = sum(self.cpu)
        return (
            f"{self.steps_per_s:8,.0f} | {total:6.3f} | {server:6.3f} | {worker:6.3f} | {client:6.3f} "
            f"| {self.p50:8.2f} | {self.p99:8.2f}"
        )


IN_FLIGHT_OF_SDKS = 1_000
WARM_RUNS_OF_SDKS = 8_000
"""Before a worker is measured: forty thousand jobs, by which compilers of its runtime have seen what matters."""
RUNS_OF_SDKS = 10_000
SDKS_HEADER = "SDK      | jobs/s   | CPU ms/job | jobs/CPU second | RSS MiB"
HEADER = "steps/s  | CPU-s/1k | server | worker | client | p50 ms | p99 ms"


def measure(at: Site, workflow: str, steps: int, in_flight: int, total: int) -> Figures:
    """Keep runs in flight until ``total`` have completed."""
    load = Load(HOST, [at.port], workflow, PAYLOAD)
    before = at.cpu()
    seconds = asyncio.run(load.run(in_flight, total))
    spent = [after - earlier for after, earlier in zip(at.cpu(), before, strict=True)]
    thousands = total * steps / 1_000
    server, worker, client = (part / thousands for part in spent)
    return Figures(total * steps / seconds, (server, worker, client), load.percentile(0.5), load.percentile(0.99))


def throughput(folder: Path, rounds: int) -> None:
    """Many runs in flight."""
    print(f"\n## Throughput: {STEPS} no-op steps, {len(PAYLOAD)} bytes\n\nin flight | {HEADER}")
    with site(folder) as at:
        asyncio.run(define(at.port, "bench", STEPS))
        measure(at, "bench", STEPS, 100, 2_000)
        for in_flight, total in ((1_000, 20_000), (100, 12_000)):
            for _ in range(rounds):
                print(f"{in_flight:9,} | {measure(at, 'bench', STEPS, in_flight, total).row()}", flush=True)
        server, worker = at.rss()
        print(f"\nRSS afterwards: server {server:.0f} MiB, worker {worker:.0f} MiB")


def latency(folder: Path, rounds: int) -> None:
    """One run at a time."""
    print(f"\n## One run at a time: {STEPS} steps\n\n{HEADER}")
    with site(folder) as at:
        asyncio.run(define(at.port, "bench", STEPS))
        measure(at, "bench", STEPS, 1, 300)
        for _ in range(rounds):
            print(measure(at, "bench", STEPS, 1, 1_500).row(), flush=True)


def steps_per_run(folder: Path, rounds: int) -> None:
    """The cost of a step as runs grow longer."""
    print(f"\n## Steps per run, 20 runs in flight\n\nsteps | {HEADER}")
    with site(folder) as at:
        for steps in (1, 10, 100, 1_000):
            name = f"bench-{steps}"
            asyncio.run(define(at.port, name, steps))
            measure(at, name, steps, 20, max(20, 2_000 // steps))
            for _ in range(rounds):
                figures = measure(at, name, steps, 20, max(40, 40_000 // steps))
                print(f"{steps:5,} | {figures.row()}", flush=True)


def sdks(folder: Path, rounds: int) -> None:
    """One worker of each SDK after the other, on the same server."""
    print(f"\n## Workers of each SDK: {IN_FLIGHT_OF_SDKS:,} runs in flight\n\n{SDKS_HEADER}")
    with serving(folder) as (port, server):
        asyncio.run(define(port, "bench", STEPS))
        for _ in range(rounds):
            for language in LANGUAGES:
                with working(port, language) as worker:
                    at = Site(folder, port, server, worker)
                    measure(at, "bench", STEPS, IN_FLIGHT_OF_SDKS, WARM_RUNS_OF_SDKS)
                    figures = measure(at, "bench", STEPS, IN_FLIGHT_OF_SDKS, RUNS_OF_SDKS)
                    print(sdk_row(language, figures.steps_per_s, figures.cpu[1], rss_of(worker.pid)), flush=True)


def sdk_row(language: str, steps_per_s: float, cpu: float, rss: float) -> str:
    """Write a table row; `cpu` is the worker's milliseconds for a job, `rss` its MiB."""
    return f"{language:8} | {steps_per_s:8,.0f} | {cpu:10.4f} | {1_000 / cpu:14,.0f} | {rss:7,.0f}"


async def list_p95(port: int) -> float:
    """Read the run list in every way a person does; gives the p95 in milliseconds."""
    connection = Connection(HOST, port)
    paths = [
        "/workflow/runs",
        "/workflow/runs?status=COMPLETED",
        "/workflow/runs?status=FAILED,RUNNING",
        "/workflow/runs?workflow=bench&status=COMPLETED",
        "/workflow/runs?from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z",
    ]
    taken: list[float] = []
    for number in range(200):
        started = time.perf_counter()
        status, _ = await connection.request("GET", paths[number % len(paths)])
        if status != 200:
            raise RuntimeError(f"the list was answered {status}")
        taken.append(time.perf_counter() - started)
    return sorted(taken)[int(len(taken) * 0.95)] * 1_000


def stored(folder: Path, rounds: int) -> None:
    """Throughput and the run list with many finished runs in the store."""
    print(f"\n## Finished runs in the store, 100 in flight\n\nruns      | list p95 ms | {HEADER}")
    have = 0
    for count in (0, 100_000, 1_000_000):
        if count:
            fill(folder, count - have)
            have = count
        with site(folder) as at:
            asyncio.run(define(at.port, "bench", STEPS))
            measure(at, "bench", STEPS, 100, 2_000)
            p95 = asyncio.run(list_p95(at.port))
            for _ in range(rounds):
                figures = measure(at, "bench", STEPS, 100, 8_000)
                print(f"{count:9,} | {p95:11.1f} | {figures.row()}", flush=True)


def main() -> None:
    """Run the parts that are asked for, each on a fresh data folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part only; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind")
    arguments = parser.parse_args()
    parts = {"throughput": throughput, "latency": latency, "steps": steps_per_run, "stored": stored, "sdks": sdks}
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    for name in arguments.only or PARTS:
        folder = Path(tempfile.mkdtemp(prefix="orchestrator-bench-", dir=HERE))
        try:
            parts[name](folder, arguments.rounds)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
