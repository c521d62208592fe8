"""A definition compiled into a graph of steps: once per version, then shared by all its runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.model.definition import StepDefinition, WorkflowDefinition
from orchestrator.model.times import Duration


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A step and its place in the graph."""

    definition: StepDefinition
    depends_on: tuple[int, ...]
    """Step indexes that must complete first; their results are its input."""
    dependents: tuple[int, ...]
    """Step indexes that wait for this one."""

    @property
    def input_of(self) -> int | None:
        """The step whose result is the input; None for the run's input."""
        return self.depends_on[-1] if self.depends_on else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What `engine.run` follows: the graph by step index."""

    workflow_id: str
    version: int
    timeout: Duration | None
    steps: dict[int, PlanStep]
    roots: tuple[int, ...]
    """Steps that depend on nothing."""
    output_of: int
    """The step whose result is the run's output."""
    bits: dict[int, int] = field(init=False, repr=False, compare=False)
    """A bit of its own for each step: what a run has done is one number."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", {step: 1 << place for place, step in enumerate(self.steps)})


def compile_plan(definition: WorkflowDefinition, version: int) -> Plan:
    """Make the graph of a sequence: every step depends on the one before it."""
    order = [step.step_index for step in definition.steps]
    before = dict(zip(order[1:], order, strict=False))
    after = dict(zip(order, order[1:], strict=False))
    steps = {
        step.step_index: PlanStep(
            definition=step,
            depends_on=(before[step.step_index],) if step.step_index in before else (),
            dependents=(after[step.step_index],) if step.step_index in after else (),
        )
        for step in definition.steps
    }
    return Plan(
        workflow_id=definition.id,
        version=version,
        timeout=definition.timeout,
        steps=steps,
        roots=(order[0],),
        output_of=order[-1],
    )
