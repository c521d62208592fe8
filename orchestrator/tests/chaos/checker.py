"""The invariants, checked once everything has healed and come to rest; docs/reliability.md lists them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.model import event as events
from tests.chaos import kinds, store
from tests.chaos.client import Asked
from tests.chaos.journal import Execution, Journal
from tests.chaos.kinds import Kind
from tests.chaos.store import Kept, Record, Run
from tests.simulation.history import Walk

SHOWN_MAX = 20
"""Violations of one invariant that are told in full."""
MEANT_TO_FAIL: tuple[Kind, ...] = ("doomed", "redeemed", "poison")


@dataclass
class Verdict:
    """What the checker found."""

    runs: int = 0
    attempts: int = 0
    done_again: int = 0
    """Executions whose result was not the one that was recorded: at-least-once, counted."""
    letters: int = 0
    violations: list[str] = field(default_factory=list)


class Checker:
    """Compares what was asked for, what workers did, and what is kept."""

    def __init__(
        self, asked: Iterable[Asked], journal: Journal, kept: Kept, records: list[Record], losses_max: int
    ) -> None:
        self._asked = {one.number: one for one in asked}
        self._journal = journal
        self._kept = kept
        self._records = records
        self._losses_max = losses_max
        self._plans = Plans()
        self._found: Counter[str] = Counter()
        self.verdict = Verdict()

    def check(self) -> Verdict:
        """Check everything."""
        self._accepted()
        letters = store.by_run(self._kept.letters)
        for run_id, run in self._kept.runs.items():
            self._walks(run)
            self._folds(run)
            self._results(run_id, run)
            made = sum(isinstance(event, events.StepFailed) for event in run.events)
            if made != len(letters[run_id]):
                self.wrong("I9", f"{run_id} has failed {made} times and has {len(letters[run_id])} dead letters")
            if letters[run_id] and run.input["kind"] not in MEANT_TO_FAIL:
                self.wrong("I9", f"{run_id} ({run.input}) has a dead letter: {letters[run_id]}")
        self._dead_letters()
        self._executions()
        verdict = self.verdict
        verdict.runs = len(self._kept.runs)
        verdict.attempts = sum(
            isinstance(event, events.StepQueued) for run in self._kept.runs.values() for event in run.events
        )
        recorded = sum(len(run.results) for run in self._kept.runs.values())
        verdict.done_again = sum(self._journal.ended.values()) - recorded
        verdict.letters = len(self._kept.letters)
        verdict.violations += [
            f"{invariant}: {count - SHOWN_MAX} more like these"
            for invariant, count in self._found.items()
            if count > SHOWN_MAX
        ]
        return verdict

    def wrong(self, invariant: str, text: str) -> None:
        """Note a violation."""
        self._found[invariant] += 1
        if self._found[invariant] <= SHOWN_MAX:
            self.verdict.violations.append(f"{invariant}: {text}")

    # --- I1, I2, I11: who asked, and what came of it -----------------------------------------------------------------

    def _accepted(self) -> None:
        started: defaultdict[int, list[str]] = defaultdict(list)
        for run_id, run in self._kept.runs.items():
            started[run.input["number"]].append(run_id)
        for number, asked in self._asked.items():
            if len(asked.run_ids) != 1 or asked.run_ids != set(started[number]):
                self.wrong("I2", f"key-{number} started {started[number]} and was answered with {asked.run_ids}")
            if self._kept.keys.get(f"key-{number}") not in asked.run_ids:
                self.wrong("I2", f"key-{number} is kept for {self._kept.keys.get(f'key-{number}')}")
            for run_id in asked.run_ids:
                self._ended(run_id, asked)
        if strangers := started.keys() - self._asked.keys():
            self.wrong("I2", f"nobody asked for the runs {sorted(strangers)}")

    def _ended(self, run_id: str, asked: Asked) -> None:
        run = self._kept.runs.get(run_id)
        if run is None:
            self.wrong("I1", f"{asked.number} was accepted as {run_id}, which is not there")
        elif run.state.status != kinds.STATUS[asked.kind] or run.state.ended_at is None:
            self.wrong("I1", f"{run_id} ({run.input}) is {run.state.status}: {run.state.failure}")
        if asked.kind == "cancelled" and asked.cancelled != "CANCELLED":
            self.wrong("I11", f"the cancel of {run_id} was answered with {asked.cancelled}")

    # --- I5, I6 ------------------------------------------------------------------------------------------------------

    def _walks(self, run: Run) -> None:
        definition = self._kept.definitions[run.state.workflow_id, run.state.version].definition
        walk = Walk(definition, self._losses_max)
        walk.follow(run.events)
        for wrong in walk.wrong:
            self.wrong("I6", f"{run.state.run_id} {wrong}")

    def _folds(self, run: Run) -> None:
        plan = self._plans.of(self._kept.definitions[run.state.workflow_id, run.state.version])
        folded = engine.fold(run.state.run_id, plan, run.events)
        if folded != run.state:
            self.wrong("I5", f"the row is {run.state}, the history says {folded}")

    # --- I3, I4: what was recorded, and what was done ----------------------------------------------------------------

    def _results(self, run_id: str, run: Run) -> None:
        completed = [event for event in run.events if isinstance(event, events.StepCompleted)]
        steps = [step for step, _ in run.results]
        if sorted(steps) != sorted({event.step for event in completed}) or len(completed) != len(steps):
            self.wrong("I3", f"{run_id} has results of {steps} and completed {completed}")
        expected = kinds.outputs_of(run.input["number"], run.input["kind"])
        for step, result in run.results:
            if result != expected[step]:
                self.wrong("I3", f"{run_id} step {step} has {result} and not {expected[step]}")
        for event in completed:
            done = [Execution(run_id, event.step, attempt) for attempt in range(1, event.attempt + 1)]
            # Who knows three fields answers for whatever attempt is open.
            is_foreign = expected[event.step]["done"][-1] == kinds.FOREIGN
            if not any(self._journal.ended[one] for one in (done if is_foreign else done[-1:])):
                self.wrong("I3", f"{run_id} step {event.step} attempt {event.attempt} completed, and nobody did it")

    def _executions(self) -> None:
        queued = {
            Execution(run_id, event.step, event.attempt)
            for run_id, run in self._kept.runs.items()
            for event in run.events
            if isinstance(event, events.StepQueued)
        }
        for execution in self._journal.begun.keys() - queued:
            self.wrong("I4", f"{execution} was executed, and no history knows of it")

    # --- I9 ----------------------------------------------------------------------------------------------------------

    def _dead_letters(self) -> None:
        written = Counter(record.letter_id for record in self._records if record.reason != "undecodable")
        values = {record.letter_id: record.value for record in self._records}
        for letter in self._kept.letters:
            if written[letter.id] != 1:
                self.wrong("I9", f"{letter.id} of {letter.run_id} has {written[letter.id]} records")
            elif json.loads(values[letter.id])["payload"] != json.loads(letter.payload):
                self.wrong("I9", f"{letter.id} has another payload than its record")
        if strangers := written.keys() - {letter.id for letter in self._kept.letters}:
            self.wrong("I9", f"records of no dead letter: {sorted(strangers)}")


def check(
    database: str,
    servers: str,
    topic: str,
    asked: Iterable[Asked],
    journal: Journal,
    losses_max: int,
    look_closer: Callable[[Kept, Journal], list[str]],
) -> Verdict:
    """Read everything, and check it; ``look_closer`` may find more."""
    kept = asyncio.run(store.read(database))
    verdict = Checker(asked, journal, kept, store.records(servers, topic), losses_max).check()
    verdict.violations += look_closer(kept, journal)
    return verdict
