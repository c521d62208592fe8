"""Answers of workers that know an action and no step: which step they are about, and which are about none."""

from __future__ import annotations

import pytest

from orchestrator.engine.command import CancelRun, StartAttempt
from orchestrator.engine.plan import Plan, compile_plan
from orchestrator.engine.run import find_step
from orchestrator.model.definition import StepDefinition, WorkflowDefinition
from orchestrator.model.job import Rejection
from orchestrator.model.times import Time
from tests.engine.story import Story, at

SAME = ("charge", "ship", "charge")


def make_sequence(*actions: str) -> Plan:
    steps = tuple(StepDefinition(action=action, step_index=index) for index, action in enumerate(actions))
    return compile_plan(WorkflowDefinition(id="flow", steps=steps), 1)


def found(story: Story, action: str, produced_at: Time | None) -> int | Rejection:
    return find_step(story.plan, story.state, action, produced_at)


def test_an_action_that_occurs_once_means_its_step_whenever_the_answer_was_written() -> None:
    story = Story(make_sequence("charge", "ship")).wait(10)
    for produced_at in (None, at(-5), at(5)):
        assert found(story, "charge", produced_at) == 0
    assert found(story.do(StartAttempt(0, 1, "w", at(10))), "charge", at(-5)) == 0


def test_an_action_that_occurs_again_means_the_open_one_unless_the_answer_is_older() -> None:
    story = Story(make_sequence(*SAME)).wait(1).complete(0).wait(1).complete(1)
    assert found(story, "charge", at(2)) == 2
    assert found(story, "charge", None) == 2
    assert found(story, "charge", at(1.5)) is Rejection.RECORDED


def test_records_carry_milliseconds() -> None:
    story = Story(make_sequence(*SAME)).wait(1.000_7).complete(0, 1)
    assert found(story, "charge", at(1)) == 2
    assert found(story, "charge", at(0.999)) is Rejection.RECORDED


@pytest.mark.parametrize(
    ("action", "rejection"),
    [("charge", Rejection.RECORDED), ("bill", Rejection.SUPERSEDED), ("fly", Rejection.UNKNOWN)],
)
def test_an_answer_about_no_open_step_says_why(action: str, rejection: Rejection) -> None:
    story = Story(make_sequence("charge", "ship", "bill")).complete(0)
    assert found(story, action, None) is rejection


def test_a_step_that_backs_off_is_in_nobodys_hands() -> None:
    story = Story(make_sequence("charge")).take().fail()
    assert found(story, "charge", None) is Rejection.SUPERSEDED


def test_a_run_that_has_ended_takes_nothing() -> None:
    story = Story(make_sequence("charge")).do(CancelRun())
    assert found(story, "charge", None) is Rejection.RUN_FINISHED
