"""Ways to break the orchestrator, each taking away one thing that keeps a promise: the checker has to notice all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import pytest
from msgspec.structs import replace

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.sqlite import transaction as sqlite
from orchestrator.adapters.sqlite.transaction import SqliteTransaction
from orchestrator.app.assignment import Assignment
from orchestrator.app.batch import Batch
from orchestrator.app.gateway import Gateway
from orchestrator.app.lease import Lease, Leases
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.polls import Polls
from orchestrator.app.timers import Timers
from orchestrator.app.waits import Waits
from orchestrator.engine import run as engine
from orchestrator.engine.plan import Plan
from orchestrator.model.job import Rejection
from orchestrator.model.run import OpenStep, RunState
from orchestrator.model.times import MICROS
from orchestrator.ports.queue import Room
from orchestrator.ports.store import RunChange

Break = Callable[[pytest.MonkeyPatch], None]


def _nothing(*arguments: Any, **named: Any) -> None:
    """Do nothing where something should be done."""


async def _nothing_async(*arguments: Any, **named: Any) -> None:
    """Do nothing where something should be waited for."""


def attempts_are_not_fenced(patch: pytest.MonkeyPatch) -> None:
    """A report about any attempt is taken for one about the current attempt."""

    def reported(plan: Plan, state: RunState, command: Any) -> OpenStep | Rejection:
        if not state.is_open:
            return Rejection.RUN_FINISHED
        return state.open.get(command.step) or Rejection.RECORDED

    patch.setattr(engine, "_reported", reported)


def jobs_go_out_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    """What a batch decided is acted on while its transaction is open."""
    process, write, act = Pipeline._process, Batch.write, Pipeline._act
    pipelines: list[Pipeline] = []

    async def eager(self: Batch) -> None:
        await write(self)
        act(pipelines[-1], self)

    async def noted(self: Pipeline, items: Any) -> None:
        pipelines.append(self)
        await process(self, items)

    patch.setattr(Batch, "write", eager)
    patch.setattr(Pipeline, "_process", noted)
    patch.setattr(Pipeline, "_act", _nothing)


def pending_jobs_are_not_recovered(patch: pytest.MonkeyPatch) -> None:
    """Jobs that wait in the store stay there."""
    patch.setattr(Timers, "_sweep", _nothing_async)


def leases_are_not_recovered(patch: pytest.MonkeyPatch) -> None:
    """A new process does not know what workers have in hand."""

    async def recover(self: Timers) -> None:
        self._gateway.overflowed = True
        await self._sweep()

    patch.setattr(Timers, "recover", recover)


def keys_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """No Idempotency-Key is stored."""
    patch.setattr(SqliteTransaction, "remember", _nothing_async)


def history_loses_events(patch: pytest.MonkeyPatch) -> None:
    """Of the events of a long decision the first is not stored."""
    row = SqliteTransaction._history_row

    def shortened(self: SqliteTransaction, seq: int, change: RunChange) -> tuple[Any, ...]:
        return row(self, seq, replace(change, events=change.events[-2:]))

    patch.setattr(SqliteTransaction, "_history_row", shortened)


def jobs_are_not_withdrawn(patch: pytest.MonkeyPatch) -> None:
    """A job stays in the queue when its run has ended."""
    patch.setattr(EmbeddedQueue, "withdraw", _nothing)


def dead_letters_are_dropped(patch: pytest.MonkeyPatch) -> None:
    """A step fails and nobody hears of it."""
    save = SqliteTransaction.save

    async def dropping(self: SqliteTransaction, changes: Sequence[RunChange]) -> None:
        await save(self, [replace(change, dead_letter=None) for change in changes])

    patch.setattr(SqliteTransaction, "save", dropping)


def payloads_are_the_input(patch: pytest.MonkeyPatch) -> None:
    """Every step gets what the first one got, where the payload comes from the store."""
    read = sqlite.read_payloads

    def wrong(connection: Any, refs: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(refs)
        found = read(connection, [replace(ref, input_of=None) for ref in wanted])
        return {ref: found[replace(ref, input_of=None)] for ref in wanted}

    patch.setattr("orchestrator.adapters.sqlite.transaction.read_payloads", wrong)


def suspects_run_in_company(patch: pytest.MonkeyPatch) -> None:
    """A job that took its worker down is handed out like any other."""

    def assign(self: Assignment, worker: Any, capacity: int) -> list[Lease]:
        suspect = self._queue.take_alone(worker.actions)
        jobs = [] if suspect is None else [suspect]
        return [self._grant(worker, job) for job in [*jobs, *self._queue.take(worker.actions, Room(capacity))]]

    patch.setattr(Assignment, "assign", assign)


def leases_end_early(patch: pytest.MonkeyPatch) -> None:
    """A worker is taken for lost half a second before its time."""
    over = Leases.over

    def early(self: Leases, now_on: int) -> Iterator[Lease]:
        return over(self, now_on + MICROS // 2)

    patch.setattr(Leases, "over", early)


def nobody_is_woken(patch: pytest.MonkeyPatch) -> None:
    """Workers that wait do not learn of new jobs."""
    patch.setattr(Polls, "wake_for", _nothing)


def doubt_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """A commit that was reported as failed is taken for one that has not been."""
    patch.setattr(Gateway, "doubt", _nothing)


def a_report_leaves_its_job_in_the_queue(patch: pytest.MonkeyPatch) -> None:
    """A result of a worker that took its job from the last process does not stop the job from going out again."""
    patch.setattr(Gateway, "reported", _nothing)


def jobs_of_one_batch_outlive_their_run(patch: pytest.MonkeyPatch) -> None:
    """A job that was decided on and withdrawn in one batch goes out."""
    patch.setattr(Batch, "_is_current", lambda self, dispatch, run_id: True)


def overflow_behind_the_sweep_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A sweep that has come to its end takes everything for queued."""
    sweep = Timers._sweep

    async def forgetful(self: Timers) -> None:
        await sweep(self)
        if self._place == (0, 0):
            self._gateway.overflowed = False

    patch.setattr(Timers, "_sweep", forgetful)


def waiting_callers_are_not_told(patch: pytest.MonkeyPatch) -> None:
    """The end of a run wakes nobody."""
    patch.setattr(Waits, "run_ended", _nothing)


def a_stale_lease_hides_its_job(patch: pytest.MonkeyPatch) -> None:
    """A job waits in the store as long as a lease of an earlier attempt is remembered, and then for ever."""
    patch.setattr(Timers, "_has_begun", lambda self, row: self._leases.get((row.run_id, row.step)) is not None)


def a_stale_lease_takes_its_job_along(patch: pytest.MonkeyPatch) -> None:
    """The end of a lease takes the next attempt out of the queue."""
    patch.setattr(Gateway, "take_back", lambda self, run_id, step, attempt: self._queue.withdraw(run_id, step))


def timers_are_refused(patch: pytest.MonkeyPatch) -> None:
    """What time brings along is refused like a request when the pipeline is full."""
    submit = Pipeline.submit
    patch.setattr(Pipeline, "submit", lambda self, request, refusable=True: submit(self, request))


def leases_shrink_in_a_restart(patch: pytest.MonkeyPatch) -> None:
    """A new process gives every worker the same short lease."""
    patch.setattr("orchestrator.app.timers.length_of", lambda job, lease: MICROS)


def retries_are_unbounded(patch: pytest.MonkeyPatch) -> None:
    """A lost attempt is always followed by another."""
    patch.setattr("orchestrator.engine.retry.loss_delay", lambda policy, losses, most, draw: MICROS // 10)


def completed_steps_run_again(patch: pytest.MonkeyPatch) -> None:
    """A row of a step that has completed comes back as pending."""
    patch.setattr(
        sqlite, "_DELETE_JOB", "UPDATE jobs SET state = 'pending', due_at = NULL WHERE run_seq = ? AND step = ?"
    )


def caches_outlive_a_rollback(patch: pytest.MonkeyPatch) -> None:
    """What a failed transaction read and decided is taken for true."""
    save = SqliteTransaction.save

    async def leaking(self: SqliteTransaction, changes: Sequence[RunChange]) -> None:
        await save(self, changes)
        known: Any = self._known
        known.update({run_id: state for run_id, state in self.touched.items() if run_id in known})

    patch.setattr(SqliteTransaction, "save", leaking)


MUTANTS: Final[tuple[Break, ...]] = (
    attempts_are_not_fenced,
    jobs_go_out_before_the_commit,
    pending_jobs_are_not_recovered,
    leases_are_not_recovered,
    keys_are_forgotten,
    history_loses_events,
    jobs_are_not_withdrawn,
    dead_letters_are_dropped,
    payloads_are_the_input,
    suspects_run_in_company,
    leases_end_early,
    nobody_is_woken,
    doubt_is_ignored,
    a_report_leaves_its_job_in_the_queue,
    jobs_of_one_batch_outlive_their_run,
    overflow_behind_the_sweep_is_forgotten,
    waiting_callers_are_not_told,
    a_stale_lease_hides_its_job,
    a_stale_lease_takes_its_job_along,
    timers_are_refused,
    leases_shrink_in_a_restart,
    retries_are_unbounded,
    completed_steps_run_again,
    caches_outlive_a_rollback,
)
