"""What befalls processes: workers die, freeze, fall silent and leave; the orchestrator dies; the clock is set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tests.simulation.options import ALL_ACTIONS, Fault
from tests.simulation.process import POINTS
from tests.simulation.worker import SCRIPT, SimulatedWorker, Style
from tests.simulation.world import World

JUMP_SECONDS_MAX: Final = 7_200.0


class Fleet:
    """The workers of a world; one that is gone is followed by another."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made = 0
        self.workers: list[SimulatedWorker] = []

    async def keep(self) -> None:
        """Start workers until there are enough, and again when one is gone."""
        world = self._world
        while True:
            for worker in [worker for worker in self.workers if not worker.alive]:
                self.workers.remove(worker)
                again = world.draw.random() < 0.3 and not world.healed
                style = self._style()
                self._start(style, worker.worker_id if again and style.heartbeats else "")
            if len(self.workers) < world.options.workers:
                self._start(self._style())
            await asyncio.sleep(world.draw.uniform(0.1, 0.8))

    def heal(self) -> None:
        """Make sure that somebody has a handler for everything."""
        self._start(Style(ALL_ACTIONS, 3, 2.0, 5.0, combined=False, heartbeats=True))

    def _start(self, style: Style, name: str = "") -> None:
        if not name:
            self._made += 1
            name = f"{'worker' if style.heartbeats else SCRIPT}-{self._made}"
        self._world.journal.note(f"{name} starts: {style}")
        self.workers.append(SimulatedWorker(self._world, name, style))

    def _style(self) -> Style:
        draw = self._world.draw
        actions: tuple[str, ...] = ALL_ACTIONS
        if draw.random() < 0.4 and not self._world.healed:
            actions = tuple(draw.sample(ALL_ACTIONS, draw.randint(1, len(ALL_ACTIONS))))
        script = draw.random() < 0.2
        combined = script or draw.random() < 0.3
        return Style(
            actions=actions,
            concurrency=1 if combined else draw.randint(1, 4),
            lease=draw.choice((5.0, 9.0)) if script else draw.choice((1.0, 1.6, 3.0)),
            wait=draw.choice((0.0, 0.4, 5.0)),
            combined=combined,
            heartbeats=not script,
        )


class Incidents:
    """Draws what happens next, until everything heals."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self._world = world
        self._fleet = fleet
        kinds: dict[Fault, Callable[[], None]] = {
            Fault.WORKER_DIES: lambda: self._worker().die(),
            Fault.WORKER_FREEZES: lambda: self._worker().freeze(world.draw.uniform(0.5, 5)),
            Fault.WORKER_IS_MUTE: lambda: self._worker().mute(world.draw.uniform(1, 6)),
            Fault.WORKER_LEAVES: lambda: self._worker().leave(),
            Fault.CLOCK_JUMPS: self._set_clock,
            Fault.CRASHES: self._crash,
            Fault.RESTARTS: self._restart,
        }
        self._kinds = [act for fault, act in kinds.items() if world.options.has(fault)]

    async def strike(self) -> None:
        """Let things happen."""
        world = self._world
        while self._kinds:
            await asyncio.sleep(world.draw.expovariate(1 / world.options.incident_seconds))
            if world.healed:
                return
            if self._fleet.workers and world.process is not None:
                world.draw.choice(self._kinds)()

    def _worker(self) -> SimulatedWorker:
        worker = self._world.draw.choice(self._fleet.workers)
        self._world.journal.note(f"an incident at {worker.worker_id}")
        return worker

    def _set_clock(self) -> None:
        world = self._world
        jump = world.draw.choice((0.5, 3.0, 60.0, JUMP_SECONDS_MAX)) * world.draw.choice((-1, 1))
        world.wall_offset += jump
        world.wall_offset_max = max(world.wall_offset_max, world.wall_offset)
        world.journal.met("clock was set forward" if jump > 0 else "clock was set back")

    def _crash(self) -> None:
        process = self._world.process
        assert process is not None
        if self._world.draw.random() < 0.3:
            process.die("between two batches")
        else:
            process.dies_at = self._world.draw.choice(POINTS)

    def _restart(self) -> None:
        process = self._world.process
        assert process is not None
        if process.up.is_set():
            self._world.journal.met("orchestrator was restarted")
            process.stop()
