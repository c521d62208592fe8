"""Definitions compiled into graphs."""

from __future__ import annotations

from orchestrator.engine.plan import Plan, PlanStep, compile_plan
from orchestrator.model.definition import RetryPolicy, StepDefinition, WorkflowDefinition
from tests.engine.story import seconds

RESERVE = StepDefinition(action="reserve", step_index=3, retry=RetryPolicy(max_retries=7))
CHARGE = StepDefinition(action="charge", step_index=10, timeout=seconds(5))
SHIP = StepDefinition(action="ship", step_index=200)


def test_every_step_of_a_sequence_depends_on_the_one_before_it() -> None:
    definition = WorkflowDefinition(id="order", steps=(RESERVE, CHARGE, SHIP), timeout=seconds(60))
    assert compile_plan(definition, 4) == Plan(
        workflow_id="order",
        version=4,
        timeout=seconds(60),
        steps={
            3: PlanStep(RESERVE, depends_on=(), dependents=(10,)),
            10: PlanStep(CHARGE, depends_on=(3,), dependents=(200,)),
            200: PlanStep(SHIP, depends_on=(10,), dependents=()),
        },
        roots=(3,),
        output_of=200,
    )


def test_a_single_step_is_first_and_last() -> None:
    plan = compile_plan(WorkflowDefinition(id="greet", steps=(CHARGE,)), 1)
    assert plan.steps == {10: PlanStep(CHARGE, depends_on=(), dependents=())}
    assert (plan.roots, plan.output_of) == ((10,), 10)


def test_the_first_step_reads_the_run_s_input_and_the_others_the_result_before_them() -> None:
    plan = compile_plan(WorkflowDefinition(id="order", steps=(RESERVE, CHARGE, SHIP)), 1)
    assert [step.input_of for step in plan.steps.values()] == [None, 3, 10]
