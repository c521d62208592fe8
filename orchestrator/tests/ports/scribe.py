"""Writes runs into a store as the application does: what the engine decides, as changes."""

from __future__ import annotations

from typing import Final

from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.engine.command import (
    Backoff,
    CancelRun,
    Command,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    FailAttempt,
    RedriveStep,
    Settle,
    StartAttempt,
    StartRetry,
    StartRun,
)
from orchestrator.engine.plan import Plan
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import DefinitionVersion, RetryPolicy, StepDefinition, WorkflowDefinition, digest
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import JobRow, JobState
from orchestrator.model.json import Json
from orchestrator.model.run import RunId, RunState
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.model.trace import Trace
from orchestrator.ports.store import RunChange, Store

NOW: Final = Time(1_800_000_000 * MICROS)
BROKE: Final = Failure("CardDeclined", "no funds", "charge.py:7")
TRACE: Final = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=value")


def at(seconds: float) -> Time:
    """Give the time so many seconds after the beginning."""
    return Time(NOW + round(seconds * MICROS))


def make_version(
    workflow_id: str = "order",
    number: int = 1,
    *,
    steps: int = 2,
    max_retries: int = 0,
    timeout: float | None = None,
) -> DefinitionVersion:
    """Make a version of a workflow with the actions a0, a1 and so on."""
    retry = RetryPolicy(max_retries=max_retries)
    definition = WorkflowDefinition(
        id=workflow_id,
        description=f"version {number}",
        steps=tuple(StepDefinition(action=f"a{index}", step_index=index, retry=retry) for index in range(steps)),
        timeout=None if timeout is None else Duration(round(timeout * MICROS)),
    )
    return DefinitionVersion(definition=definition, version=number, digest=digest(definition), created_at=NOW)


class Scribe:
    """Knows what it has written, run by run; the store has to know the same."""

    def __init__(self, *versions: DefinitionVersion) -> None:
        self.versions = versions or (make_version(),)
        self.states: dict[RunId, RunState] = {}
        self.histories: dict[RunId, list[Event]] = {}
        self.inputs: dict[RunId, Json] = {}
        self.results: dict[RunId, dict[int, Json]] = {}
        self._plans = Plans()
        self._made = 0

    async def define(self, store: Store) -> None:
        """Write the definitions."""
        async with store.transaction() as tx:
            for version in self.versions:
                await tx.add_definition(version)

    def start(
        self, payload: bytes = b'{"n": 1}', *, when: Time = NOW, version: int = 0, run_id: str | None = None
    ) -> RunChange:
        """Begin a run; every other one belongs to a trace."""
        self._made += 1
        name = RunId(f"run-{self._made:04}" if run_id is None else run_id)
        plan = self._plans.of(self.versions[version])
        self.histories[name], self.results[name] = [], {}
        self.inputs[name] = Json(payload)
        trace = TRACE if self._made % 2 else None
        decision = engine.start(plan, StartRun(name, trace), when)
        return self._change(name, plan, None, decision, when, created=Json(payload))

    def do(
        self, run_id: RunId, command: Command, when: Time = NOW, *, details: bytes | None = None, result: bytes = b"1"
    ) -> RunChange:
        """Let the engine decide; the command must have an effect."""
        state = self.states[run_id]
        plan = self.plan_of(run_id)
        decision = engine.decide(plan, state, command, when)
        assert isinstance(decision, Decision)
        assert decision.events
        done = (command.step, Json(result)) if isinstance(command, CompleteAttempt) else None
        if done is not None:
            self.results[run_id][done[0]] = done[1]
        leased: tuple[JobRow, ...] = ()
        if isinstance(command, StartAttempt):
            leased = (self._row(plan, run_id, command.step, command.attempt, JobState.LEASED, command, details),)
        return self._change(run_id, plan, state, decision, when, result=done, rows=leased, details=details)

    def take(self, run_id: RunId, when: Time = NOW, worker: str = "w-1", *, details: bytes | None = None) -> RunChange:
        """Let a worker take the job of the open step."""
        step, attempt = self._open(run_id)
        return self.do(run_id, StartAttempt(step, attempt, worker, when), when, details=details)

    def complete(self, run_id: RunId, result: bytes = b"1", when: Time = NOW) -> RunChange:
        """Let the open step succeed."""
        step, attempt = self._open(run_id)
        return self.do(run_id, CompleteAttempt(step, attempt, "w-1"), when, result=result)

    def fail(
        self, run_id: RunId, when: Time = NOW, *, retry_after: float = 5, details: bytes | None = None
    ) -> RunChange:
        """Let the open step fail."""
        step, attempt = self._open(run_id)
        delay = Duration(round(retry_after * MICROS))
        command = FailAttempt(step, attempt, BROKE, retry_after=delay, worker="w-1")
        return self.do(run_id, command, when, details=details)

    def retry(self, run_id: RunId, when: Time) -> RunChange:
        """Start the next attempt of the open step."""
        return self.do(run_id, StartRetry(*self._open(run_id)), when)

    def cancel(self, run_id: RunId, when: Time = NOW) -> RunChange:
        """End the run."""
        return self.do(run_id, CancelRun("not wanted"), when)

    def redrive(self, run_id: RunId, when: Time = NOW) -> RunChange:
        """Give the failed step another chance."""
        (step,) = self.states[run_id].halted
        return self.do(run_id, RedriveStep(step), when)

    def plan_of(self, run_id: RunId) -> Plan:
        """Give the plan that a run follows."""
        state = self.states[run_id]
        for version in self.versions:
            if (version.definition.id, version.version) == (state.workflow_id, state.version):
                return self._plans.of(version)
        raise AssertionError(run_id)

    def _open(self, run_id: RunId) -> tuple[int, int]:
        ((step, state),) = self.states[run_id].open.items()
        return step, state.attempt

    def _change(
        self,
        run_id: RunId,
        plan: Plan,
        before: RunState | None,
        decision: Decision,
        when: Time,
        *,
        created: Json | None = None,
        result: tuple[int, Json] | None = None,
        rows: tuple[JobRow, ...] = (),
        details: bytes | None = None,
    ) -> RunChange:
        state = engine.fold(run_id, plan, decision.events, before)
        self.states[run_id] = state
        self.histories[run_id] += decision.events
        jobs, settled, letter = list(rows), [], None
        for effect in decision.effects:
            match effect:
                case Dispatch():
                    jobs.append(self._row(plan, run_id, effect.step, effect.attempt, JobState.PENDING, None, details))
                case Backoff():
                    row = self._row(plan, run_id, effect.step, effect.attempt, JobState.BACKOFF, None, details)
                    row.due_at = effect.until
                    jobs.append(row)
                case Settle():
                    settled.append(effect.step)
                case DeadLetterStep():
                    letter = self._letter(plan, run_id, effect, when)
        return RunChange(
            state=state,
            events=decision.events,
            created=created,
            result=result,
            output_of=plan.output_of,
            jobs=tuple(jobs),
            settled=tuple(settled),
            dead_letter=letter,
        )

    def _row(
        self,
        plan: Plan,
        run_id: RunId,
        step: int,
        attempt: int,
        state: JobState,
        taken: StartAttempt | None,
        details: bytes | None,
    ) -> JobRow:
        place = plan.steps[step]
        return JobRow(
            run_id=run_id,
            workflow_id=plan.workflow_id,
            version=plan.version,
            step=step,
            attempt=attempt,
            action=place.definition.action,
            state=state,
            input_of=place.input_of,
            alone=attempt > 2,
            due_at=None if taken is None else Time(taken.started_at + 30 * MICROS),
            worker=None if taken is None else taken.worker,
            started_at=None if taken is None else taken.started_at,
            details=None if details is None else Json(details),
        )

    def _letter(self, plan: Plan, run_id: RunId, effect: DeadLetterStep, when: Time) -> DeadLetter:
        input_of = plan.steps[effect.step].input_of
        return DeadLetter(
            id=f"{run_id}:{effect.step}:{effect.attempt}",
            run_id=run_id,
            workflow_id=plan.workflow_id,
            step=effect.step,
            action=plan.steps[effect.step].definition.action,
            attempt=effect.attempt,
            attempts=effect.attempts,
            failure=effect.failure,
            payload=self.inputs[run_id] if input_of is None else self.results[run_id][input_of],
            worker="w-1",
            created_at=when,
        )
