"""What goes out through a broker: jobs, again where they were not acknowledged, stops, dead letters.

Rule 1: nothing is handed over before its decision is durable.
Rule 2: what is not known to be acknowledged is handed over again from its row, by whichever process comes first.
Rule 3: what the broker will never take is a failed step, and not tried again.
Rule 4: a job that is over before `NOTE_AFTER` costs no write of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import Final

from orchestrator.app.command import Direct, Requeue
from orchestrator.app.duties import perform
from orchestrator.app.pipeline import Pipeline
from orchestrator.engine.command import FailAttempt
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.event import Failure
from orchestrator.model.job import Job, JobRow
from orchestrator.model.limits import Limits
from orchestrator.model.role import Duty
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.ports.broker import Broker, Refused, Sent, Stop
from orchestrator.ports.clock import Clock
from orchestrator.ports.duties import Duties
from orchestrator.ports.outbox import Outbox

_log = logging.getLogger(__name__)

# What a person may have to change is a limit (`model.limits`). What follows is not: the waits for dead letters rest on
# each other and on the port, and the others say how work is cut and not how much there may be.
LETTER_AFTER: Final = Duration(30 * MICROS)
"""How long the record of a dead letter is one process's to write, before it is another's."""
LETTER_WITHIN: Final = Duration(10 * MICROS)
"""How much of that may be over as the record is begun to be written: what is left is more than a broker takes for it
(`ports.broker.LETTER_SECONDS`), or gives up after. So no two write it."""
NOTE_AFTER: Final = Duration(MICROS // 2)
"""How long an acknowledged job is open before the store learns that it was sent."""
TICK_SECONDS: Final = 0.25
"""How often the service looks."""
NOT_TAKEN_TYPE: Final = "JobNotTaken"
"""The error type of a job that the broker will not take: it is too large for its topic."""
MISPLACED_SECONDS: Final = 60.0
"""How often it is looked for jobs that wait on a topic that is not their action's any more."""
NOTE_LIMIT: Final = 250
"""Jobs that the store learns of in one statement."""
LIMIT: Final = 1_000
"""Rows taken in one look; the rest follow in the next."""
LETTERS_LIMIT: Final = 50
"""Dead letters looked for in one look: as many as can be looked for in `LETTER_WITHIN`."""
_NOTHING: Final = (0, 0)


class Outgoing:
    """Hands over what was decided. `run` is its service."""

    def __init__(self, broker: Broker, outbox: Outbox, clock: Clock, duties: Duties, limits: Limits) -> None:
        self._broker = broker
        self._duties = duties
        self._outbox = outbox
        self._clock = clock
        self._resend_after = resend_after(limits)
        self._answer_after = Duration(self._resend_after + round(limits.kafka_delivery_seconds * MICROS))
        """How long a job that was handed over, and of which nothing was heard, is not handed over again by this
        process: a broker that is away would get as many copies as there were tries, once it is back."""
        self._acknowledged: dict[tuple[RunId, int], tuple[Sent, int]] = {}
        """Jobs that were sent and are open as far as this process knows, with the moment on the monotonic clock."""
        self._handed: dict[tuple[RunId, int], tuple[int, int]] = {}
        """Attempts that were handed over and not heard of, with the moment on the monotonic clock, in order of it."""
        self._letters: asyncio.Queue[tuple[DeadLetter, Sent | None, int]] = asyncio.Queue()
        """With where their jobs were, and the moment on the monotonic clock."""
        self._refused: asyncio.Queue[Refused] = asyncio.Queue()
        self.resent: Counter[str] = Counter()
        """Jobs that were handed over again, by reason."""
        self.refused = 0
        """Jobs that the broker will never take."""

    # --- what the pipeline asks for (see `pipeline.World`) ---------------------------------------------------------

    def dispatch(self, jobs: list[Job]) -> None:
        """Hand jobs over."""
        now_on = self._clock.monotonic()
        handed = self._handed
        for job in jobs:
            handed.pop((job.run_id, job.step), None)
            handed[job.run_id, job.step] = job.attempt, now_on
        self._broker.send(jobs, self._sent, self._not_taken, self._given_up)

    def withdraw(self, run_id: RunId, step: int, attempt: int) -> None:
        """Tell the worker that may have an attempt to stop it."""
        self.reported(run_id, step)
        self._broker.stop([Stop(run_id, step, attempt)])

    def reported(self, run_id: RunId, step: int) -> None:
        """A job is over."""
        self._acknowledged.pop((run_id, step), None)
        self._handed.pop((run_id, step), None)

    def dead_lettered(self, letters: list[DeadLetter]) -> None:
        """Hand dead letters over. Called before their jobs are told to be over: so it is known where these were."""
        now_on = self._clock.monotonic()
        for letter in letters:
            known = self._acknowledged.get((letter.run_id, letter.step))
            sent = known[0] if known is not None and known[0].attempt == letter.attempt else None
            self._letters.put_nowait((letter, sent, now_on))

    def _given_up(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._heard_of(job.run_id, job.step, job.attempt)

    def _heard_of(self, run_id: RunId, step: int, attempt: int) -> None:
        if self._handed.get((run_id, step), _NOTHING)[0] == attempt:
            del self._handed[run_id, step]

    def _not_taken(self, refused: list[Refused]) -> None:
        self.refused += len(refused)
        for one in refused:
            self._refused.put_nowait(one)

    def _sent(self, sent: list[Sent]) -> None:
        now_on = self._clock.monotonic()
        for one in sent:
            self._heard_of(one.run_id, one.step, one.attempt)
            known = self._acknowledged.get((one.run_id, one.step))
            if known is None or known[0].attempt <= one.attempt:
                # In order of time: what is handed over later is put at the end.
                self._acknowledged.pop((one.run_id, one.step), None)
                self._acknowledged[one.run_id, one.step] = one, now_on

    # --- the service ---------------------------------------------------------------------------------------------

    async def run(self, pipeline: Pipeline) -> None:
        """Serve until cancelled. A store or a broker that fails is tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(pipeline))
            group.create_task(self._publish())
            group.create_task(self._fail_refused(pipeline))
            group.create_task(self._replace())

    async def _look(self, pipeline: Pipeline) -> None:
        failing = False
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.note_sent(NOTE_AFTER)
                self._forget_handed()
                await perform(self._duties, Duty.RESENDING, partial(self._again, pipeline))
                failing = False
            except OrchestratorError as error:
                if not failing:
                    _log.error("what goes out waits: %s", error)
                failing = True

    async def note_sent(self, older_than: Duration = Duration(0)) -> None:
        """Tell the store of jobs that the broker has and that are still open."""
        before_on = self._clock.monotonic() - older_than
        noted: list[Sent] = []
        for sent, on in self._acknowledged.values():
            if on > before_on:
                break
            noted.append(sent)
        # In parts: a long statement would hold the locks of all its runs, and decisions about them wait.
        for start in range(0, len(noted), NOTE_LIMIT):
            await self._note(noted[start : start + NOTE_LIMIT])

    async def _note(self, noted: list[Sent]) -> None:
        looked_at = await self._outbox.note_sent(noted)
        for sent in noted:
            if sent.run_id not in looked_at:
                continue
            known = self._acknowledged.get((sent.run_id, sent.step))
            if known is not None and known[0] is sent:
                del self._acknowledged[sent.run_id, sent.step]

    async def _again(self, pipeline: Pipeline) -> None:
        await self._resend(pipeline)
        await self._publish_again()

    async def _resend(self, pipeline: Pipeline) -> None:
        now = self._clock.now()
        rows = await self._outbox.unsent(now, Time(now + self._resend_after), LIMIT)
        rows = [row for row in rows if not self._is_on_its_way(row)]
        if rows:
            self.resent["unacknowledged"] += len(rows)
            _log.info("%d jobs were not known to be sent, and are sent again", len(rows))
            await pipeline.submit(Requeue(rows), refusable=False)

    def _forget_handed(self) -> None:
        """Hear no more of what was handed over too long ago."""
        before_on = self._clock.monotonic() - self._answer_after
        while self._handed:
            place = next(iter(self._handed))
            if self._handed[place][1] > before_on:
                return
            del self._handed[place]

    def _is_on_its_way(self, row: JobRow) -> bool:
        place = (row.run_id, row.step)
        return place in self._acknowledged or self._handed.get(place, _NOTHING)[0] == row.attempt

    async def _publish(self) -> None:
        while True:
            letter, sent, decided_on = await self._letters.get()
            try:
                # Of a job that was open for a while, the store knows where it was.
                sent = sent or await self._outbox.place_of(letter.id)
                within = Duration(LETTER_WITHIN - (self._clock.monotonic() - decided_on))
                if within <= 0:
                    # It may be another process's by now. It is due again, and looked for.
                    continue
                await self._broker.dead_letter(letter, sent, is_repeated=False, within=within)
                await self._outbox.note_published([letter.id])
            except OrchestratorError as error:
                _log.error("dead letter %s waits: %s", letter.id, error)

    async def _publish_again(self) -> None:
        now, now_on = self._clock.now(), self._clock.monotonic()
        for letter, sent in await self._outbox.unpublished(now, Time(now + LETTER_AFTER), LETTERS_LIMIT):
            within = Duration(LETTER_WITHIN - (self._clock.monotonic() - now_on))
            if within <= 0:
                return
            try:
                await self._broker.dead_letter(letter, sent, is_repeated=True, within=within)
            except OrchestratorError as error:
                # One that cannot be written must not keep the others waiting; it is due again.
                _log.error("dead letter %s waits: %s", letter.id, error)
            else:
                await self._outbox.note_published([letter.id])

    async def _fail_refused(self, pipeline: Pipeline) -> None:
        """End steps whose jobs will never be taken. One that is not recorded is refused again when it is sent again."""
        while True:
            refused = await self._refused.get()
            failure = Failure(NOT_TAKEN_TYPE, f"the broker does not take the job: {refused.reason}")
            command = FailAttempt(refused.step, refused.attempt, failure, retryable=False)
            try:
                await pipeline.submit(Direct(refused.run_id, command), refusable=False)
            except OrchestratorError as error:
                _log.error("a job that is not taken waits: %s", error)

    async def _replace(self) -> None:
        """Send jobs again that wait where, with the routes of this process, no worker looks for them."""
        while True:
            try:
                now = self._clock.now()
                while moved := await self._outbox.misplaced(self._broker.routes, now, LIMIT):
                    self.resent["misplaced"] += moved
                    _log.info("%d jobs wait on a topic that is not their action's, and are sent again", moved)
            except OrchestratorError as error:
                _log.error("jobs on topics that are not their action's wait: %s", error)
            await asyncio.sleep(MISPLACED_SECONDS)


def resend_after(limits: Limits) -> Duration:
    """Say how long a broker has to acknowledge what it is handed, before another process may hand it over again."""
    return Duration(round(limits.kafka_resend_seconds * MICROS))
