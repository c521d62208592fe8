"""The checker is checked: a world in which all is well, and each way in which it could not be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.app.plans import Plans
from orchestrator.bootstrap import open_orchestrator
from orchestrator.engine import run as engine
from orchestrator.engine.plan import Plan
from orchestrator.model import event as events
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import DefinitionVersion, digest, parse_definition
from orchestrator.model.event import Event, Failure
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Time
from orchestrator.settings import Settings
from tests.chaos import kinds, store
from tests.chaos.checker import Checker
from tests.chaos.client import Asked
from tests.chaos.journal import Journal, Pen
from tests.chaos.kinds import Kind
from tests.chaos.poison import MARGIN_SECONDS, effects_of
from tests.chaos.store import Kept, Record, Run
from tests.real import Real

BEGAN = 1_800_000_000
"""Seconds since 1970."""
LEASE = 10.0
SESSION = 6.0
LOSSES_MAX = 3
BROKE = Failure("Broke")


def at(seconds: float) -> Time:
    return Time(round((BEGAN + seconds) * MICROS))


class World:
    """What clients asked for, what workers did, and what is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plans = Plans()
        self.session = SESSION
        """What a pill costs the workers of a group; 0 where there is none."""
        self.asked: dict[int, Asked] = {}
        self.records: list[Record] = []
        definitions = {}
        for body in kinds.WORKFLOWS.values():
            definition = parse_definition(json.dumps(body).encode(), Limits())
            definitions[definition.id, 1] = DefinitionVersion(
                definition=definition, version=1, digest=digest(definition), created_at=at(0)
            )
        self.kept = Kept({}, definitions, [], {})

    def add(self, number: int, kind: Kind, *history: Event, results: int = 0) -> str:
        """Add a run with its history, and what follows from it."""
        run_id = f"run-{number}"
        began = events.RunStarted(at(0), kinds.workflow_of(kind), 1)
        run = Run(engine.begin(RunId(run_id), self._plan(kind), began), kinds.input_of(number, kind))
        run.events = [began, *history]
        run.results = [(step, output) for step, output in enumerate(kinds.outputs_of(number, kind)[:results])]
        self.kept.runs[run_id] = run
        self.kept.keys[f"key-{number}"] = run_id
        self.asked[number] = Asked(number, kind, {run_id})
        self.refold(run_id)
        for event in history:
            if isinstance(event, events.StepFailed):
                self.add_letter(run_id, event.step, event.attempt)
        return run_id

    def refold(self, run_id: str) -> None:
        """Let the row be what the history says."""
        run = self.kept.runs[run_id]
        run.state = engine.fold(RunId(run_id), self._plan(run.input["kind"]), run.events)

    def add_letter(self, run_id: str, step: int, attempt: int) -> None:
        """Add a dead letter and its record."""
        payload = Json(json.dumps(self.kept.runs[run_id].input).encode())
        letter = DeadLetter(
            id=f"{run_id}:{step}:{attempt}",
            run_id=RunId(run_id),
            workflow_id=self.kept.runs[run_id].state.workflow_id,
            step=step,
            action="fail",
            attempt=attempt,
            attempts=attempt,
            failure=BROKE,
            payload=payload,
            worker=None,
            created_at=at(0),
        )
        self.kept.letters.append(letter)
        self.records.append(Record(letter.id, "exhausted", json.dumps({"payload": json.loads(payload)}).encode()))

    def life(self, *lines: tuple[str, int, int, int, float]) -> None:
        """Write the journal of a process: word, number of the run, step, attempt, second."""
        self.rewrite(len(list(self._folder.iterdir())), *lines)

    def rewrite(self, place: int, *lines: tuple[str, int, int, int, float]) -> None:
        """Put another journal in the place of one."""
        written = "".join(
            f"{word} run-{number} {step} {attempt} {BEGAN + second:.6f}\n"
            for word, number, step, attempt, second in lines
        )
        (self._folder / f"life-{place}").write_text(written)

    def violations(self) -> list[str]:
        """Check."""
        journal = Journal(self._folder)
        verdict = Checker(self.asked.values(), journal, self.kept, self.records, LOSSES_MAX).check()
        return verdict.violations + effects_of(self.kept, journal, LOSSES_MAX, LEASE, self.session).violations

    def _plan(self, kind: Kind) -> Plan:
        return self._plans.of(self.kept.definitions[kinds.workflow_of(kind), 1])


def done(step: int, second: float, attempt: int = 1, *, alone: bool = False) -> list[Event]:
    return [
        events.StepQueued(at(second), step, attempt, alone),
        events.AttemptStarted(at(second), step, attempt, "worker"),
        events.StepCompleted(at(second + 1), step, attempt),
    ]


def lost(step: int, second: float, attempt: int, *, until: float | None, alone: bool) -> list[Event]:
    return [
        events.StepQueued(at(second), step, attempt, alone),
        events.AttemptStarted(at(second), step, attempt, "worker"),
        events.AttemptLost(at(second + 1), step, attempt, BROKE, None if until is None else at(until)),
    ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One run of each way to end, and a pill (4) that took a neighbour (5) along."""
    made = World(tmp_path)
    made.add(1, "plain", *done(0, 1), *done(1, 2), *done(2, 3), events.RunCompleted(at(4)), results=3)
    made.life(*((word, 1, step, 1, 1.0 + step) for step in range(3) for word in ("begin", "end")))
    failed = [
        event
        for attempt in (1, 2)
        for event in (
            events.StepQueued(at(2), 1, attempt),
            events.AttemptStarted(at(2), 1, attempt, "worker"),
            events.AttemptFailed(at(2), 1, attempt, BROKE, at(2) if attempt == 1 else None),
        )
    ]
    made.add(
        2,
        "doomed",
        *done(0, 1),
        *failed,
        events.StepFailed(at(3), 1, 2),
        events.RunFailed(at(3), 1, BROKE),
        results=1,
    )
    made.life(("begin", 2, 0, 1, 1.0), ("end", 2, 0, 1, 1.5), ("begin", 2, 1, 1, 2.0), ("begin", 2, 1, 2, 2.0))
    made.add(
        3,
        "cancelled",
        events.StepQueued(at(1), 0, 1),
        events.StepCancelled(at(2), 0, 1),
        events.RunCancelled(at(2)),
    )
    made.asked[3].cancelled = "CANCELLED"
    swallowed = [
        event
        for attempt in range(1, 5)
        for event in lost(0, attempt, attempt, until=attempt + 1 if attempt < 4 else None, alone=attempt > 1)
    ]
    made.add(4, "poison", *swallowed, events.StepFailed(at(5), 0, 4), events.RunFailed(at(5), 0, BROKE))
    # The neighbour was in hand when the first attempt killed the worker.
    made.life(("begin", 5, 0, 1, 1.0), ("begin", 4, 0, 1, 1.5))
    for attempt in (2, 3, 4):
        made.life(("begin", 4, 0, attempt, attempt + 0.5))
    made.add(
        5,
        "plain",
        *lost(0, 1, 1, until=3, alone=False),
        *done(0, 3, 2, alone=True),
        *done(1, 4),
        *done(2, 5),
        events.RunCompleted(at(6)),
        results=3,
    )
    places = [(0, 2, 3.0), (1, 1, 4.0), (2, 1, 5.0)]
    made.life(*((word, 5, step, attempt, s) for step, attempt, s in places for word in ("begin", "end")))
    return made


def test_nothing_is_wrong_where_all_is_well(world: World) -> None:
    assert world.violations() == []


def _run_is_gone(world: World) -> None:
    del world.kept.runs["run-1"]


def _run_never_ended(world: World) -> None:
    world.kept.runs["run-1"].events.pop()
    world.refold("run-1")


def _run_ended_otherwise(world: World) -> None:
    world.kept.runs["run-1"].events[-1] = events.RunCancelled(at(4))
    world.refold("run-1")


def _key_began_two_runs(world: World) -> None:
    world.kept.runs["run-9"] = replace_run(world, "run-1", "run-9")


def _key_leads_elsewhere(world: World) -> None:
    world.kept.keys["key-1"] = "run-2"


def _repeated_trigger_was_answered_otherwise(world: World) -> None:
    world.asked[1].run_ids.add("run-2")


def _nobody_asked(world: World) -> None:
    del world.asked[1]


def _cancel_was_answered_and_is_not(world: World) -> None:
    world.asked[3].cancelled = "RUNNING"


def _result_is_recorded_twice(world: World) -> None:
    run = world.kept.runs["run-1"]
    run.results.append(run.results[0])


def _result_is_missing(world: World) -> None:
    world.kept.runs["run-1"].results.pop()


def _result_is_another_runs(world: World) -> None:
    run = world.kept.runs["run-1"]
    run.results[0] = (0, kinds.outputs_of(7, "plain")[0])


def _nobody_did_it(world: World) -> None:
    world.add(6, "plain", *done(0, 1), *done(1, 2), *done(2, 3), events.RunCompleted(at(4)), results=3)
    world.life(*((word, 6, step, 1, 1.0) for step in (0, 1) for word in ("begin", "end")))


def _result_of_an_attempt_that_was_over(world: World) -> None:
    """The fence let through what attempt 1 said, as if attempt 2 had."""
    world.add(
        6,
        "flaky",
        *lost(0, 1, 1, until=2, alone=False),
        *done(0, 2, 2, alone=True),
        *done(1, 4),
        *done(2, 5),
        events.RunCompleted(at(6)),
        results=3,
    )
    world.life(*((word, 6, step, 1, 1.1 + step) for step in range(3) for word in ("begin", "end")))


def _executed_without_history(world: World) -> None:
    world.life(("begin", 1, 0, 2, 9.0))


def _row_is_not_the_history(world: World) -> None:
    run = world.kept.runs["run-1"]
    run.state = replace(run.state, current_step=1)


def _attempt_is_passed_over(world: World) -> None:
    run = world.kept.runs["run-1"]
    run.events[1:4] = done(0, 1, 2)
    world.refold("run-1")


def _letter_is_missing(world: World) -> None:
    world.kept.letters = [letter for letter in world.kept.letters if letter.run_id != "run-2"]
    world.records = [record for record in world.records if not record.letter_id.startswith("run-2")]


def _letter_is_there_twice(world: World) -> None:
    world.add_letter("run-2", 1, 1)


def _letter_of_an_innocent(world: World) -> None:
    world.add_letter("run-1", 0, 1)


def _record_is_missing(world: World) -> None:
    world.records.pop(0)


def _record_is_there_twice(world: World) -> None:
    world.records.append(world.records[0])


def _record_of_nothing(world: World) -> None:
    world.records.append(Record("run-1:0:1", "exhausted", b"{}"))


def _record_has_another_payload(world: World) -> None:
    world.records[0].value = b'{"payload": 1}'


BROKEN: list[tuple[Callable[[World], None], str]] = [
    (_run_is_gone, "I1"),
    (_run_never_ended, "I1"),
    (_run_ended_otherwise, "I1"),
    (_key_began_two_runs, "I2"),
    (_key_leads_elsewhere, "I2"),
    (_repeated_trigger_was_answered_otherwise, "I2"),
    (_nobody_asked, "I2"),
    (_cancel_was_answered_and_is_not, "I11"),
    (_result_is_recorded_twice, "I3"),
    (_result_is_missing, "I3"),
    (_result_is_another_runs, "I3"),
    (_nobody_did_it, "I3"),
    (_result_of_an_attempt_that_was_over, "I3"),
    (_executed_without_history, "I4"),
    (_row_is_not_the_history, "I5"),
    (_attempt_is_passed_over, "I6"),
    (_letter_is_missing, "I9"),
    (_letter_is_there_twice, "I9"),
    (_letter_of_an_innocent, "I9"),
    (_record_is_missing, "I9"),
    (_record_is_there_twice, "I9"),
    (_record_of_nothing, "I9"),
    (_record_has_another_payload, "I9"),
]


@pytest.mark.parametrize(("violate", "invariant"), BROKEN)
def test_what_is_violated_is_noticed(world: World, violate: Callable[[World], None], invariant: str) -> None:
    violate(world)
    assert [one for one in world.violations() if one.startswith(f"{invariant}:")]


def _pill_has_an_attempt_too_few(world: World) -> None:
    run = world.kept.runs["run-4"]
    del run.events[7:10]


def _pill_is_begun_twice_in_one_attempt(world: World) -> None:
    world.life(("begin", 4, 0, 2, 2.6))


def _pill_has_company(world: World) -> None:
    run = world.kept.runs["run-4"]
    run.events[4] = events.StepQueued(at(2), 0, 2, alone=False)


def _pill_has_no_letter(world: World) -> None:
    world.kept.letters.clear()


def _neighbour_is_lost_twice(world: World) -> None:
    run = world.kept.runs["run-5"]
    run.events[4:7] = [*lost(0, 3, 2, until=4, alone=True), *done(0, 4, 3, alone=True)]
    world.life(("begin", 5, 0, 3, 4.0), ("end", 5, 0, 3, 4.5))


def _neighbour_is_lost_without_a_death(world: World) -> None:
    run = world.kept.runs["run-1"]
    run.events[1:4] = [*lost(0, 0, 1, until=1, alone=False), *done(0, 9, 2, alone=True)]
    run.events[3] = replace(run.events[3], at=at(1))
    world.life(("begin", 1, 0, 2, 9.0), ("end", 1, 0, 2, 9.5))


def _neighbour_waits_too_long_for_its_next_attempt(world: World) -> None:
    world.rewrite(6, ("begin", 5, 0, 2, 1.5 + LEASE + MARGIN_SECONDS + SESSION + 1))


def _neighbour_is_not_served(world: World) -> None:
    run = world.kept.runs["run-5"]
    run.events[9] = events.StepCompleted(at(4 + LEASE + MARGIN_SECONDS + SESSION + 2), 1, 1)


POISONED: list[tuple[Callable[[World], None], str]] = [
    (_pill_has_an_attempt_too_few, "had 3 attempts and lost 3, not 4"),
    (_pill_is_begun_twice_in_one_attempt, "was begun so often"),
    (_pill_has_company, "ran alone: [False, False, True, True]"),
    (_pill_has_no_letter, "has 0 dead letters"),
    (_neighbour_is_lost_twice, "was lost 2 times beside a pill"),
    (_neighbour_is_lost_without_a_death, "was lost, and nobody had died"),
    (_neighbour_waits_too_long_for_its_next_attempt, "s after its worker had died"),
    (_neighbour_is_not_served, "s late beside a pill"),
]


@pytest.mark.parametrize(("violate", "told"), POISONED)
def test_what_a_pill_does_beyond_its_right_is_noticed(
    world: World, violate: Callable[[World], None], told: str
) -> None:
    violate(world)
    assert [one for one in world.violations() if told in one]


def test_a_pill_holds_up_a_neighbour_for_one_session_of_its_group_and_where_there_is_none_for_nothing(
    world: World,
) -> None:
    world.rewrite(6, ("begin", 5, 0, 2, 1.5 + LEASE + MARGIN_SECONDS + SESSION - 1))
    told = "s after its worker had died"
    assert [one for one in world.violations() if told in one] == []
    world.session = 0
    assert [one for one in world.violations() if told in one]


def test_what_is_stuck_is_named(real: Real, fresh_database: Callable[..., str], tmp_path: Path) -> None:
    template = real.postgres().template("schema", lambda url: asyncio.run(migrate(url)))
    database = fresh_database(template=template)

    async def leave_open() -> str:
        async with open_orchestrator(Settings(database=database, data=tmp_path)) as orchestrator:
            await orchestrator.define(json.dumps(kinds.WORKFLOWS["plain"]).encode())
            return (await orchestrator.trigger("chain", b"", None)).run_id

    run_id = asyncio.run(leave_open())
    assert asyncio.run(store.waiting(database)) == [f"run {run_id} RUNNING", f"job {run_id} step 0 attempt 1 pending"]


def test_a_process_writes_down_what_it_begins_and_ends(tmp_path: Path) -> None:
    pen = Pen(tmp_path)
    pen.begin("run-1", 0, 1)
    pen.end("run-1", 0, 1)
    pen.begin("run-2", 0, 1)
    journal = Journal(tmp_path)
    assert [[line.word for line in life] for life in journal.lives] == [["begin", "end", "begin"]]
    assert (journal.begun.total(), journal.ended.total()) == (2, 1)


def replace_run(world: World, old: str, new: str) -> Run:
    """Give a copy of a run under another id."""
    run = world.kept.runs[old]
    return Run(replace(run.state, run_id=RunId(new)), run.input, run.events, run.results)
