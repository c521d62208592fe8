"""The heart of the worker: reporting results and taking jobs, in as few calls as possible.

Rule 1: while there is room for a job, one call waits for jobs at the orchestrator.
Rule 2: a result goes out with the next call, and that call asks for the next jobs: one round trip per step.
Rule 3: a result never waits for a waiting call to come back; it goes out beside it, on a second connection.
Rule 4: results that are ready while both lines are in use are gathered for the next call.
Rule 5: the jobs of one answer get two milliseconds to come back together before the next call is made.
Rule 6: results stay here until a call that carried them was answered.
Rule 7: whoever answers "nothing" without waiting is asked ten times a second, not more often.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from workersdk import outcomes
from workersdk.errors import RegistrationError
from workersdk.execution import Execution
from workersdk.jobs import Job, JobsInHand, Stop
from workersdk.link import Link
from workersdk.outcomes import Failure, Outbox, Outcome
from workersdk.transport import Answer, Refused, TooLarge, TransportError, WorkerUnknown

WAIT_S: Final = 20.0
TOGETHER_S: Final = 0.002
NOTHING_S: Final = 0.1
NOTHING: Final = Answer()
CONTENT_STATUSES: Final = frozenset({400, 422})

# What a rejected result means for whoever reads the log.
_REJECTIONS: Final = {
    "already-recorded": logging.DEBUG,
    "run-finished": logging.INFO,
    "attempt-superseded": logging.WARNING,
    "job-unknown": logging.WARNING,
    "result-invalid": logging.ERROR,
}


class _Call:
    """An exchange that is under way."""

    __slots__ = ("batch", "capacity", "has_begun", "is_unwanted", "sent_at", "task")

    def __init__(self, batch: Sequence[Outcome], capacity: int, sent_at: float) -> None:
        self.batch = batch
        self.capacity = capacity
        self.sent_at = sent_at
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False
        self.is_unwanted = False


class Exchanges:
    """Decides when to call, with what, and what to do with the answer.

    There are two lines. The first one waits for jobs and carries the results that are ready when it is sent; the
    second one is used for results only while the first one is waiting.
    """

    def __init__(
        self,
        link: Link,
        jobs: JobsInHand,
        concurrency: int,
        logger: logging.Logger,
        on_draining: Callable[[], None],
        on_failure: Callable[[BaseException], None],
        on_accepted: Callable[[Sequence[Job]], None],
    ) -> None:
        self.outbox = Outbox()
        self.execution: Execution
        self._link = link
        self._jobs = jobs
        self._concurrency = concurrency
        self._logger = logger
        self._on_draining = on_draining
        self._on_failure = on_failure
        self._on_accepted = on_accepted
        self._loop = asyncio.get_running_loop()
        self._first: _Call | None = None
        self._second: _Call | None = None
        self._pump_handle: asyncio.Handle | None = None
        self._pump_timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._ask_after = 0.0
        self._burst = 0  # the number of the latest burst of jobs, how many of it are not done, and until when it counts
        self._burst_left = 0
        self._burst_until = 0.0
        self._is_taking = True
        self._is_closed = False
        self._at_rest = asyncio.Event()

    # ------------------------------------------------------------ from outside

    def report(self, results: Sequence[Outcome]) -> None:
        """Take results that are ready to be sent."""
        self.outbox.add(results)
        for outcome in results:
            self._forget(outcome.job)
        if self._burst_left == 0 and self._pump_handle is None and self._loop.time() < self._burst_until:
            self._pump()  # the whole burst is here: nothing else is about to come
        else:
            self.nudge()

    def drop(self, job: Job) -> None:
        """Let a job go of which nobody wants the result."""
        self._forget(job)
        self.nudge()

    def nudge(self) -> None:
        """Look, soon, whether there is something to send."""
        if self._pump_handle is None and not self._is_closed:
            self._pump_handle = self._loop.call_soon(self._pump)

    def resume(self) -> None:
        """The orchestrator is there again: do not wait for the end of the pause."""
        self._not_before = 0.0
        self.nudge()

    def stop_taking(self) -> None:
        """Ask for no more jobs. A call that waits goes on until it ends; what it brings is given back."""
        self._is_taking = False
        self.nudge()

    async def abort_waiting(self) -> None:
        """End the call that waits. Its results are sent again; its jobs, if any, go back when the worker leaves."""
        call = self._first
        if call is None or call.task is None:
            return
        if call.has_begun:
            call.task.cancel()
        else:
            call.is_unwanted = True  # a task that is cancelled before it begins would take its results with it
        await asyncio.wait([call.task])

    async def wait_flushed(self) -> None:
        """Return when every result has been acknowledged. Call it after `stop_taking`."""
        while self.outbox or self._first is not None or self._second is not None:
            self._at_rest.clear()
            self.nudge()
            await self._at_rest.wait()

    async def close(self) -> None:
        """End everything. What has not been sent is lost."""
        self._is_closed = True
        if self._pump_timer is not None:
            self._pump_timer.cancel()
        tasks = [call.task for call in (self._first, self._second) if call is not None and call.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # ------------------------------------------------------------ deciding

    def _pump(self) -> None:
        self._pump_handle = None
        if self._is_closed:
            return
        now = self._loop.time()
        if now < self._not_before:
            self._pump_at(self._not_before)
        elif self._burst_left > 0 and now < self._burst_until:
            self._pump_at(self._burst_until)
        elif self._first is None:
            self._use_first(now)
        elif self.outbox and self._second is None:
            self._use_second(now, self._first)
        if not self.outbox and self._first is None and self._second is None:
            self._at_rest.set()

    def _use_first(self, now: float) -> None:
        capacity = self._capacity()
        if not self.outbox:
            if capacity == 0:
                return
            if now < self._ask_after:
                self._pump_at(self._ask_after)
                return
        self._first = self._send(now, capacity, min(WAIT_S, self._link.terms.wait_max))
        if self.outbox:
            self.nudge()

    def _use_second(self, now: float, first: _Call) -> None:
        # A call that carried results is most often answered in a moment: what comes meanwhile is gathered.
        if first.batch and now < first.sent_at + TOGETHER_S:
            self._pump_at(first.sent_at + TOGETHER_S)
        else:
            self._second = self._send(now, self._capacity(), 0)

    def _capacity(self) -> int:
        if not self._is_taking or self._jobs.has_alone():
            return 0  # an orchestrator that did not hand the job out itself does not know that it runs alone
        offered = sum(call.capacity for call in (self._first, self._second) if call is not None)
        free = self._concurrency - len(self._jobs) - offered
        return max(0, min(free, self._link.terms.capacity_max))

    def _pump_at(self, when: float) -> None:
        if self._pump_timer is not None:
            self._pump_timer.cancel()
        self._pump_timer = self._loop.call_at(when, self.nudge)

    # ------------------------------------------------------------ calling

    def _send(self, now: float, capacity: int, wait: float) -> _Call:
        call = _Call(self.outbox.take(), capacity, now)
        # A call must answer at once when more results wait for the line, and when it is to show, after a failure,
        # whether the orchestrator is there again.
        if capacity == 0 or self.outbox or self._link.is_in_doubt:
            wait = 0
        call.task = self._loop.create_task(self._make(call, wait))
        return call

    async def _make(self, call: _Call, wait: float) -> None:
        call.has_begun = True
        for outcome in call.batch:
            outcome.tries += 1
        registrations = self._link.registrations
        try:
            if call.is_unwanted:
                raise asyncio.CancelledError
            answer = await self._link.transport.exchange([outcome.body for outcome in call.batch], call.capacity, wait)
        except BaseException as error:
            try:
                await self._recover(call.batch, error, registrations)
            finally:
                self._free_line(call)
        else:
            self._free_line(call)
            self._link.reached()
            self.outbox.carry_more()
            try:
                self._apply(answer, call.batch)
                if wait and not call.batch and answer == NOTHING:
                    self._ask_after = max(self._ask_after, call.sent_at + NOTHING_S)
            except Exception as error:
                self._on_failure(error)
        self.nudge()

    def _free_line(self, call: _Call) -> None:
        if self._first is call:
            self._first = None
        elif self._second is call:
            self._second = None

    async def _recover(self, batch: Sequence[Outcome], error: BaseException, registrations: int) -> None:
        is_content = isinstance(error, TooLarge) or (isinstance(error, Refused) and error.status in CONTENT_STATUSES)
        if is_content and len(batch) == 1:
            self.outbox.put_back(self._instead_of(batch[0], error))
            return
        self.outbox.put_back(batch)
        if is_content and batch:
            self.outbox.carry_fewer(len(batch))  # one of them is to blame: halving finds it
        elif isinstance(error, WorkerUnknown):
            try:
                await self._link.register_again(registrations)
            except RegistrationError as refusal:
                self._on_failure(refusal)
        elif isinstance(error, TransportError):
            self._not_before = self._loop.time() + self._link.failed(error)
        elif not isinstance(error, asyncio.CancelledError):
            self._on_failure(error)

    def _instead_of(self, outcome: Outcome, error: BaseException) -> list[Outcome]:
        """The orchestrator will not have this result: say so in its place, so that the attempt does not hang."""
        if outcome.is_failure:
            self._logger.error("%s: its failure could not be reported: %s", outcome.job, error)
            return []
        kind = outcomes.TOO_LARGE if isinstance(error, TooLarge) else outcomes.REFUSED
        message = f"the result of {len(outcome.body)} bytes was not taken: {error}"
        return [outcomes.failed(outcome.job, Failure(kind, message, is_retryable=False))]

    # ------------------------------------------------------------ answers

    def _apply(self, answer: Answer, sent: Sequence[Outcome]) -> None:
        if answer.cancelled:
            self.execution.stop_jobs(self._jobs.find_all(answer.cancelled), Stop.CANCELLED)
        if answer.rejected:
            self._tell_rejections(answer.rejected, sent)
        if answer.is_draining:
            self._on_draining()
        if answer.jobs:
            self._accept(answer.jobs)

    def _accept(self, raws: Sequence[dict[str, Any]]) -> None:
        now = self._loop.time()
        if now >= self._burst_until:
            self._burst += 1
            self._burst_left = 0
        accepted = [job for raw in raws if (job := self._read(raw, now)) is not None]
        if not self._is_taking:
            self.report([outcomes.released(job) for job in accepted])
            return
        self._burst_left += len(accepted)
        self._burst_until = now + TOGETHER_S
        self._on_accepted(accepted)
        self.execution.start(accepted)

    def _read(self, raw: dict[str, Any], now: float) -> Job | None:
        try:
            job = Job(raw, now, self._burst, self._link.terms.lease)
        except (KeyError, TypeError):
            self._logger.exception("a job that cannot be read: %.200r", raw)
            return None
        return job if self._jobs.add(job) else None

    def _forget(self, job: Job) -> None:
        self._jobs.remove(job)
        if job.burst == self._burst:
            self._burst_left -= 1

    def _tell_rejections(self, rejections: Sequence[dict[str, Any]], sent: Sequence[Outcome]) -> None:
        # A result whose first answer was lost is expected to be refused the second time.
        again = {(outcome.job.id, outcome.job.attempt) for outcome in sent if outcome.tries > 1}
        for rejection in rejections:
            job_id, attempt, code = rejection.get("jobId"), rejection.get("attempt"), rejection.get("code", "")
            level = logging.DEBUG if (job_id, attempt) in again else _REJECTIONS.get(code, logging.WARNING)
            self._logger.log(
                level,
                "the result of job %s attempt %s was not used: %s",
                job_id,
                attempt,
                rejection.get("reason", code),
            )
