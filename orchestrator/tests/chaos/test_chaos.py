"""A part of the crash table that is played with every run of the tests; the whole of it: ``make chaos``."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from orchestrator.adapters.failpoints.names import (
    ACTIONS,
    DELAY,
    DONE_THEN_ERROR,
    DONE_THEN_KILL,
    ERROR,
    FAILPOINTS,
    KILL,
)
from tests.chaos import faults
from tests.chaos.checker import Verdict
from tests.chaos.child import until
from tests.chaos.installation import READY_SECONDS
from tests.chaos.scenarios import CHECKS, PLENTY, scenarios, walks
from tests.chaos.stage import EMBEDDED_ONLY, Setup, Stage

pytestmark = pytest.mark.timeout(900)

DEATHS = (("kill", ["batch.written", "batch.committed"]), ("done-then-kill", ["broker.send", "results.done"]))
"""Before the commit, after it, after the production, after the offsets."""
FAULTY_RUNS = 40


def test_processes_die_and_calls_fail_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 1, Setup(workers=1, http=1))

    def deaths(stage: Stage) -> None:
        for action, names in DEATHS:
            faults.each_failpoint_once(stage, action, names)

    def failures(stage: Stage) -> None:
        """Every call fails, is late, or is done and said to have failed, each so many times."""
        turns = (ERROR, DONE_THEN_ERROR, f"{DELAY}:0.1")
        actions = {}
        for place, (name, point) in enumerate(FAILPOINTS.items()):
            action = turns[place % len(turns)]
            if (
                name not in EMBEDDED_ONLY
                and action.partition(":")[0] in point.actions
                and not (name in CHECKS and action == ERROR)
            ):
                actions[name] = action
        faults.arm_all(stage, actions)
        stage.answered(FAULTY_RUNS, 240)
        assert len(stage.met()) > 10

    with stage.open():
        quiet(stage.play(deaths, per_second=8))
        verdict = quiet(stage.play(failures, per_second=12))
    assert verdict.runs > FAULTY_RUNS


def test_every_part_dies_and_freezes_and_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    stage = Stage(tmp_path, 2, Setup(repeats=0.2))

    def parts(stage: Stage) -> None:
        stage.answered(10)
        worker, other = stage.parts.workers[:2]
        replica = stage.parts.replicas[0]
        worker.kill()
        stage.parts.postgres.kill()
        stage.parts.postgres.start(READY_SECONDS)
        stage.answered(10)
        other.freeze()
        replica.freeze()
        frozen_on = monotonic()
        stage.parts.kafka.kill()
        stage.parts.kafka.start(READY_SECONDS)
        # Past its session with the broker, and the leases of its jobs.
        until(lambda: monotonic() > frozen_on + 12, 60)
        replica.thaw()
        other.thaw()
        stage.answered(10)

    with stage.open():
        quiet(stage.play(parts, per_second=8))
        verdict = quiet(stage.play(lambda stage: faults.results_again(stage, 1, after=20), per_second=12))
    assert verdict.runs > 30


def quiet(verdict: Verdict) -> Verdict:
    """See that nothing was violated."""
    assert verdict.violations == []
    assert verdict.attempts >= verdict.runs
    return verdict


def test_every_scenario_of_the_table_has_a_name_of_its_own() -> None:
    table = scenarios(10_000)
    assert len({one.name for one in table}) == len({one.title for one in table}) == len(table)


def test_every_failpoint_is_played_with_every_action_that_it_knows() -> None:
    named = {KILL: "kill", ERROR: "error", DELAY: "delay", DONE_THEN_ERROR: "doubt", DONE_THEN_KILL: "done-then-kill"}
    played = {one.name: one.failpoints for one in scenarios(1) if one.setup == PLENTY}
    assert named.keys() == ACTIONS.keys()
    for name, point in FAILPOINTS.items():
        wanted = set() if name in EMBEDDED_ONLY else {named[action] for action in point.actions}
        assert {scenario for scenario, names in played.items() if name in names} == wanted


def test_some_failpoints_are_played_by_their_names() -> None:
    found = {one.name: one.failpoints for one in walks("roster.*d*")}
    assert found.keys() == {"kill", "done-then-kill", "error", "doubt", "delay"}
    assert set(found.values()) == {("roster.find", "roster.in_hand", "roster.drain")}
    assert [one.name for one in walks("results.take")] == ["kill", "done-then-kill", "delay"]
    assert walks("no.*") == []
