"""The use-cases as callers see them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json as stdlib_json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from orchestrator.app import views
from orchestrator.app.command import Define, Defined, Direct, Discard, Redrive, Trigger, Triggered
from orchestrator.app.life import Life, Route
from orchestrator.app.pipeline import Point
from orchestrator.app.plans import Plans
from orchestrator.app.reads import Reads
from orchestrator.app.reasons import Reasons
from orchestrator.app.waits import Caller, until
from orchestrator.engine.command import CancelRun
from orchestrator.engine.plan import Plan
from orchestrator.model import json
from orchestrator.model.definition import DefinitionVersion, digest, parse_definition
from orchestrator.model.errors import (
    DeadLetterNotFound,
    DeadLetterSettled,
    FieldError,
    InvalidField,
    OrchestratorError,
    RunFinished,
    RunNotFound,
    WorkflowNotFound,
)
from orchestrator.model.job import Rejection
from orchestrator.model.json import NULL, Json
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.trace import Trace
from orchestrator.model.view import (
    DeadLetterView,
    EventView,
    LetterGroups,
    LettersSettled,
    RunInList,
    RunSummary,
    RunView,
    Unserved,
    WorkerView,
    WorkflowView,
)
from orchestrator.model.wire import HeartbeatAnswer, HeartbeatBody
from orchestrator.ports.clock import Chance, Clock
from orchestrator.ports.hints import Hints
from orchestrator.ports.queries import LetterFilter, Queries, RunFilter, StoreReport
from orchestrator.ports.queue import JobQueue
from orchestrator.ports.roster import Roster
from orchestrator.ports.store import Store

REASON_CHARS_MAX: Final = 1_000
"""Characters of a cancel reason; the rest is cut off."""


class TriggerBody(msgspec.Struct, forbid_unknown_fields=True):
    """What starts a run."""

    input: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))


class CancelBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ends one."""

    reason: str = ""


_TRIGGER: Final = msgspec.json.Decoder(TriggerBody)
_CANCEL: Final = msgspec.json.Decoder(CancelBody)


class Orchestrator:
    """One process of the orchestrator over its ports."""

    def __init__(  # noqa: PLR0913, PLR0917 - one parameter a part
        self,
        store: Store,
        queries: Queries,
        queue: JobQueue,
        clock: Clock,
        chance: Chance,
        limits: Limits,
        plans: Plans,
        roster: Roster,
        reach: Callable[[Point], None] = lambda point: None,
        route: Route | None = None,
        hints: Hints | None = None,
    ) -> None:
        self.limits = limits
        self.clock = clock
        self._store = store
        self._queries = queries
        self._plans = plans
        self.life = life = Life(store, queue, clock, chance, limits, plans, reach, route, queries, hints, roster)
        """The parts behind the use-cases."""
        self.pipeline = life.pipeline
        self.gateway = life.gateway
        self.timers = life.timers
        self.outgoing = life.outgoing
        self.incoming = life.incoming
        self._waits = life.waits
        self._shortcuts = life.shortcuts
        self._reads = Reads(queries, self._plan, life.gateway, Reasons(life.roll), clock, limits)

    def running(self) -> AbstractAsyncContextManager[None]:
        """See `Life.running`."""
        return self.life.running()

    # --- workflows -----------------------------------------------------------------------------------------------

    async def define(self, raw: bytes) -> tuple[WorkflowView, bool]:
        """Make a workflow or a version of one; says whether something was made."""
        definition = parse_definition(raw, self.limits)
        answer: Defined = await self.pipeline.submit(Define(definition, digest(definition)))
        return views.workflow_view(answer.version), answer.created

    def store_report(self) -> StoreReport:
        """Say how the store is for this process."""
        return self._queries.report()

    async def workflows(self) -> list[WorkflowView]:
        """List the latest versions, by id."""
        return [views.workflow_view(version) for version in await self._queries.workflows()]

    async def workflow(self, workflow_id: str, number: int | None = None) -> WorkflowView:
        """Read one version; the latest when no number is given."""
        if number is None:
            return (await self.versions(workflow_id))[0]
        version = await self._store.definition(workflow_id, number)
        if version is None:
            raise WorkflowNotFound(f"no workflow has the id {workflow_id!r} and the version {number}")
        return views.workflow_view(version)

    async def versions(self, workflow_id: str) -> list[WorkflowView]:
        """List all versions of a workflow, newest first."""
        versions: list[DefinitionVersion] = await self._queries.versions(workflow_id)
        if not versions:
            raise WorkflowNotFound(f"no workflow has the id {workflow_id!r}; GET /workflow/ lists them")
        return [views.workflow_view(version) for version in versions]

    # --- runs ----------------------------------------------------------------------------------------------------

    async def trigger(self, workflow_id: str, raw: bytes, key: str | None, trace: Trace | None = None) -> Triggered:
        """Start a run, or give the one that the same key started before."""
        payload = NULL
        if raw.strip():
            body = json.decode(raw, _TRIGGER, self.limits, envelope=1)
            payload = json.check_payload(bytes(body.input), self.limits, "input")
        fingerprint = b"" if key is None else _fingerprint(workflow_id, payload)
        trigger = Trigger(workflow_id, payload, key, fingerprint, trace)
        if key is None or self._shortcuts is None:
            return await self.pipeline.submit(trigger)
        if (run_id := await self._shortcuts.find(key, fingerprint)) is not None:
            return Triggered(run_id, created=False)
        triggered = await self.pipeline.submit(trigger)
        self._shortcuts.keep(key, fingerprint, triggered)
        return triggered

    async def run(self, run_id: RunId, wait: Duration = Duration(0), caller: Caller | None = None) -> RunView:
        """Read a run; with ``wait``, once it has ended or the time is over."""
        if wait:
            await self.wait(run_id, wait, caller)
        return await self._reads.read(run_id)

    async def wait(
        self, run_id: RunId, wait: Duration, caller: Caller | None = None, *, has_begun_now: bool = False
    ) -> None:
        """Wait until a run has ended, or the time is over, or the caller went away.

        Args:
            run_id: the run.
            wait: how long at most.
            caller: who waits; None for one that never goes away.
            has_begun_now: whether `trigger` began it a moment ago, so that it cannot have ended.
        """
        with self._waits.waiting(run_id) as woken:
            if not has_begun_now:
                record = await self._queries.run(run_id)
                if record is None or record.ended_at is not None:
                    return
            await until(woken, wait / MICROS, caller)

    async def events(self, run_id: RunId, after: int) -> list[EventView]:
        """Read the history of a run from event ``after`` + 1 on."""
        history = await self._queries.history(run_id)
        if not history.events:
            raise RunNotFound(f"no run has the id {run_id!r}; GET /workflow/runs lists them")
        return views.event_views(history)[after:]

    async def runs(
        self, which: RunFilter, limit: int, after: tuple[int, int] | None
    ) -> tuple[list[RunInList], tuple[int, int] | None]:
        """List runs with their payloads; gives the place where the next page begins, None after the last."""
        records, more = await self._queries.runs(which, limit, after, payload_bytes_max=self.limits.list_bytes_max)
        results = await self._queries.results([record.run_id for record in records])
        shown: list[RunInList] = []
        size = 0
        for record in records:
            if shown and size > self.limits.list_bytes_max:
                return shown, records[len(shown) - 1].place
            plan = await self._plan(record.workflow_id, record.version)
            found = results[record.run_id]
            size += len(record.input) + len(record.output or b"") + sum(len(result.result) for result in found)
            shown.append(views.run_in_list(record, found, plan))
        return shown, records[-1].place if more else None

    async def summaries(
        self, which: RunFilter, limit: int, after: tuple[int, int] | None
    ) -> tuple[list[RunSummary], tuple[int, int] | None]:
        """List runs without payloads."""
        records, more = await self._queries.runs(which, limit, after, payload_bytes_max=None)
        return [views.run_summary(record) for record in records], records[-1].place if more else None

    async def cancel(self, run_id: RunId, raw: bytes) -> RunView:
        """End a run; no new step starts after this returns."""
        reason = json.decode(raw, _CANCEL, self.limits).reason if raw.strip() else ""
        answer = await self.pipeline.submit(Direct(run_id, CancelRun(reason[:REASON_CHARS_MAX])))
        if answer is Rejection.UNKNOWN:
            raise RunNotFound(f"no run has the id {run_id!r}; GET /workflow/runs lists them")
        if answer is Rejection.RUN_FINISHED:
            run = await self.run(run_id)
            raise RunFinished(f"run {run_id} is {run.status} since {run.end_time}; it cannot be cancelled any more")
        return await self.run(run_id)

    # --- workers and dead letters ----------------------------------------------------------------------------------

    async def heartbeat(self, worker_id: str, body: HeartbeatBody, caller: Caller | None = None) -> HeartbeatAnswer:
        """Renew the leases of the jobs that a worker over HTTP names."""
        if self.life.feeding is not None:
            return await self.life.feeding.heartbeat(worker_id, body, caller)
        return self.gateway.heartbeat(worker_id, body, caller)

    async def workers(self) -> list[WorkerView]:
        """List the workers of all processes."""
        return await self.life.roll.workers()

    async def worker(self, worker_id: str) -> WorkerView:
        """Read one worker."""
        return await self.life.roll.worker(worker_id)

    async def drain(self, worker_id: str) -> WorkerView:
        """Ask a worker to finish what it has and go."""
        return await self.life.roll.drain(worker_id)

    async def unserved(self) -> Unserved:
        """Find the actions of all workflows that no connected worker has a handler for."""
        workflows = await self._queries.workflows()
        actions = {step.action for version in workflows for step in version.definition.steps}
        return await self.life.roll.unserved(actions)

    async def dead_letters(
        self, which: LetterFilter, limit: int, after: str | None
    ) -> tuple[list[DeadLetterView], str | None]:
        """List dead letters; gives the cursor of the next page, None after the last."""
        letters, more = await self._queries.dead_letters(which, limit, after)
        return [views.dead_letter_view(letter) for letter in letters], letters[-1].id if more else None

    async def dead_letter_groups(self, which: LetterFilter, limit: int) -> LetterGroups:
        """Count dead letters by workflow, action and type of error."""
        groups, more = await self._queries.dead_letter_groups(which, limit)
        return LetterGroups(groups=[views.letter_group_view(group) for group in groups], more=more)

    async def redrive_many(self, which: LetterFilter, limit: int, after: str | None) -> LettersSettled:
        """Redrive up to so many open dead letters, the newest first, each in its own run."""
        return await self._settle_many(Redrive, which, limit, after)

    async def discard_many(self, which: LetterFilter, limit: int, after: str | None) -> LettersSettled:
        """Discard up to so many open dead letters, the newest first."""
        return await self._settle_many(Discard, which, limit, after)

    async def _settle_many(
        self, make: type[Redrive | Discard], which: LetterFilter, limit: int, after: str | None
    ) -> LettersSettled:
        ids, more = await self._queries.dead_letter_ids(which, limit, after)
        answers: list[asyncio.Future[Any]] = []
        for letter_id in ids:
            request = make(letter_id)
            if isinstance(request, Redrive):
                answers.append(self.pipeline.submit(request, refusable=False))
            else:
                answers.append(self.pipeline.submit(request, refusable=False))
        settled = 0
        failure: OrchestratorError | None = None
        for answer in answers:
            try:
                await answer
                settled += 1
            except (DeadLetterNotFound, DeadLetterSettled, RunFinished):
                # Somebody else was there first.
                continue
            except OrchestratorError as error:
                failure = error
        if failure is not None:
            # The same call again goes on with those that are left.
            raise failure
        return LettersSettled(settled=settled, skipped=len(ids) - settled, cursor=ids[-1] if more else None)

    async def dead_letter(self, letter_id: str) -> DeadLetterView:
        """Read one dead letter."""
        letter = await self._queries.dead_letter(letter_id)
        if letter is None:
            raise DeadLetterNotFound(f"no dead letter has the id {letter_id!r}; GET /dead-letters lists them")
        return views.dead_letter_view(letter)

    async def redrive(self, letter_id: str) -> RunView:
        """Run the step of a dead letter again, in the same run."""
        return await self.run(await self.pipeline.submit(Redrive(letter_id)))

    async def discard(self, letter_id: str) -> None:
        """Settle a dead letter without another chance."""
        await self.pipeline.submit(Discard(letter_id))

    async def _plan(self, workflow_id: str, version: int) -> Plan:
        return await self._plans.find(self._store, workflow_id, version)


def check_key(key: str | None, limits: Limits) -> str | None:
    """Check an Idempotency-Key.

    Raises:
        InvalidField: empty, too long, or with characters that do not print.
    """
    if key is None:
        return None
    field = "Idempotency-Key"
    if not key.strip():
        raise InvalidField("the Idempotency-Key is empty", [FieldError(field, "it is empty", "leave the header out")])
    if len(key) > limits.idempotency_key_length_max:
        reason = f"longer than {limits.idempotency_key_length_max} characters (idempotency_key_length_max)"
        raise InvalidField(reason, [FieldError(field, reason, "send a shorter one, such as a UUID")])
    if not (key.isascii() and key.isprintable()):
        reason = "it has characters that are not printable ASCII"
        raise InvalidField(reason, [FieldError(field, reason, "send a UUID")])
    return key


def _fingerprint(workflow_id: str, payload: Json) -> bytes:
    """Digest what a trigger asks for: equal for bodies that differ in white space or order of fields only."""

    def number(text: str) -> dict[str, str]:
        return {"\0number": text}

    with contextlib.suppress(ValueError, RecursionError):
        value: Any = stdlib_json.loads(payload, parse_int=number, parse_float=number)
        payload = Json(stdlib_json.dumps(value, sort_keys=True).encode())
    return hashlib.sha256(workflow_id.encode() + b"\0" + payload).digest()
