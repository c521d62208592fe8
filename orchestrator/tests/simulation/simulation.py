"""One seed, from the first call to the verdict."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

from orchestrator.adapters.sqlite.database import Database
from orchestrator.app import timers
from tests.simulation import attendance, loop
from tests.simulation.checker import Checker, lines_about
from tests.simulation.client import WORKFLOWS, Clients
from tests.simulation.incidents import Fleet, Incidents
from tests.simulation.journal import Journal
from tests.simulation.options import Options, options_of
from tests.simulation.process import ProcessDied
from tests.simulation.world import World

REST_SECONDS_MAX: Final = 150.0
"""How long a healed world may take to come to rest."""
SECONDS_MAX: Final = 1_000.0
_UNREST: Final = """
    SELECT (SELECT count(*) FROM runs WHERE ended_at IS NULL) + (SELECT count(*) FROM jobs)"""


@dataclass(frozen=True)
class Outcome:
    """What came of a seed."""

    options: Options
    violations: tuple[str, ...]
    sometimes: Counter[str]
    trace: str
    fingerprint: str
    runs: int
    virtual_seconds: float

    def report(self) -> str:
        """Say what went wrong and how to see it again."""
        command = f"SIMULATION_SEED={self.options.seed} uv run pytest tests/simulation -k seed"
        return "\n".join(
            [
                *lines_about(self.trace, self.violations),
                "",
                str(self.options),
                *self.violations,
                f"replay from orchestrator/ with: {command}",
            ]
        )


def simulate(seed: int) -> Outcome:
    """Run a seed to its end."""
    worlds: list[World] = []
    options = options_of(seed)
    try:
        with mock.patch.multiple(timers, SWEEP_MAX=options.page, DUE_MAX=options.page):
            loop.run(_main(seed, worlds), SECONDS_MAX)
    except loop.Stalled as error:
        worlds[0].journal.violate("I12", str(error))
    journal = worlds[0].journal
    return Outcome(
        options=options,
        violations=tuple(journal.violations),
        sometimes=journal.sometimes,
        trace=journal.trace,
        fingerprint=journal.fingerprint,
        runs=len(journal.events),
        virtual_seconds=journal.second(),
    )


async def _main(seed: int, worlds: list[World]) -> None:
    database = Database(None)
    try:
        world = World(seed, database)
        worlds.append(world)
        with _overheard(world.journal):
            await _live(world)
    finally:
        await database.close()


async def _live(world: World) -> None:
    fleet, clients = Fleet(world), Clients(world)
    world.spawn(world.supervise(), "supervisor")
    for workflow_id in WORKFLOWS:
        await clients.define(workflow_id)
    world.spawn(fleet.keep(), "fleet")
    world.spawn(attendance.watch(world), "attendance")
    world.spawn(Incidents(world, fleet).strike(), "incidents")
    starting = world.launch(clients.start(), "clients")
    for habit in (clients.read(), clients.cancel(), clients.settle()):
        world.spawn(habit, "client")
    healing = world.journal.second() + world.options.fault_seconds
    while (left := healing - world.journal.second()) > 0 and not world.journal.violations:
        await asyncio.sleep(min(0.5, left))
    await asyncio.wait([starting])
    world.heal()
    fleet.heal()
    await _rest(world, clients)
    if world.process is not None and not world.journal.violations:
        try:
            await Checker(world).check(world.process)
        except Exception as error:  # noqa: BLE001 - a store that cannot be read is a finding as well
            world.journal.violate("no surprises", f"the check itself: {error!r}")
    world.journal.closed = True
    await world.end()


async def _rest(world: World, clients: Clients) -> None:
    """Wait until nothing is left to be done."""
    deadline = world.journal.second() + REST_SECONDS_MAX
    while world.journal.second() < deadline and not world.journal.violations:
        await asyncio.sleep(0.5)
        (unrest,) = world.database.writer.execute(_UNREST).fetchone()
        if unrest or clients.busy or world.process is None or not world.process.up.is_set():
            continue
        if world.process.orchestrator.gateway._leases or world.late_packets:
            continue
        return
    if world.journal.violations:
        return
    left = [
        *world.database.writer.execute("SELECT * FROM runs WHERE ended_at IS NULL"),
        *world.database.writer.execute("SELECT * FROM jobs JOIN runs ON runs.seq = jobs.run_seq"),
    ]
    world.journal.violate("I12", f"no rest {REST_SECONDS_MAX:g} s after all faults were healed: {left}")


@contextmanager
def _overheard(journal: Journal) -> Iterator[None]:
    """Take what the orchestrator and the loop complain about for what it is."""

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            journal.note(f"log: {record.getMessage()}")
            if record.exc_info is not None:
                journal.violate("no surprises", f"{record.getMessage()}: {record.exc_info[1]!r}")

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ProcessDied):
            journal.violations.append(f"no surprises: {context['message']}: {error!r}")

    ear, logger = Ear(), logging.getLogger("orchestrator")
    asyncio.get_running_loop().set_exception_handler(complain)
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)
        logger.propagate = propagated
