"""Measures the stores by themselves: batches of decisions as the pipeline makes them, without HTTP and workers."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import uvloop

from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.sqlite.database import Database as File
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.adapters.system import SystemChance, SystemClock
from orchestrator.app.batch import Batch
from orchestrator.app.command import Define, Record, Request, Trigger
from orchestrator.app.plans import Plans
from orchestrator.model.definition import StepDefinition, WorkflowDefinition, digest
from orchestrator.model.job import Report
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.ports.store import Store

STEPS = 5
PAYLOAD = Json(b'"' + b"x" * 98 + b'"')
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Site:
    """A store and the processes it costs."""

    store: Store
    plans: Plans
    postmaster: int | None = None
    clock: SystemClock = field(default_factory=SystemClock)
    chance: SystemChance = field(default_factory=SystemChance)

    def server_cpu(self) -> float:
        """Give the CPU seconds of the server and all it has ever started."""
        if self.postmaster is None:
            return 0.0
        own = _stat(self.postmaster)
        total = sum(map(int, own[11:15]))
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    stat = _stat(int(folder.name))
                except OSError:
                    continue
                if int(stat[1]) == self.postmaster:
                    total += int(stat[11]) + int(stat[12])
        return total / TICKS


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


@asynccontextmanager
async def postgres(url: str) -> AsyncIterator[Site]:
    """Open a store over a database of its own."""
    name = f"bench_{os.getpid()}"
    control = await asyncpg.connect(url)
    await control.execute(f"CREATE DATABASE {name}")
    postmaster = None
    if urlsplit(url).hostname in ("127.0.0.1", "localhost"):
        # Of a server on this machine: the parent of the process that answers.
        postmaster = int(_stat(await control.fetchval("SELECT pg_backend_pid()"))[1])
    try:
        database = await Database.open(urlsplit(url)._replace(path=f"/{name}").geturl())
        yield Site(PostgresStore(database), Plans(), postmaster)
        await database.close()
    finally:
        await control.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await control.close()


@asynccontextmanager
async def sqlite() -> AsyncIterator[Site]:
    """Open a store over a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-bench-", dir=Path(__file__).parent) as folder:
        file = File(Path(folder))
        plans = Plans()
        yield Site(SqliteStore(file, plans.fold, Limits().open_runs_cached_max), plans)
        await file.close()


async def process(site: Site, requests: list[Request]) -> list[tuple[Report, ...]]:
    """Decide a batch as the pipeline does; give the reports on the jobs that it hands out."""
    async with site.store.transaction() as tx:
        batch = Batch(site.store, tx, site.plans, site.chance, Limits(), site.clock.now())
        await batch.load(requests)
        for request in requests:
            await batch.apply(request)
        await batch.write()
    now = site.clock.now()
    return [
        (
            Report(
                run_id=job.run_id,
                step=job.step,
                attempt=job.attempt,
                outcome="completed",
                result=PAYLOAD,
                worker="w",
                started_at=now,
            ),
        )
        for job in batch.jobs
    ]


async def waves(site: Site, size: int, decisions: int, seconds: list[float]) -> int:
    """Bring runs from their trigger to their end, so many at a time; say how many decisions that took."""
    made = 0
    while made < decisions:
        requests: list[Request] = [Trigger("flow", PAYLOAD) for _ in range(size)]
        for _ in range(STEPS + 1):
            began = time.perf_counter()
            reports = await process(site, requests)
            seconds.append(time.perf_counter() - began)
            made += len(requests)
            requests = [Record(list(report)) for report in reports]
    return made


async def measure(site: Site, name: str, size: int, decisions: int, transactions: int) -> None:
    """Print one row."""
    await waves(site, size, size * 12, [])
    cpu, server, began = time.process_time(), site.server_cpu(), time.perf_counter()
    seconds: list[float] = []
    share = decisions // transactions
    made = sum(await asyncio.gather(*(waves(site, size, share, seconds) for _ in range(transactions))))
    wall = time.perf_counter() - began
    cpu, server = time.process_time() - cpu, site.server_cpu() - server
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    print(
        f"| {name} | {size} | {transactions} | {made / wall:,.0f} | {p50 * 1000:.2f} | {p99 * 1000:.2f} "
        f"| {cpu / made * 1000:.3f} | {server / made * 1000:.3f} |",
        flush=True,
    )


async def main() -> None:
    """Measure what was asked for."""
    # As the server has it.
    gc.set_threshold(250_000, 20, 50)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a PostgreSQL server; a database of its own is made in it, and dropped")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 100, 500], help="decisions in a batch")
    parser.add_argument("--transactions", type=int, nargs="*", default=[1, 2], help="batches at a time")
    parser.add_argument("--seconds", type=float, default=4, help="about how long each row takes")
    arguments = parser.parse_args()
    print("| store | batch | at a time | decisions/s | p50 ms | p99 ms | CPU s/1,000 | server CPU s/1,000 |")
    print("|---|---|---|---|---|---|---|---|")
    steps = tuple(StepDefinition(action=f"a{index}", step_index=index) for index in range(STEPS))
    definition = WorkflowDefinition(id="flow", steps=steps)
    sites = [("SQLite", sqlite(), [1])]
    if arguments.url:
        sites.append(("PostgreSQL", postgres(arguments.url), arguments.transactions))
    for name, opened, transactions in sites:
        async with opened as site:
            await process(site, [Define(definition, digest(definition))])
            for size in arguments.sizes:
                for count in transactions:
                    guess = {1: 600, 100: 12_000}.get(size, 20_000)
                    await measure(site, name, size, round(guess * arguments.seconds), count)


if __name__ == "__main__":
    uvloop.run(main())
