"""Clients: they start runs, repeat themselves, cancel, read, and settle dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec

from orchestrator.app.command import Triggered
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.waits import Caller
from orchestrator.model.errors import IdempotencyConflict, OrchestratorError
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.view import RunView
from orchestrator.ports.queries import LetterFilter
from tests.simulation.journal import Accepted
from tests.simulation.options import Fault, definition_of
from tests.simulation.process import Request
from tests.simulation.world import ConnectionLost, World, ask

_T = TypeVar("_T")

LATE_SECONDS_MAX: Final = 0.1
WORKFLOWS: Final = ("bread", "cake", "pie")


class Clients:
    """All clients of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._started = 0
        self._known: list[RunId] = []
        self.busy = 0
        """Clients that are not done."""

    async def define(self, workflow_id: str) -> None:
        """Define a workflow, or a version of it."""
        world = self._world
        raw = msgspec.json.encode(definition_of(world.draw, workflow_id, world.options.faults))
        world.journal.note(f"define {raw.decode()}")
        workflow, _ = await self._insist("define", ask(lambda orchestrator: orchestrator.define(raw)))
        if workflow.version > 1:
            world.journal.met("workflow has another version")

    async def start(self) -> None:
        """Start all runs, spread over the time of the faults; some workflows change meanwhile."""
        world = self._world
        for _ in range(world.options.runs):
            await asyncio.sleep(world.draw.expovariate(world.options.runs / world.options.fault_seconds))
            if world.options.has(Fault.REDEFINITIONS) and world.draw.random() < 0.3:
                self._spawn(self.define(world.draw.choice(WORKFLOWS)), "definer")
            self._spawn(self._start(), "starter")

    async def read(self) -> None:
        """Read runs, as pages and scripts do."""
        world = self._world
        while not world.healed:
            await asyncio.sleep(world.draw.uniform(0.1, 1))
            if self._known:
                run_id = world.draw.choice(self._known)
                try:
                    await world.call("read", self._reading(run_id, Duration(0)))
                except (ConnectionLost, OrchestratorError):
                    continue

    async def cancel(self) -> None:
        """Cancel runs now and then."""
        world = self._world
        while world.options.has(Fault.CANCELS) and not world.healed:
            await asyncio.sleep(world.draw.uniform(0.2, 3))
            if self._known:
                self._spawn(self._cancel(world.draw.choice(self._known)), "canceller")

    async def settle(self) -> None:
        """Look for dead letters now and then; redrive or discard one."""
        world = self._world
        while world.options.has(Fault.REDRIVES) and not world.healed:
            await asyncio.sleep(world.draw.uniform(0.2, 2))
            try:
                letters, _ = await world.call("list", ask(lambda one: one.dead_letters(LetterFilter(), 10, None)))
            except (ConnectionLost, OrchestratorError):
                continue
            if letters:
                self._spawn(self._settle(world.draw.choice(letters).id), "person")

    # --- inside --------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        world = self._world
        self._started += 1
        marker = f"m{self._started}"
        workflow_id = world.draw.choice(WORKFLOWS)
        payload = b'{"marker": "%s", "weight": %d.50}' % (marker.encode(), self._started)
        key = f"key-{marker}" if world.draw.random() < 0.6 else None
        request = self._triggering(workflow_id, marker, payload, key)
        for _ in range(world.draw.choice((1, 1, 2, 3)) - 1 if key else 0):
            world.journal.met("key was used again")
            self._spawn(self._again(request), "repeater")
        try:
            triggered = await self._insist("trigger", request)
        except OrchestratorError as error:
            world.journal.note(f"trigger of {marker} was refused: {error!r}")
            return
        self._known.append(triggered.run_id)
        if key and world.draw.random() < 0.2:
            await self._conflict(workflow_id, key)
        if world.draw.random() < 0.3:
            await self._wait(triggered.run_id)

    def _triggering(self, workflow_id: str, marker: str, payload: bytes, key: str | None) -> Request[Triggered]:
        journal = self._world.journal
        raw = b'{"input": %s}' % payload

        async def request(orchestrator: Orchestrator, caller: Caller) -> Triggered:
            triggered = await orchestrator.trigger(workflow_id, raw, key)
            journal.accepted.append(Accepted(triggered.run_id, workflow_id, marker, key, payload, triggered.created))
            journal.note(f"{marker} with {key} is {triggered}")
            return triggered

        return request

    async def _again(self, request: Request[Triggered]) -> None:
        await asyncio.sleep(self._world.draw.choice((0, 0.001, 0.05, 3)))
        try:
            await self._insist("trigger again", request)
        except OrchestratorError as error:
            self._world.journal.note(f"repeated trigger was refused: {error!r}")

    async def _conflict(self, workflow_id: str, key: str) -> None:
        request = ask(lambda one: one.trigger(workflow_id, b'{"input": "something else"}', key))
        try:
            await self._insist("conflict", request)
        except IdempotencyConflict:
            self._world.journal.met("key was used for something else")
        else:
            self._world.journal.violate("I2", f"{key} was taken for two different inputs")

    async def _wait(self, run_id: RunId) -> None:
        try:
            await self._world.call("wait", self._reading(run_id, Duration(2 * MICROS)))
        except (ConnectionLost, OrchestratorError):
            return

    def _reading(self, run_id: RunId, wait: Duration) -> Request[RunView]:
        """Read a run and its history: what was once seen is never taken back."""
        journal = self._world.journal

        async def request(orchestrator: Orchestrator, caller: Caller) -> RunView:
            began = journal.second()
            run = await orchestrator.run(run_id, wait, caller)
            self._check_wait(run, began)
            events = await orchestrator.events(run_id, 0)
            if len(events) < journal.seen.get(run_id, 0):
                journal.violate("I14", f"{run_id} had {journal.seen[run_id]} events and has {len(events)}")
            journal.seen[run_id] = len(events)
            return run

        return request

    def _check_wait(self, run: RunView, began: float) -> None:
        """Who waits for the end of a run is told of it at once."""
        if run.end_time is None or self._world.options.has(Fault.COMMITS_UNSURE):
            return
        journal = self._world.journal
        ended = journal.events[RunId(run.run_id)][-1].second
        if (late := journal.second() - max(began, ended)) > LATE_SECONDS_MAX:
            journal.violate("I13", f"{run.run_id} had ended {late} s before those who waited for it were told")

    async def _cancel(self, run_id: RunId) -> None:
        journal = self._world.journal

        async def request(orchestrator: Orchestrator, caller: Caller) -> None:
            await orchestrator.cancel(run_id, b'{"reason": "not wanted"}')
            journal.cancelled.setdefault(run_id, journal.second())
            journal.met("run was cancelled")

        try:
            await self._insist("cancel", request)
        except OrchestratorError as error:
            journal.note(f"cancel of {run_id} was refused: {error!r}")

    async def _settle(self, letter_id: str) -> None:
        journal = self._world.journal
        redrive = self._world.draw.random() < 0.7

        async def request(orchestrator: Orchestrator, caller: Caller) -> None:
            if redrive:
                await orchestrator.redrive(letter_id)
            else:
                await orchestrator.discard(letter_id)
            journal.met("dead letter was redriven" if redrive else "dead letter was discarded")
            if letter_id in journal.settled:
                journal.violate("I9", f"{letter_id} was settled twice")
            journal.settled[letter_id] = "REDRIVEN" if redrive else "DISCARDED"

        try:
            await self._insist("settle", request)
        except OrchestratorError as error:
            journal.note(f"{letter_id} was not settled: {error!r}")

    async def _insist(self, name: str, request: Request[_T]) -> _T:
        draw = self._world.draw
        return await self._world.insist(name, request, lambda: draw.uniform(0.05, 0.6))

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        self.busy += 1
        self._world.launch(coroutine, name).add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.busy -= 1
