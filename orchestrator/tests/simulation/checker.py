"""The invariants, checked once everything has healed and come to rest (docs/reliability.md lists them)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from orchestrator.adapters.sqlite.queries import SqliteQueries
from orchestrator.adapters.sqlite.store import SqliteStore
from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.model import event as events
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import MICROS, Time
from orchestrator.ports.queries import History, LetterFilter, RunFilter, RunRecord
from tests.simulation.history import Walk
from tests.simulation.journal import Committed
from tests.simulation.options import POISON_ACTION, Fault
from tests.simulation.process import Process
from tests.simulation.worker import SCRIPT
from tests.simulation.world import World

LATE_SECONDS_MAX: Final = 1.0
SLACK: Final = 0.001
UNDISTURBING: Final = frozenset(
    {
        Fault.POISON,
        Fault.FAILURES,
        Fault.CANCELS,
        Fault.REDRIVES,
        Fault.REDEFINITIONS,
        Fault.WORKER_LEAVES,
        Fault.HANGS,
    }
)
"""Faults that neither keep a timer from firing in time nor lose a job."""


class Checker:
    """Compares what the store says with what the observer saw."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._journal = world.journal
        self._queries = SqliteQueries(world.database)
        self._definitions: dict[tuple[str, int], DefinitionVersion] = {}

    async def check(self, process: Process) -> None:
        """Check everything."""
        records, _ = await self._queries.runs(RunFilter(), 100_000, None, payload_bytes_max=1 << 30)
        for record in records:
            key = (record.workflow_id, record.version)
            if key not in self._definitions:
                for version in await self._queries.versions(record.workflow_id):
                    self._definitions[record.workflow_id, version.version] = version
        self._accepted({record.run_id: record for record in records})
        await self._quiet(process)
        kept = await self._states(process, [record.run_id for record in records])
        if stray := set(self._journal.events) - {record.run_id for record in records}:
            self._wrong("I1", f"runs were committed and are gone: {sorted(stray)}")
        for record in records:
            history = await self._queries.history(record.run_id)
            walk = Walk(self._definitions[record.workflow_id, record.version].definition)
            walk.follow(history.events)
            for wrong in walk.wrong:
                self._wrong("I6", f"{record.run_id} {wrong}")
            self._folds(record, history, kept)
            self._results(record, history)
            self._timers(record)
            await self._letters(record, history, walk)
            await process.orchestrator.run(record.run_id)
        await self._letter_states()
        self._attempts_known()
        self._innocents()

    def _wrong(self, invariant: str, text: str) -> None:
        self._journal.violate(invariant, text)

    # --- I1, I2 --------------------------------------------------------------------------------------------------

    def _accepted(self, records: dict[RunId, RunRecord]) -> None:
        by_key: defaultdict[str, set[RunId]] = defaultdict(set)
        created = Counter(accepted.run_id for accepted in self._journal.accepted if accepted.created)
        for accepted in self._journal.accepted:
            record = records.get(accepted.run_id)
            if record is None:
                self._wrong("I1", f"{accepted.marker} was accepted as {accepted.run_id}, which is not there")
            elif record.input != accepted.input or record.workflow_id != accepted.workflow_id:
                self._wrong("I1", f"{accepted.run_id} has another input or workflow than was accepted")
            if accepted.key is not None:
                by_key[accepted.key].add(accepted.run_id)
        for record in records.values():
            if record.ended_at is None:
                self._wrong("I1", f"{record.run_id} never ended")
            if created[record.run_id] > 1:
                self._wrong("I2", f"{record.run_id} was answered as new twice")
        for key, runs in by_key.items():
            marker = key.removeprefix("key-")
            started = [one.run_id for one in records.values() if one.input.count(f'"{marker}"'.encode())]
            if len(runs) > 1 or len(started) > 1:
                self._wrong("I2", f"{key} started {started} and was answered with {sorted(runs)}")

    # --- I12 -----------------------------------------------------------------------------------------------------

    async def _quiet(self, process: Process) -> None:
        due = await process.store.due(Time(2**62), 1_000)
        pending, _ = await process.store.pending((0, 0), 1_000)
        leased = await process.store.leased()
        if left := [*due.retries, *due.runs, *pending, *leased]:
            self._wrong("I12", f"these rows wait for nothing: {left}")
        if depths := process.queue.depths():
            self._wrong("I12", f"the queue still holds {depths}")
        if leases := list(process.orchestrator.gateway._leases._by_key.values()):
            self._wrong("I12", f"these leases belong to nobody: {leases}")

    # --- I5 ------------------------------------------------------------------------------------------------------

    async def _states(self, process: Process, run_ids: list[RunId]) -> list[dict[RunId, RunState]]:
        """Read all states as the process knows them, and as one would that has just started."""
        fresh = SqliteStore(self._world.database, Plans().fold, 1)
        found: list[dict[RunId, RunState]] = []
        for store in (process.store, fresh):
            async with store.transaction() as tx:
                found.append(await tx.runs(run_ids))
        return found

    def _folds(self, record: RunRecord, history: History, kept: list[dict[RunId, RunState]]) -> None:
        plan = Plans().of(self._definitions[record.workflow_id, record.version])
        folded = engine.fold(record.run_id, plan, history.events)
        for states in kept:
            if states[record.run_id] != folded:
                self._wrong("I5", f"{record.run_id} is {states[record.run_id]}, and by its history {folded}")
        row = (record.status, record.started_at, record.ended_at, record.failure, record.current_step)
        expected = (folded.status, folded.started_at, folded.ended_at, folded.failure, folded.current_step)
        if row != expected:
            self._wrong("I5", f"the row of {record.run_id} says {row}, its history {expected}")
        committed = [one.event for one in self._journal.events[record.run_id]]
        if committed != history.events:
            self._wrong("I5", f"the history of {record.run_id} is not what was committed")

    # --- I3 ------------------------------------------------------------------------------------------------------

    def _results(self, record: RunRecord, history: History) -> None:
        run_id = record.run_id
        steps = [step.step_index for step in self._definitions[record.workflow_id, record.version].definition.steps]
        recorded = {result.step: result.result for result in history.results}
        completed = [event for event in history.events if isinstance(event, events.StepCompleted)]
        if [event.step for event in completed] != [result.step for result in history.results]:
            self._wrong("I3", f"{run_id} has results of {list(recorded)} and completed {completed}")
        if len(recorded) != len(history.results) or [event.step for event in completed] != steps[: len(completed)]:
            self._wrong("I3", f"{run_id} completed its steps as {completed}")
        for event in completed:
            returned = [one.result for one in self._journal.executions[run_id, event.step, event.attempt]]
            if recorded.get(event.step) not in returned:
                self._wrong("I3", f"{run_id} recorded {recorded.get(event.step)!r}, its handlers returned {returned}")
            if self._journal.results[run_id, event.step] != [recorded.get(event.step)]:
                self._wrong(
                    "I3", f"{run_id} step {event.step} was recorded as {self._journal.results[run_id, event.step]}"
                )
        inputs = dict(zip(steps, [record.input, *(recorded.get(step) for step in steps)], strict=False))
        for (of_run, step, attempt), grants in self._journal.grants.items():
            if of_run == run_id and any(grant.payload != inputs[step] for grant in grants):
                self._wrong("I3", f"{run_id} step {step} attempt {attempt} did not get {inputs[step]!r}")
        output = recorded.get(steps[-1])
        if record.output != output:
            self._wrong("I3", f"{run_id} gives {record.output!r}, its last step gave {output!r}")

    # --- I7 ------------------------------------------------------------------------------------------------------

    def _timers(self, record: RunRecord) -> None:
        definition = self._definitions[record.workflow_id, record.version].definition
        timeouts = {step.step_index: step.timeout for step in definition.steps}
        started: dict[int, Time] = {}
        in_time = self._world.options.faults <= UNDISTURBING
        due: dict[int, Time] = {}
        for one in self._journal.events[record.run_id]:
            match one.event:
                case events.AttemptStarted():
                    started[one.event.step] = one.event.at
                case events.AttemptFailed(timed_out=True):
                    self._timed_out(record.run_id, one, one.event, timeouts, started[one.event.step])
                case events.AttemptLost():
                    self._lost(record.run_id, one, one.event)
                case events.StepQueued() if in_time and one.event.step in due:
                    if (late := one.event.at - due.pop(one.event.step)) > LATE_SECONDS_MAX * MICROS:
                        self._wrong("I7", f"{record.run_id} {one.event} is {late / MICROS} s late")
            if isinstance(one.event, events.AttemptFailed | events.AttemptLost) and one.event.retry_at is not None:
                due[one.event.step] = one.event.retry_at

    def _timed_out(
        self,
        run_id: RunId,
        one: Committed,
        event: events.AttemptFailed,
        timeouts: Mapping[int, int | None],
        started: Time,
    ) -> None:
        """Not early by the clock on the wall, or, when that was set meanwhile, not by the time that passed."""
        timeout = (timeouts[event.step] or 0) / MICROS
        passed = one.second - self._journal.grants[run_id, event.step, event.attempt][-1].second
        by_the_wall = (event.at - started) / MICROS
        if max(passed, by_the_wall) < timeout - SLACK:
            self._wrong("I7", f"{run_id} {event} came {passed} s after its start, not {timeout}")

    def _lost(self, run_id: RunId, one: Committed, event: events.AttemptLost) -> None:
        grant = self._journal.grants[run_id, event.step, event.attempt][-1]
        silent = one.second - max(sign for sign in grant.signs if sign <= one.second)
        missed = "does not know" in event.failure.message
        if missed:
            self._journal.met("job was lost on its way to the worker")
        if silent < grant.lease - SLACK and not (missed and grant.missed >= 2):
            self._wrong("I7", f"{run_id} {event} came {silent} s after a sign of life, not {grant.lease}")

    # --- I9 ------------------------------------------------------------------------------------------------------

    async def _letters(self, record: RunRecord, history: History, walk: Walk) -> None:
        run_id = record.run_id
        written = [
            letter for letters in self._journal.letters.values() for letter in letters if letter.run_id == run_id
        ]
        if len(written) != walk.failed_steps or len({letter.id for letter in written}) != len(written):
            self._wrong("I9", f"{run_id} failed {walk.failed_steps} times and has {[one.id for one in written]}")
        failures = [event for event in history.events if isinstance(event, events.StepFailed)]
        for event, letter in zip(failures, written, strict=False):
            kept = await self._queries.dead_letter(letter.id)
            payload = self._journal.grants[run_id, event.step, event.attempt][-1].payload
            if kept is None or (kept.step, kept.attempt, kept.payload) != (event.step, event.attempt, payload):
                self._wrong("I9", f"{event} of {run_id} has the dead letter {kept}")

    async def _letter_states(self) -> None:
        waiting, _ = await self._queries.dead_letters(LetterFilter(), 100_000, None)
        for letter_id in self._journal.letters:
            kept = await self._queries.dead_letter(letter_id)
            state = None if kept is None else kept.state
            answered = self._journal.settled.get(letter_id)
            if answered is not None and state != answered:
                self._wrong("I9", f"{letter_id} was answered as {answered} and is {state}")
        listed = [letter.id for letter in waiting]
        if len(set(listed)) != len(listed) or not set(listed) <= set(self._journal.letters):
            self._wrong("I9", f"{listed} are listed, {list(self._journal.letters)} were written")

    # --- I4, I10 and the poison --------------------------------------------------------------------------------------

    def _attempts_known(self) -> None:
        """Nothing runs that no history knows."""
        queued = {
            (run_id, one.event.step, one.event.attempt)
            for run_id, committed in self._journal.events.items()
            for one in committed
            if isinstance(one.event, events.StepQueued)
        }
        for key in [*self._journal.executions, *self._journal.grants]:
            if key not in queued:
                self._wrong("I4", f"attempt {key} was made and is in no history")

    def _innocents(self) -> None:
        """Where nothing but poison takes workers down, others are lost with it once at most: then they run alone."""
        if not self._world.options.faults <= UNDISTURBING:
            return
        for run_id, committed in self._journal.events.items():
            lost: Counter[int] = Counter()
            for one in committed:
                if isinstance(one.event, events.AttemptFailed) and one.event.timed_out:
                    grant = self._journal.grants[run_id, one.event.step, one.event.attempt][-1]
                    died = self._journal.deaths.get(grant.worker, one.second)
                    if died < one.second and not one.event.suspect:
                        self._wrong("who times out with its worker is suspected", f"{run_id} {one.event}")
                if isinstance(one.event, events.AttemptLost) or (
                    isinstance(one.event, events.AttemptFailed) and one.event.suspect
                ):
                    lost[one.event.step] += 1
                    grant = self._journal.grants[run_id, one.event.step, one.event.attempt][-1]
                    if grant.worker.startswith(SCRIPT):
                        # A step that asks for heartbeats is not for a worker that sends none.
                        continue
                    if lost[one.event.step] > 1 and grant.action != POISON_ACTION:
                        self._wrong("poison harms no innocent", f"{run_id} {one.event}")


def lines_about(trace: str, violations: Sequence[str]) -> Iterator[str]:
    """Give the lines of a trace that name a run of the violations; all of them where none is named."""
    named = {
        word.strip("',:[]()").split(":")[0] for text in violations for word in text.split() if word.count("-") == 4
    }
    for line in trace.splitlines():
        if not named or any(name in line for name in named) or " * " in line or " ! " in line or "life" in line:
            yield line
