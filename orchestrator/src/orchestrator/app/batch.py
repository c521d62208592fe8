"""One batch of requests inside one transaction: load, decide, write. Nothing in the world is touched here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from orchestrator.app.command import (
    Define,
    Defined,
    Direct,
    Discard,
    Record,
    Redrive,
    Request,
    Requeue,
    Trigger,
    Triggered,
)
from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.engine.command import (
    Backoff,
    Command,
    CompleteAttempt,
    DeadLetterStep,
    Decision,
    Dispatch,
    FailAttempt,
    RedriveStep,
    ReleaseAttempt,
    Settle,
    StartAttempt,
    StartRun,
    Withdraw,
)
from orchestrator.engine.plan import Plan, compile_plan
from orchestrator.model.dead_letter import DeadLetter, DeadLetterState
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.errors import (
    DeadLetterNotFound,
    DeadLetterSettled,
    IdempotencyConflict,
    InvariantBroken,
    RunFinished,
    WorkflowNotFound,
)
from orchestrator.model.event import Event, Failure
from orchestrator.model.job import ANY_STEP, Job, JobRow, JobState, Rejection, Report, job_id
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId, RunState
from orchestrator.model.status import StepStatus
from orchestrator.model.times import MICROS, Time
from orchestrator.model.trace import Trace
from orchestrator.ports.clock import Chance
from orchestrator.ports.store import IdempotencyRecord, PayloadRef, RunChange, Store, Transaction


class Batch:
    """The requests of one transaction share its reads and writes.

    A request that fails leaves nothing behind: its changes join the batch only when it has succeeded as a whole.
    """

    def __init__(
        self,
        store: Store,
        tx: Transaction,
        plans: Plans,
        chance: Chance,
        limits: Limits,
        now: Time,
        again_at: Time | None = None,
        letter_again_at: Time | None = None,
    ) -> None:
        self._store = store
        self._tx = tx
        self._plans = plans
        self._chance = chance
        self._limits = limits
        self._now = now
        self._again_at = again_at
        """When what is handed to a broker is handed to it again, unless it was acknowledged; None without a broker."""
        self._letter_again_at = letter_again_at
        """When the record of a dead letter is looked for, unless it is known to be durable; None without a broker."""
        self._states: dict[RunId, RunState] = {}
        self._definitions: dict[str, DefinitionVersion] = {}
        self._defined: set[str] = set()
        """Workflows that this batch wrote a version of."""
        self._keys: dict[str, IdempotencyRecord] = {}
        self._letters: dict[str, DeadLetter] = {}
        self._payloads: dict[PayloadRef, Json] = {}
        self._changes: list[RunChange] = []
        self._records: list[IdempotencyRecord] = []
        self._dispatches: list[tuple[Dispatch, RunState, Plan, Json | None]] = []
        self.jobs: list[Job] = []
        """To be published once the transaction has committed."""
        self.withdrawn: list[tuple[RunId, int, int]] = []
        """Runs, steps and attempts to be taken back from queue or worker."""
        self.reported: list[tuple[RunId, int, int]] = []
        """Runs, steps and attempts whose report is recorded."""
        self.letters: list[DeadLetter] = []
        """Dead letters to be told of."""
        self.ended: list[RunId] = []
        """Runs that have come to their end."""

    async def load(self, requests: Iterable[Request]) -> None:
        """Read and lock all that the requests name."""
        runs: dict[RunId, None] = {}
        workflows: set[str] = set()
        keys: set[str] = set()
        letters: set[str] = set()
        for request in requests:
            match request:
                case Record() | Requeue():
                    for one in request.about:
                        runs[one.run_id] = None
                case Trigger():
                    workflows.add(request.workflow_id)
                    if request.key is not None:
                        keys.add(request.key)
                case Direct():
                    runs[request.run_id] = None
                case Define():
                    workflows.add(request.definition.id)
                case Redrive() | Discard():
                    letters.add(request.letter_id)
        if letters:
            self._letters = await self._tx.dead_letters(letters)
            for letter in self._letters.values():
                runs[letter.run_id] = None
        if runs:
            self._states = await self._tx.runs(runs)
        if workflows:
            self._definitions = await self._tx.definitions(workflows)
        if keys:
            self._keys = await self._tx.idempotency(keys, self._now)

    async def apply(self, request: Request) -> Any:
        """Decide one request; the answer is what its type says.

        Raises:
            OrchestratorError: the request is refused.
        """
        match request:
            case Record():
                return [await self._report(report) for report in request.reports]
            case Trigger():
                return await self._trigger(request)
            case Direct():
                return await self._direct(request)
            case Requeue():
                return await self._requeue(request)
            case Define():
                return await self._define(request)
            case Redrive():
                return await self._redrive(request)
            case Discard():
                return await self._discard(request)

    async def write(self) -> None:
        """Write all changes, and find the payloads of the jobs to publish."""
        # Read first: a store may write all of a batch by one statement, if nothing is asked of it after that.
        missing = [ref for dispatch, state, _, _ in self._dispatches if (ref := self._ref(dispatch, state)) is not None]
        if missing:
            self._payloads.update(await self._tx.payloads(missing))
        if self._changes:
            await self._tx.save(self._changes)
        if self._records:
            await self._tx.remember(self._records, self._now)
        for dispatch, state, plan, details in self._dispatches:
            if not self._is_current(dispatch, state.run_id):
                # A later request of the same batch has ended it: it must never go out.
                continue
            payload = self._payloads[PayloadRef(state.run_id, dispatch.input_of)]
            self.jobs.append(make_job(plan, state.run_id, dispatch, payload, details, state.trace))

    def _is_current(self, dispatch: Dispatch, run_id: RunId) -> bool:
        step = self._states[run_id].open.get(dispatch.step)
        return step is not None and step.attempt == dispatch.attempt and step.status is StepStatus.QUEUED

    @property
    def events(self) -> list[Event]:
        """What the batch adds to histories."""
        return [event for change in self._changes for event in change.events]

    @property
    def touched(self) -> list[tuple[RunId, int]]:
        """Runs and steps whose jobs the batch changes."""
        return [
            (change.state.run_id, step)
            for change in self._changes
            for step in (*change.settled, *(row.step for row in change.jobs))
        ]

    def _ref(self, dispatch: Dispatch, state: RunState) -> PayloadRef | None:
        ref = PayloadRef(state.run_id, dispatch.input_of)
        return None if ref in self._payloads else ref

    async def _define(self, request: Define) -> Defined:
        latest = self._definitions.get(request.definition.id)
        if latest is not None and latest.digest == request.digest:
            return Defined(latest, created=False)
        version = DefinitionVersion(
            definition=request.definition,
            version=latest.version + 1 if latest else 1,
            digest=request.digest,
            created_at=self._now,
        )
        await self._tx.add_definition(version)
        self._definitions[request.definition.id] = version
        self._defined.add(version.definition.id)
        return Defined(version, created=True)

    def _plan_of(self, version: DefinitionVersion) -> Plan:
        """Give the plan of a definition; that of one that this batch wrote is not kept.

        The batch may be rolled back, and another process then write another version of the same number.
        """
        if version.definition.id in self._defined:
            return compile_plan(version.definition, version.version)
        return self._plans.of(version)

    async def _trigger(self, request: Trigger) -> Triggered:
        if request.key is not None and (known := self._keys.get(request.key)) is not None:
            if known.fingerprint != request.fingerprint:
                raise IdempotencyConflict.now()
            return Triggered(known.run_id, created=False, expires_at=known.expires_at)
        version = self._definitions.get(request.workflow_id)
        if version is None:
            raise WorkflowNotFound(f"no workflow has the id {request.workflow_id!r}; define it with POST /workflow/")
        plan = self._plan_of(version)
        run_id = self._chance.run_id(self._now)
        decision = engine.start(plan, StartRun(run_id, request.trace), self._now)
        self._payloads[PayloadRef(run_id, None)] = request.input
        self._keep(plan, run_id, None, decision, created=request.input)
        expires_at: Time | None = None
        if request.key is not None:
            expires_at = Time(self._now + round(self._limits.idempotency_seconds * MICROS))
            record = IdempotencyRecord(request.key, request.fingerprint, run_id, expires_at)
            self._keys[request.key] = record
            self._records.append(record)
        return Triggered(run_id, created=True, expires_at=expires_at)

    async def _report(self, report: Report) -> Rejection | None:
        state = self._states.get(report.run_id)
        if state is None:
            return Rejection.UNKNOWN
        plan = self._plans.get(state.workflow_id, state.version)
        if plan is None:
            plan = await self._plans.find(self._store, state.workflow_id, state.version)
        if report.step == ANY_STEP:
            found = engine.find_step(plan, state, report.action, report.produced_at)
            if isinstance(found, Rejection):
                return found
            report.step, report.attempt = found, state.open[found].attempt
        elif report.step not in plan.steps:
            return Rejection.UNKNOWN
        decision = engine.decide(plan, state, self._command_of(report), self._now)
        if isinstance(decision, Rejection):
            return decision
        if report.outcome == "completed":
            self._keep(plan, state.run_id, state, decision, result=(report.step, report.result))
        else:
            letter = await self._letter(plan, state, decision, report.worker)
            self._keep(plan, state.run_id, state, decision, details=report.details, letter=letter)
        self.reported.append((state.run_id, report.step, report.attempt))
        return None

    def _command_of(self, report: Report) -> Command:
        if report.outcome == "completed":
            return CompleteAttempt(report.step, report.attempt, report.worker, report.started_at)
        if report.outcome == "released":
            return ReleaseAttempt(report.step, report.attempt, report.worker, report.started_at)
        return FailAttempt(
            report.step,
            report.attempt,
            report.failure or Failure("Error"),
            report.retryable,
            report.retry_after,
            self._chance.draw(),
            report.worker,
            report.started_at,
        )

    async def _direct(self, request: Direct) -> bool | Rejection:
        state = self._states.get(request.run_id)
        if state is None:
            return Rejection.UNKNOWN
        plan = await self._plans.find(self._store, state.workflow_id, state.version)
        decision = engine.decide(plan, state, request.command, self._now)
        if isinstance(decision, Rejection):
            return decision
        if not decision.events and not decision.effects:
            return False
        command = request.command
        leased = self._leased_row(plan, request, command) if isinstance(command, StartAttempt) else None
        letter = await self._letter(plan, state, decision, request.worker)
        self._keep(plan, state.run_id, state, decision, details=request.details, letter=letter, leased=leased)
        return True

    def _leased_row(self, plan: Plan, request: Direct, command: StartAttempt) -> JobRow:
        return JobRow(
            run_id=request.run_id,
            workflow_id=plan.workflow_id,
            version=plan.version,
            step=command.step,
            attempt=command.attempt,
            action=plan.steps[command.step].definition.action,
            state=JobState.LEASED,
            input_of=plan.steps[command.step].input_of,
            alone=self._states[request.run_id].open[command.step].is_suspect,
            due_at=Time(request.lease_until if request.lease_until is not None else self._now),
            worker=command.worker,
            started_at=command.started_at,
            details=request.details,
            timeout=plan.steps[command.step].definition.timeout,
        )

    async def _requeue(self, request: Requeue) -> list[bool]:
        found: list[bool] = []
        for row in request.rows:
            state = self._states.get(row.run_id)
            dispatch = Dispatch(row.step, row.attempt, row.action, row.input_of, row.alone)
            found.append(state is not None and self._is_current(dispatch, row.run_id))
            if state is not None and found[-1]:
                plan = await self._plans.find(self._store, state.workflow_id, state.version)
                self._dispatches.append((dispatch, state, plan, row.details))
        return found

    async def _redrive(self, request: Redrive) -> RunId:
        letter = self._open_letter(request.letter_id)
        state = self._states.get(letter.run_id)
        if state is None:
            raise InvariantBroken(f"dead letter {letter.id} belongs to a run that is not in the store")
        plan = await self._plans.find(self._store, state.workflow_id, state.version)
        decision = engine.decide(plan, state, RedriveStep(letter.step), self._now)
        if isinstance(decision, Rejection):
            raise RunFinished(f"run {letter.run_id} is {state.status}; only a failed run can be redriven")
        self._keep(plan, state.run_id, state, decision)
        await self._settle(letter, DeadLetterState.REDRIVEN)
        return letter.run_id

    async def _discard(self, request: Discard) -> None:
        await self._settle(self._open_letter(request.letter_id), DeadLetterState.DISCARDED)

    def _open_letter(self, letter_id: str) -> DeadLetter:
        letter = self._letters.get(letter_id)
        if letter is None:
            raise DeadLetterNotFound(f"no dead letter has the id {letter_id!r}")
        if letter.state is not DeadLetterState.OPEN:
            raise DeadLetterSettled(f"dead letter {letter_id} is {letter.state.lower()} already")
        return letter

    async def _settle(self, letter: DeadLetter, state: DeadLetterState) -> None:
        await self._tx.settle_dead_letter(letter.id, state, self._now)
        self._letters[letter.id] = replace(letter, state=state, settled_at=self._now)

    async def _letter(self, plan: Plan, state: RunState, decision: Decision, worker: str | None) -> DeadLetter | None:
        """Make the dead letter that a decision means, if it means one."""
        effect = next((one for one in decision.effects if isinstance(one, DeadLetterStep)), None)
        if effect is None:
            return None
        place = plan.steps[effect.step]
        ref = PayloadRef(state.run_id, place.input_of)
        payload = self._payloads.get(ref)
        if payload is None:
            payload = (await self._tx.payloads([ref]))[ref]
        return DeadLetter(
            id=f"{job_id(state.run_id, effect.step)}:{effect.attempt}",
            run_id=state.run_id,
            workflow_id=state.workflow_id,
            step=effect.step,
            action=place.definition.action,
            attempt=effect.attempt,
            attempts=effect.attempts,
            failure=effect.failure,
            payload=payload,
            worker=worker or None,
            created_at=self._now,
            due_at=self._letter_again_at,
            trace=state.trace,
        )

    def _keep(
        self,
        plan: Plan,
        run_id: RunId,
        before: RunState | None,
        decision: Decision,
        *,
        created: Json | None = None,
        result: tuple[int, Json] | None = None,
        details: Json | None = None,
        letter: DeadLetter | None = None,
        leased: JobRow | None = None,
    ) -> None:
        """Make a decision part of the batch: the rows it means, and what to do in the world after the commit."""
        state = engine.fold(run_id, plan, decision.events, before)
        rows: list[JobRow] = [] if leased is None else [leased]
        settled: list[int] = []
        for effect in decision.effects:
            match effect:
                case Dispatch():
                    rows.append(_pending_row(plan, run_id, effect, details, self._again_at))
                    self._dispatches.append((effect, state, plan, details))
                case Settle():
                    settled.append(effect.step)
                case Backoff():
                    rows.append(_backoff_row(plan, run_id, effect, state, details))
                case Withdraw():
                    self.withdrawn.append((run_id, effect.step, effect.attempt))
        if letter is not None:
            self.letters.append(letter)
        if result is not None:
            self._payloads[PayloadRef(run_id, result[0])] = result[1]
        self._states[run_id] = state
        if before is not None and before.is_open and not state.is_open:
            self.ended.append(run_id)
        self._changes.append(
            RunChange(
                state=state,
                events=decision.events,
                created=created,
                result=result,
                output_of=plan.output_of,
                jobs=tuple(rows),
                settled=tuple(settled),
                dead_letter=letter,
            )
        )


def make_job(
    plan: Plan, run_id: RunId, dispatch: Dispatch, payload: Json, details: Json | None, trace: Trace | None = None
) -> Job:
    """Make what a worker gets."""
    definition = plan.steps[dispatch.step].definition
    return Job(
        job_id=job_id(run_id, dispatch.step),
        run_id=run_id,
        workflow_id=plan.workflow_id,
        step=dispatch.step,
        attempt=dispatch.attempt,
        action=dispatch.action,
        payload=payload,
        timeout=definition.timeout,
        heartbeat_timeout=definition.heartbeat_timeout,
        alone=dispatch.alone,
        details=details,
        trace=trace,
    )


def _pending_row(plan: Plan, run_id: RunId, dispatch: Dispatch, details: Json | None, again_at: Time | None) -> JobRow:
    return JobRow(
        run_id=run_id,
        workflow_id=plan.workflow_id,
        version=plan.version,
        step=dispatch.step,
        attempt=dispatch.attempt,
        action=dispatch.action,
        state=JobState.PENDING,
        input_of=dispatch.input_of,
        alone=dispatch.alone,
        due_at=again_at,
        details=details,
        timeout=plan.steps[dispatch.step].definition.timeout,
    )


def _backoff_row(plan: Plan, run_id: RunId, effect: Backoff, state: RunState, details: Json | None) -> JobRow:
    place = plan.steps[effect.step]
    return JobRow(
        run_id=run_id,
        workflow_id=plan.workflow_id,
        version=plan.version,
        step=effect.step,
        attempt=effect.attempt,
        action=place.definition.action,
        state=JobState.BACKOFF,
        input_of=place.input_of,
        alone=state.open[effect.step].is_suspect,
        due_at=effect.until,
        details=details,
    )
