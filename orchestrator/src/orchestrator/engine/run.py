"""The state machine of a run and its steps.

Rule 1: every change of a run's or a step's state is decided in this file, and is a row of its tables.
Rule 2: this file knows no clock, store, broker or log; callers pass time and chance in.
Rule 3: `decide` changes nothing and `evolve` decides nothing: a state is the fold of its events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from orchestrator.engine import retry
from orchestrator.engine.command import (
    NOTHING,
    Backoff,
    CancelRun,
    Command,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    Effect,
    FailAttempt,
    LoseAttempt,
    RedriveStep,
    ReleaseAttempt,
    Settle,
    StartAttempt,
    StartRetry,
    StartRun,
    TimeOutAttempt,
    TimeOutRun,
    Withdraw,
)
from orchestrator.engine.plan import Plan
from orchestrator.model.errors import InvariantBroken
from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    Failure,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunRedriven,
    RunResumed,
    RunStarted,
    RunTimedOut,
    RunWaiting,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
)
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep, RunId, RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import Duration, Time, seconds

TIMED_OUT_TYPE: Final = "StepTimeout"
"""The type of the failure of an attempt whose timeout ran out."""
RUN_TIMED_OUT_TYPE: Final = "RunTimeout"
"""The type of the failure of a run whose timeout ran out."""
LOST_TYPE: Final = "WorkerLost"
"""The type of the failure of an attempt that was lost with its worker."""

RUN_TRANSITIONS: Final[dict[tuple[RunStatus, type[Event]], RunStatus]] = {
    (RunStatus.RUNNING, RunWaiting): RunStatus.WAITING,
    (RunStatus.RUNNING, RunCompleted): RunStatus.COMPLETED,
    (RunStatus.RUNNING, RunFailed): RunStatus.FAILED,
    (RunStatus.RUNNING, RunCancelled): RunStatus.CANCELLED,
    (RunStatus.RUNNING, RunTimedOut): RunStatus.TIMED_OUT,
    (RunStatus.WAITING, RunResumed): RunStatus.RUNNING,
    (RunStatus.WAITING, RunCancelled): RunStatus.CANCELLED,
    (RunStatus.WAITING, RunTimedOut): RunStatus.TIMED_OUT,
    (RunStatus.FAILED, RunRedriven): RunStatus.RUNNING,
}
"""(state, event) -> state of a run. `RunStarted` makes one that is RUNNING."""

STEP_TRANSITIONS: Final[dict[tuple[StepStatus, type[Event]], StepStatus]] = {
    (StepStatus.PENDING, StepQueued): StepStatus.QUEUED,
    (StepStatus.QUEUED, AttemptStarted): StepStatus.RUNNING,
    (StepStatus.QUEUED, StepCancelled): StepStatus.CANCELLED,
    (StepStatus.RUNNING, StepCompleted): StepStatus.COMPLETED,
    (StepStatus.RUNNING, AttemptReleased): StepStatus.BACKING_OFF,
    (StepStatus.RUNNING, AttemptFailed): StepStatus.BACKING_OFF,
    (StepStatus.RUNNING, AttemptLost): StepStatus.BACKING_OFF,
    (StepStatus.RUNNING, StepCancelled): StepStatus.CANCELLED,
    (StepStatus.BACKING_OFF, StepQueued): StepStatus.QUEUED,
    (StepStatus.BACKING_OFF, StepFailed): StepStatus.FAILED,
    (StepStatus.BACKING_OFF, StepCancelled): StepStatus.CANCELLED,
    (StepStatus.FAILED, StepQueued): StepStatus.QUEUED,
    (StepStatus.CANCELLED, StepQueued): StepStatus.QUEUED,
}
"""(state, event) -> state of a step. A failed attempt passes through BACKING_OFF even when nothing follows it."""

_IN_HANDS: Final = frozenset({StepStatus.QUEUED, StepStatus.RUNNING})
"""An attempt is on its way to a worker, or with one."""

_Timed = TypeVar("_Timed", CompleteAttempt, FailAttempt, ReleaseAttempt)


# --- decide ------------------------------------------------------------------------------------------------------


def start(plan: Plan, command: StartRun, now: Time) -> Decision:
    """Begin a run: its first steps are queued."""
    deadline = None if plan.timeout is None else Time(now + plan.timeout)
    events: list[Event] = [RunStarted(now, plan.workflow_id, plan.version, deadline, command.trace)]
    effects: list[Effect] = []
    for step in plan.roots:
        _queue(plan, step, 1, alone=False, now=now, events=events, effects=effects)
    return Decision(tuple(events), tuple(effects))


def decide(plan: Plan, state: RunState, command: Command, now: Time) -> Decision | Rejection:
    """Say what a command does to a run. Changes nothing.

    Returns:
        The decision; empty (`NOTHING`) where a timer or a sign of life came too late to matter. A rejection where a
        report, a cancel request or a redrive cannot have its effect.
    """
    return _DECIDE[type(command)](plan, state, command, now)


def _start_attempt(plan: Plan, state: RunState, command: StartAttempt, now: Time) -> Decision:
    step = state.open.get(command.step)
    if step is None or step.attempt != command.attempt or step.status is not StepStatus.QUEUED:
        return NOTHING
    return Decision((AttemptStarted(command.started_at, command.step, command.attempt, command.worker),))


def _complete(plan: Plan, state: RunState, command: CompleteAttempt, now: Time) -> Decision | Rejection:
    step = _reported(plan, state, command)
    if isinstance(step, Rejection):
        return step
    events: list[Event] = _begun(step, command, now)
    effects: list[Effect] = [Settle(command.step)]
    events.append(StepCompleted(now, command.step, command.attempt))
    if state.completed + 1 == len(plan.steps):
        events.append(RunCompleted(now))
        return Decision(tuple(events), tuple(effects))
    for dependent in plan.steps[command.step].dependents:
        if state.joins.get(dependent, len(plan.steps[dependent].depends_on)) == 1:
            _queue(plan, dependent, 1, alone=False, now=now, events=events, effects=effects)
    _wait_if_idle(state, command.step, events, now)
    return Decision(tuple(events), tuple(effects))


def _fail(plan: Plan, state: RunState, command: FailAttempt, now: Time) -> Decision | Rejection:
    step = _reported(plan, state, command)
    if isinstance(step, Rejection):
        return step
    delay = retry.retry_delay(
        plan.steps[command.step].definition.retry,
        command.failure,
        step.failures + 1,
        retryable=command.retryable,
        retry_after=command.retry_after,
        draw=command.draw,
    )
    retry_at = None if delay is None else Time(now + delay)
    events = _begun(step, command, now)
    events.append(AttemptFailed(now, command.step, command.attempt, command.failure, retry_at))
    return _after_failure(state, command.step, step, command.failure, retry_at, events, now, withdraw=False)


def _release(plan: Plan, state: RunState, command: ReleaseAttempt, now: Time) -> Decision | Rejection:
    step = _reported(plan, state, command)
    if isinstance(step, Rejection):
        return step
    events = _begun(step, command, now)
    events.append(AttemptReleased(now, command.step, command.attempt))
    effects: list[Effect] = []
    alone = step.is_suspect
    _queue(plan, command.step, step.attempt + 1, alone=alone, now=now, events=events, effects=effects)
    return Decision(tuple(events), tuple(effects))


def _time_out_attempt(plan: Plan, state: RunState, command: TimeOutAttempt, now: Time) -> Decision:
    step = state.open.get(command.step)
    if step is None or step.attempt != command.attempt or step.status is not StepStatus.RUNNING:
        return NOTHING
    definition = plan.steps[command.step].definition
    limit = 0 if definition.timeout is None else seconds(definition.timeout)
    failure = Failure(TIMED_OUT_TYPE, f"no result within {limit} s of the start")
    delay = retry.retry_delay(
        definition.retry, failure, step.failures + 1, retryable=True, retry_after=None, draw=command.draw
    )
    retry_at = None if delay is None else Time(now + delay)
    events: list[Event] = [
        AttemptFailed(now, command.step, command.attempt, failure, retry_at, timed_out=True, suspect=command.suspect)
    ]
    return _after_failure(state, command.step, step, failure, retry_at, events, now, withdraw=True)


def _lose(plan: Plan, state: RunState, command: LoseAttempt, now: Time) -> Decision:
    step = state.open.get(command.step)
    if step is None or step.attempt != command.attempt or step.status is not StepStatus.RUNNING:
        return NOTHING
    policy = plan.steps[command.step].definition.retry
    failure = Failure(LOST_TYPE, command.reason)
    delay: Duration | None = None
    if LOST_TYPE not in policy.non_retryable:
        delay = retry.loss_delay(policy, step.losses + 1, command.lost_attempts_max, command.draw)
    retry_at = None if delay is None else Time(now + delay)
    events: list[Event] = [AttemptLost(now, command.step, command.attempt, failure, retry_at)]
    return _after_failure(state, command.step, step, failure, retry_at, events, now, withdraw=True)


def _start_retry(plan: Plan, state: RunState, command: StartRetry, now: Time) -> Decision:
    step = state.open.get(command.step)
    if step is None or step.attempt != command.attempt or step.status is not StepStatus.BACKING_OFF:
        return NOTHING
    if step.retry_at is not None and now < step.retry_at:
        # The clock was set back since the timer was read: never early.
        return Decision((), (Backoff(command.step, command.attempt, step.retry_at),))
    events: list[Event] = []
    effects: list[Effect] = []
    if state.status is RunStatus.WAITING:
        events.append(RunResumed(now))
    alone = step.is_suspect
    _queue(plan, command.step, step.attempt + 1, alone=alone, now=now, events=events, effects=effects)
    return Decision(tuple(events), tuple(effects))


def _cancel(plan: Plan, state: RunState, command: CancelRun, now: Time) -> Decision | Rejection:
    if state.status is RunStatus.CANCELLED:
        return NOTHING
    if not state.is_open:
        return Rejection.RUN_FINISHED
    events, effects = _halt(state, None, now)
    return Decision((*events, RunCancelled(now, command.reason)), tuple(effects))


def _time_out_run(plan: Plan, state: RunState, command: TimeOutRun, now: Time) -> Decision:
    if not state.is_open or state.deadline is None or now < state.deadline:
        return NOTHING
    events, effects = _halt(state, None, now)
    return Decision((*events, RunTimedOut(now)), tuple(effects))


def _redrive(plan: Plan, state: RunState, command: RedriveStep, now: Time) -> Decision | Rejection:
    halted = state.halted.get(command.step)
    if state.status is not RunStatus.FAILED or halted is None or halted.status is not StepStatus.FAILED:
        return Rejection.RUN_FINISHED
    deadline = None if plan.timeout is None else Time(now + plan.timeout)
    events: list[Event] = [RunRedriven(now, command.step, deadline)]
    effects: list[Effect] = []
    for index, step in sorted(state.halted.items()):
        _queue(plan, index, step.attempt + 1, alone=step.is_suspect, now=now, events=events, effects=effects)
    return Decision(tuple(events), tuple(effects))


def find_step(plan: Plan, state: RunState, action: str, produced_at: Time | None) -> int | Rejection:
    """Find the open step that a worker means who knows the action only.

    Where the action occurs once, that is its step. Where it occurs more often, an answer that was written before the
    open one was queued belongs to one that is over: it came late, or twice.
    """
    if not state.is_open:
        return Rejection.RUN_FINISHED
    alike = [index for index, place in plan.steps.items() if place.definition.action == action]
    waiting = (index for index in alike if (step := state.open.get(index)) and step.status in _IN_HANDS)
    index = next(waiting, None)
    if index is None:
        done = any(state.done & plan.bits[index] for index in alike)
        return Rejection.RECORDED if done else Rejection.SUPERSEDED if alike else Rejection.UNKNOWN
    # Records carry milliseconds.
    if len(alike) > 1 and produced_at is not None and produced_at // 1_000 < state.open[index].queued_at // 1_000:
        return Rejection.RECORDED
    return index


def _reported(plan: Plan, state: RunState, command: _Timed) -> OpenStep | Rejection:
    """Find the open step that a report is about, or say why it changes nothing: the fence of guarantee 2."""
    if not state.is_open:
        return Rejection.RUN_FINISHED
    step = state.open.get(command.step)
    if step is None:
        return Rejection.RECORDED if state.done & plan.bits.get(command.step, 0) else Rejection.SUPERSEDED
    if step.attempt != command.attempt or step.status is StepStatus.BACKING_OFF:
        return Rejection.SUPERSEDED
    return step


def _begun(step: OpenStep, command: _Timed, now: Time) -> list[Event]:
    """Record the start of an attempt that was over before its start was recorded."""
    if step.status is not StepStatus.QUEUED:
        return []
    started_at = now if command.started_at is None else command.started_at
    return [AttemptStarted(started_at, command.step, command.attempt, command.worker)]


def _queue(
    plan: Plan, step: int, attempt: int, *, alone: bool, now: Time, events: list[Event], effects: list[Effect]
) -> None:
    place = plan.steps[step]
    events.append(StepQueued(now, step, attempt, alone))
    effects.append(Dispatch(step, attempt, place.definition.action, place.input_of, alone))


def _after_failure(
    state: RunState,
    index: int,
    step: OpenStep,
    failure: Failure,
    retry_at: Time | None,
    events: list[Event],
    now: Time,
    *,
    withdraw: bool,
) -> Decision:
    """Retry, or make the step a dead letter and fail its run."""
    effects: list[Effect] = [Withdraw(index, step.attempt)] if withdraw else []
    if retry_at is not None:
        effects.append(Backoff(index, step.attempt, retry_at))
        _wait_if_idle(state, index, events, now)
        return Decision(tuple(events), tuple(effects))
    events.append(StepFailed(now, index, step.attempt))
    attempts = step.failures + step.losses + 1
    effects += (Settle(index), DeadLetterStep(index, step.attempt, attempts, failure))
    halted, halting = _halt(state, index, now)
    return Decision((*events, *halted, RunFailed(now, index, failure)), (*effects, *halting))


def _wait_if_idle(state: RunState, leaving: int, events: list[Event], now: Time) -> None:
    """The run waits when every step that stays open backs off and no other was queued just now."""
    if any(type(event) is StepQueued for event in events):
        return
    others = (step.status for index, step in state.open.items() if index != leaving)
    if all(status is StepStatus.BACKING_OFF for status in others):
        events.append(RunWaiting(now))


def _halt(state: RunState, failed: int | None, now: Time) -> tuple[list[Event], list[Effect]]:
    """Close every open step but the failed one."""
    events: list[Event] = []
    effects: list[Effect] = []
    for index, step in state.open.items():
        if index != failed:
            events.append(StepCancelled(now, index, step.attempt))
            effects += (Withdraw(index, step.attempt), Settle(index))
    return events, effects


_DECIDE: Final[dict[type[Command], Callable[[Plan, RunState, Any, Time], Decision | Rejection]]] = {
    StartAttempt: _start_attempt,
    CompleteAttempt: _complete,
    FailAttempt: _fail,
    ReleaseAttempt: _release,
    TimeOutAttempt: _time_out_attempt,
    LoseAttempt: _lose,
    StartRetry: _start_retry,
    CancelRun: _cancel,
    TimeOutRun: _time_out_run,
    RedriveStep: _redrive,
}


# --- evolve ------------------------------------------------------------------------------------------------------


def begin(run_id: RunId, plan: Plan, event: RunStarted) -> RunState:
    """Make the state of a run from its first event."""
    return RunState(
        run_id=run_id,
        workflow_id=event.workflow_id,
        version=event.version,
        status=RunStatus.RUNNING,
        started_at=event.at,
        deadline=event.deadline,
        open={},
        joins={},
        halted={},
        trace=event.trace,
    )


def fold(run_id: RunId, plan: Plan, events: Iterable[Event], state: RunState | None = None) -> RunState:
    """Make a state from a history, or take one further.

    Raises:
        InvariantBroken: an event that no table allows, or a history that does not begin with its start.
    """
    for event in events:
        if state is None:
            if type(event) is not RunStarted:
                raise InvariantBroken(f"the history of {run_id} begins with {event}")
            state = begin(run_id, plan, event)
        else:
            state = evolve(plan, state, event)
    if state is None:
        raise InvariantBroken(f"the history of {run_id} is empty")
    return state


def evolve(plan: Plan, state: RunState, event: Event) -> RunState:
    """Apply one event: the only maker of a new state.

    Raises:
        InvariantBroken: no table allows the event in this state.
    """
    if type(event) not in _STEP_EVENTS:
        after = RUN_TRANSITIONS.get((state.status, type(event)))
        if after is None:
            raise InvariantBroken(f"{type(event).__name__} in a run that is {state.status}")
        return _RUN_EVENTS[type(event)](plan, state, event, after)
    if not state.is_open:
        raise InvariantBroken(f"{event} in a run that is {state.status}")
    step_event = cast(_StepEvent, event)
    before = _step_status(plan, state, step_event.step)
    if (before, type(event)) not in STEP_TRANSITIONS:
        raise InvariantBroken(f"{event} at a step that is {before}")
    return _STEP_EVENTS[type(event)](plan, state, step_event)


def _step_status(plan: Plan, state: RunState, index: int) -> StepStatus:
    step = state.open.get(index)
    if step is not None:
        return step.status
    halted = state.halted.get(index)
    if halted is not None:
        return halted.status
    if index not in plan.bits:
        raise InvariantBroken(f"step {index} is not in version {plan.version} of {plan.workflow_id}")
    return StepStatus.COMPLETED if state.done & plan.bits[index] else StepStatus.PENDING


_StepEvent = (
    StepQueued
    | AttemptStarted
    | StepCompleted
    | AttemptFailed
    | AttemptLost
    | AttemptReleased
    | StepFailed
    | StepCancelled
)


def _queued(plan: Plan, state: RunState, event: StepQueued) -> RunState:
    before = state.open.get(event.step)
    after = OpenStep(
        StepStatus.QUEUED,
        event.attempt,
        before.failures if before else 0,
        before.losses if before else 0,
        None,
        before.failure if before else None,
        event.alone,
        before.suspect if before else False,
        event.at,
    )
    halted = state.halted
    if event.step in halted:
        halted = {index: step for index, step in halted.items() if index != event.step}
    return replace(state, open={**state.open, event.step: after}, halted=halted, current_step=event.step)


def _started(plan: Plan, state: RunState, event: AttemptStarted) -> RunState:
    return _with_step(state, event.step, replace(state.open[event.step], status=StepStatus.RUNNING))


def _completed(plan: Plan, state: RunState, event: StepCompleted) -> RunState:
    joins = state.joins
    for dependent in plan.steps[event.step].dependents:
        missing = joins.get(dependent, len(plan.steps[dependent].depends_on)) - 1
        if missing:
            joins = {**joins, dependent: missing}
        elif dependent in joins:
            joins = {index: count for index, count in joins.items() if index != dependent}
    open_ = {index: step for index, step in state.open.items() if index != event.step}
    return replace(state, open=open_, joins=joins, done=state.done | plan.bits[event.step])


def _attempt_failed(plan: Plan, state: RunState, event: AttemptFailed) -> RunState:
    step = state.open[event.step]
    after = _backing_off(
        step, event.retry_at, event.failure, failures=step.failures + 1, suspect=step.suspect or event.suspect
    )
    return _with_step(state, event.step, after)


def _attempt_lost(plan: Plan, state: RunState, event: AttemptLost) -> RunState:
    step = state.open[event.step]
    return _with_step(state, event.step, _backing_off(step, event.retry_at, event.failure, losses=step.losses + 1))


def _released(plan: Plan, state: RunState, event: AttemptReleased) -> RunState:
    step = state.open[event.step]
    return _with_step(state, event.step, _backing_off(step, event.at, step.failure))


def _step_over(plan: Plan, state: RunState, event: StepFailed | StepCancelled) -> RunState:
    open_ = dict(state.open)
    step = open_.pop(event.step)
    over = replace(step, status=STEP_TRANSITIONS[step.status, type(event)])
    return replace(state, open=open_, halted={**state.halted, event.step: over})


def _backing_off(
    step: OpenStep,
    retry_at: Time | None,
    failure: Failure | None,
    failures: int | None = None,
    losses: int | None = None,
    *,
    suspect: bool | None = None,
) -> OpenStep:
    return OpenStep(
        StepStatus.BACKING_OFF,
        step.attempt,
        step.failures if failures is None else failures,
        step.losses if losses is None else losses,
        retry_at,
        failure,
        step.alone,
        step.suspect if suspect is None else suspect,
        step.queued_at,
    )


def _with_step(state: RunState, index: int, step: OpenStep) -> RunState:
    return replace(state, open={**state.open, index: step})


def _moved(plan: Plan, state: RunState, event: Event, after: RunStatus) -> RunState:
    return replace(state, status=after)


def _ended(plan: Plan, state: RunState, event: Event, after: RunStatus) -> RunState:
    return replace(state, status=after, ended_at=event.at)


def _timed_out(plan: Plan, state: RunState, event: RunTimedOut, after: RunStatus) -> RunState:
    limit = "its time" if plan.timeout is None else f"{seconds(plan.timeout)} s"
    step = plan.steps[state.current_step].definition
    message = f"the run was not over within {limit}: it was at step {state.current_step} ({step.action})"
    return replace(state, status=after, ended_at=event.at, failure=Failure(RUN_TIMED_OUT_TYPE, message))


def _failed(plan: Plan, state: RunState, event: RunFailed, after: RunStatus) -> RunState:
    return replace(state, status=after, ended_at=event.at, failure=event.failure)


def _redriven(plan: Plan, state: RunState, event: RunRedriven, after: RunStatus) -> RunState:
    return replace(state, status=after, ended_at=None, failure=None, deadline=event.deadline)


_RUN_EVENTS: Final[dict[type[Event], Callable[[Plan, RunState, Any, RunStatus], RunState]]] = {
    RunWaiting: _moved,
    RunResumed: _moved,
    RunCompleted: _ended,
    RunFailed: _failed,
    RunCancelled: _ended,
    RunTimedOut: _timed_out,
    RunRedriven: _redriven,
}

_STEP_EVENTS: Final[dict[type[Event], Callable[[Plan, RunState, Any], RunState]]] = {
    StepQueued: _queued,
    AttemptStarted: _started,
    StepCompleted: _completed,
    AttemptFailed: _attempt_failed,
    AttemptLost: _attempt_lost,
    AttemptReleased: _released,
    StepFailed: _step_over,
    StepCancelled: _step_over,
}
