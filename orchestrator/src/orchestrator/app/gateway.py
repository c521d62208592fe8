"""Workers over HTTP: registration, exchange of results for jobs, heartbeats, leaving."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from msgspec import UNSET, Raw

from orchestrator.app import registration
from orchestrator.app.assignment import Assignment
from orchestrator.app.command import Record
from orchestrator.app.lease import Lease, Leases
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.polls import Poll, Polls
from orchestrator.app.reports import Reports
from orchestrator.app.waits import Caller, until
from orchestrator.app.workers import Worker, Workers
from orchestrator.model import json, times
from orchestrator.model.errors import FieldError, InvalidField, InvalidJson
from orchestrator.model.job import Job, Rejection, Report, parse_job_id
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.wire import (
    AttemptRef,
    ExchangeAnswer,
    HeartbeatAnswer,
    HeartbeatBody,
    JobInFlight,
    JobOut,
    RegisterBody,
    Registered,
    Rejected,
)
from orchestrator.ports.clock import Clock
from orchestrator.ports.queue import JobQueue, JobSource

_HEARTBEATS_PER_LEASE: Final = 3
_BEATS_MISSED_MAX: Final = 2
"""Heartbeats in a row that may leave a job out before it is taken for lost on the way to its worker."""
_RESERVATION_CHECK_SECONDS: Final = 1.0
"""How often an exchange looks whether its worker is still reserved for a job that runs alone."""

_REASONS: Final = {
    Rejection.SUPERSEDED: "this attempt is over, or was never given out",
    Rejection.RECORDED: "the step has its result",
    Rejection.RUN_FINISHED: "the run has ended",
    Rejection.UNKNOWN: "there is no such run or step",
}


class Gateway:
    """The worker protocol, without HTTP."""

    def __init__(
        self,
        pipeline: Pipeline,
        queue: JobQueue,
        leases: Leases,
        clock: Clock,
        limits: Limits,
        source: JobSource | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._source = queue if source is None else source
        """Where jobs are taken from: the queue, or what a broker has."""
        self._actions_max = None if source is None else limits.feed_actions_max
        self._leases = leases
        self._clock = clock
        self._limits = limits
        self.workers = Workers(limits)
        self.overflowed = False
        """Whether some jobs did not fit into the queue and wait in the store."""
        self._polls = Polls()
        self._assignment = Assignment(self._source, leases, clock, limits.job_bytes_per_call_max)

    # --- the protocol --------------------------------------------------------------------------------------------

    def register(self, body: RegisterBody, made_up_id: str, caller: Caller | None = None) -> Registered:
        """Add a worker, or put a new registration in the place of an old one of the same id."""
        worker_id = body.worker_id if body.worker_id is not None else made_up_id
        registration.check(body, worker_id, self._limits)
        if self._actions_max is not None:
            registration.check_count(body, self.workers.all(), self._actions_max)
        now = self._clock.now()
        worker = Worker(
            worker_id=worker_id,
            about=registration.about(body),
            lease=registration.lease_of(body, self._limits),
            registered_at=now,
            seen_at=now,
            seen_on=self._clock.monotonic(),
        )
        if caller is not None:
            worker.callers.add(caller)
        self.workers.add(worker)
        limits = self._limits
        return Registered(
            worker_id=worker_id,
            lease=times.seconds(worker.lease),
            heartbeat=times.seconds(worker.lease // _HEARTBEATS_PER_LEASE),
            wait_max=limits.wait_seconds_max,
            capacity_max=limits.jobs_per_call_max,
            result_bytes_max=limits.payload_bytes_max,
            request_bytes_max=limits.request_bytes_max,
        )

    async def exchange(self, worker_id: str, raw: bytes, caller: Caller | None = None) -> ExchangeAnswer:
        """Record results, then hand out jobs, waiting for them when asked to.

        Args:
            worker_id: a registered worker.
            raw: the body as sent.
            caller: who waits for the answer: to one that has gone away nothing is handed out.
        """
        worker = self.workers.find(worker_id)
        self._seen(worker, caller)
        intake = Reports(self._limits)
        body = intake.read(raw)
        wait = self._wait(body.wait)
        if intake.count > self._limits.results_per_call_max:
            most = self._limits.results_per_call_max
            raise InvalidField("too many results", [FieldError("results", f"more than {most:,}", "send fewer a call")])
        if intake.reports:
            await self._record(worker, intake)
        capacity = min(body.capacity, self._limits.jobs_per_call_max)
        jobs = self._assignment.assign(worker, capacity) if capacity else []
        if not jobs and wait and not self._has_news(worker):
            jobs = await self._wait_for_jobs(worker, capacity, wait, caller)
        answer = ExchangeAnswer(
            jobs=[self._out(lease) for lease in jobs],
            cancelled=worker.cancelled,
            rejected=intake.rejected,
            draining=worker.draining,
        )
        worker.cancelled = []
        return answer

    def heartbeat(self, worker_id: str, body: HeartbeatBody, caller: Caller | None = None) -> HeartbeatAnswer:
        """Renew the leases of the jobs that are named."""
        worker = self.workers.find(worker_id)
        self._seen(worker, caller)
        now_on = self._clock.monotonic()
        mine = {lease.key: lease for lease in self._leases.of(worker_id)}
        unknown: list[AttemptRef] = []
        for job in body.in_flight:
            place = parse_job_id(job.job_id)
            lease = None if place is None else mine.get(place)
            if lease is None or lease.job.attempt != job.attempt:
                unknown.append(AttemptRef(job_id=job.job_id, attempt=job.attempt))
                continue
            del mine[lease.key]
            self._leases.renew(lease, now_on, worker.lease)
            lease.details = self.checked_details(job) or lease.details
        for lease in mine.values():
            lease.beats += 1
            if lease.beats >= _BEATS_MISSED_MAX:
                lease.ends_on = now_on
        cancelled, worker.cancelled = worker.cancelled, []
        return HeartbeatAnswer(
            cancelled=cancelled, unknown=[ref for ref in unknown if ref not in cancelled], draining=worker.draining
        )

    async def leave(self, worker_id: str) -> None:
        """Take back what the worker has in hand, unharmed, and stop waiting for it."""
        worker = self.workers.find(worker_id)
        worker.left = True
        self._wake(worker)
        in_hand = self._leases.of(worker_id)
        if in_hand:
            intake = Reports(self._limits)
            intake.reports = [
                Report(run_id=lease.job.run_id, step=lease.job.step, attempt=lease.job.attempt, outcome="released")
                for lease in in_hand
            ]
            await self._record(worker, intake)
        worker.seen_on = self._clock.monotonic()

    def drain(self, worker_id: str) -> Worker:
        """Ask a worker to finish what it has and go."""
        worker = self.workers.find(worker_id)
        worker.draining = True
        self._wake(worker)
        return worker

    def in_hand(self, worker_id: str) -> list[Lease]:
        """List what a worker has now."""
        return self._leases.of(worker_id)

    def is_full(self, worker: Worker, elsewhere: int = 0) -> bool:
        """Whether a worker has as many jobs as it runs at once, with those that another process has handed out."""
        most = worker.about.concurrency
        return most is not None and not worker.waiting and self._leases.count(worker.worker_id) + elsewhere >= most

    def lease_of(self, run_id: RunId, step: int) -> Lease | None:
        """Find out who has a step now."""
        return self._leases.get((run_id, step))

    def has_hung_up(self, worker_id: str) -> bool:
        """Whether a worker has no open connection here, so that its process may be dead."""
        worker = self.workers.get(worker_id)
        return worker is None or worker.has_hung_up

    # --- what the pipeline asks for (see `pipeline.World`) ---------------------------------------------------------

    def dispatch(self, jobs: list[Job]) -> bool:
        """Queue jobs, and wake the exchanges that wait for such; say whether all of them fitted.

        One that a worker has already, though the store does not know that yet, is passed over.
        """
        jobs = [job for job in jobs if not self._is_in_hand(job)]
        fitted = self._queue.publish(jobs)
        if not fitted:
            self.overflowed = True
        self._polls.wake_for(jobs)
        return fitted

    def _is_in_hand(self, job: Job) -> bool:
        lease = self._leases.get((job.run_id, job.step))
        return lease is not None and lease.job.attempt == job.attempt

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """Take an attempt back from the queue or from the worker that has it."""
        self._queue.withdraw(run_id, step)
        self.take_back(run_id, step, attempt)

    def take_back(self, run_id: RunId, step: int, attempt: int) -> None:
        """Take an attempt back from the worker that has it; a later one may be in the queue, and stays there."""
        lease = self._leases.get((run_id, step))
        if lease is not None and lease.job.attempt == attempt:
            self._end(lease)
            self._tell(lease)

    def reported(self, run_id: RunId, step: int, attempt: int) -> None:
        """End the lease of an attempt; one that a worker had from the last process may be in the queue again, too."""
        self._queue.withdraw(run_id, step)
        lease = self._leases.get((run_id, step))
        if lease is not None and lease.job.attempt == attempt:
            self._end(lease)

    def let_go(self, lease: Lease) -> None:
        """Forget a lease that is over here only: the store says whether its worker has the attempt still."""
        self._end(lease)

    def jobs_came(self, action: str, count: int, alone: bool) -> None:  # noqa: FBT001 - as the feed tells it
        """Wake exchanges for so many jobs of an action; all of them for one that runs alone."""
        self._polls.wake_some(action, self._limits.workers_max if alone else count)

    def waited_for(self) -> list[str]:
        """List the actions that exchanges wait for."""
        return self._polls.actions()

    def doubt(self, steps: list[tuple[RunId, int]]) -> None:
        """Take these jobs from the queue; the sweep brings those back that the store says wait."""
        for run_id, step in steps:
            self._queue.withdraw(run_id, step)
        self.overflowed = True

    def shut(self) -> None:
        """Answer every exchange that waits: the process goes down."""
        self._polls.wake_all()

    # --- inside --------------------------------------------------------------------------------------------------

    async def _record(self, worker: Worker, intake: Reports) -> None:
        for report in intake.reports:
            report.worker = worker.worker_id
            lease = self._leases.get((report.run_id, report.step))
            if lease is not None and lease.job.attempt == report.attempt:
                report.details = report.details or lease.details
                if not lease.recorded:
                    report.started_at = lease.started_at
        answers = await self._pipeline.submit(Record(intake.reports))
        rejected_already = {(one.job_id, one.attempt) for one in intake.rejected}
        for report, rejection in zip(intake.reports, answers, strict=True):
            lease = self._leases.get((report.run_id, report.step))
            if lease is not None and lease.job.attempt == report.attempt:
                # A rejected report says as well as a recorded one that the attempt is over.
                self._end(lease)
            if rejection is not None:
                job_id = f"{report.run_id}:{report.step}"
                if (job_id, report.attempt) not in rejected_already:
                    reason = _REASONS[rejection]
                    intake.rejected.append(
                        Rejected(job_id=job_id, attempt=report.attempt, code=rejection, reason=reason)
                    )

    async def _wait_for_jobs(self, worker: Worker, capacity: int, wait: Duration, caller: Caller | None) -> list[Lease]:
        """Wait until there is a job for this worker, or news for it, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait / MICROS
        worker.waiting += 1
        try:
            while True:
                takes = capacity and not self._assignment.is_closed(worker)
                poll = Poll(worker.worker_id, worker.actions if takes else (), loop.create_future())
                with self._polls.waiting(poll):
                    left = deadline - loop.time()
                    if self._source.waiting_alone(worker.actions):
                        left = min(left, _RESERVATION_CHECK_SECONDS)
                    await until(poll.woken, left, caller)
                if self._polls.closed:
                    return []
                if caller is not None and not caller.is_there:
                    self._polls.pass_on(poll)
                    return []
                self._seen(worker, caller)
                jobs = self._assignment.assign(worker, capacity) if capacity else []
                over = jobs or self._has_news(worker) or loop.time() >= deadline
                if not jobs and (over or self._assignment.is_closed(worker)):
                    self._polls.pass_on(poll)
                if over:
                    return jobs
        finally:
            worker.waiting -= 1

    def _end(self, lease: Lease) -> None:
        self._leases.end(lease.key)
        if lease.job.alone or self._source.waiting_alone((lease.job.action,)):
            # Its worker, or one that empties its hands for a job that runs alone, can have work again.
            self._polls.wake_worker(lease.worker)

    def _tell(self, lease: Lease) -> None:
        worker = self.workers.get(lease.worker)
        if worker is not None:
            worker.cancelled.append(AttemptRef(job_id=lease.job.job_id, attempt=lease.job.attempt))
            self._wake(worker)

    def _wake(self, worker: Worker) -> None:
        self._polls.wake_worker(worker.worker_id)

    def _seen(self, worker: Worker, caller: Caller | None) -> None:
        worker.seen(self._clock.now(), self._clock.monotonic(), caller)

    @staticmethod
    def _has_news(worker: Worker) -> bool:
        return bool(worker.cancelled) or worker.draining or worker.left

    def _out(self, lease: Lease) -> JobOut:
        job = lease.job
        deadline = None if job.timeout is None else times.iso(lease.started_at + job.timeout)
        return JobOut(
            job_id=job.job_id,
            attempt=job.attempt,
            workflow_run_id=job.run_id,
            workflow_id=job.workflow_id,
            step_index=job.step,
            action=job.action,
            payload=Raw(job.payload),
            lease=times.seconds(lease.length),
            timeout=None if job.timeout is None else times.seconds(job.timeout),
            deadline=deadline,
            heartbeat_timeout=None if job.heartbeat_timeout is None else times.seconds(job.heartbeat_timeout),
            alone=job.alone,
            details=UNSET if job.details is None else Raw(job.details),
            traceparent=None if job.trace is None else job.trace.parent,
            tracestate="" if job.trace is None else job.trace.state,
        )

    def checked_details(self, job: JobInFlight) -> Json | None:
        """Read what a worker says about its job; what breaks a limit is dropped, for the job is alive all the same."""
        details = bytes(job.details)
        if not details or len(details) > self._limits.heartbeat_details_bytes_max:
            return None
        with contextlib.suppress(InvalidJson):
            json.check_json(details, self._limits)
            return Json(details)
        return None

    def _wait(self, value: float | str) -> Duration:
        return wait_duration(value, self._limits, "wait")


def wait_duration(value: float | str, limits: Limits, field: str) -> Duration:
    """Read how long a caller wants to wait; more than ``wait_seconds_max`` is taken for that.

    Raises:
        InvalidField: not a duration.
    """
    try:
        wait = times.parse_duration(value)
    except ValueError as error:
        raise InvalidField(str(error), [FieldError(field, str(error), 'send "20s" or 20')]) from None
    return Duration(min(wait, round(limits.wait_seconds_max * MICROS)))
