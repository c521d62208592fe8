"""What goes out while the broker says nothing, says no, or says it late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from orchestrator.app import outgoing
from orchestrator.app.outgoing import LETTER_WITHIN, Outgoing
from orchestrator.app.pipeline import Pipeline
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.event import Failure
from orchestrator.model.job import Job, JobRow, JobState, job_id
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.ports.broker import Broker, Refused, Sent
from orchestrator.ports.duties import Duties
from orchestrator.ports.outbox import Outbox
from tests.app.stage import LIMITS, StageClock

RUN = RunId("run")
JOB = Job(job_id=job_id(RUN, 0), run_id=RUN, workflow_id="flow", step=0, attempt=1, action="act", payload=Json(b"1"))
ROW = JobRow(
    run_id=RUN, workflow_id="flow", version=1, step=0, attempt=1, action="act", state=JobState.PENDING, input_of=None,
    alone=False,
)  # fmt: skip
LETTER = DeadLetter(
    id="run:0:1", run_id=RUN, workflow_id="flow", step=0, action="act", attempt=1, attempts=1,
    failure=Failure("Broke"), payload=Json(b"1"), worker=None, created_at=Time(0),
)  # fmt: skip


class Silence:
    """A broker and an outbox that a test answers for."""

    def __init__(self) -> None:
        self.answers: list[tuple[Callable[[list[Sent]], None], Callable[[list[Job]], None]]] = []
        self.written: list[tuple[str, Duration]] = []
        self.due: list[JobRow] = []
        self.letters: list[DeadLetter] = []
        self.again: list[JobRow] = []
        self.delay = 0.0

    def send(
        self,
        jobs: Sequence[Job],
        on_sent: Callable[[list[Sent]], None],
        on_refused: Callable[[list[Refused]], None],
        on_failed: Callable[[list[Job]], None],
    ) -> None:
        self.answers.append((on_sent, on_failed))

    def stop(self, attempts: object) -> None:
        """Nobody hears it."""

    async def dead_letter(self, letter: DeadLetter, sent: object, *, is_repeated: bool, within: Duration) -> None:
        self.written.append((letter.id, within))
        await asyncio.sleep(self.delay)

    async def unsent(self, now: Time, again: Time, limit: int) -> list[JobRow]:
        return self.due

    async def unpublished(self, now: Time, again: Time, limit: int) -> list[tuple[DeadLetter, None]]:
        return [(letter, None) for letter in self.letters]

    async def place_of(self, letter_id: str) -> None:
        """It was never noted."""

    async def note_published(self, letters: list[str]) -> None:
        """They are."""

    async def submit_(self) -> None:
        """What the pipeline makes of it."""

    def submit(self, request: Any, *, refusable: bool) -> Any:
        self.again += request.rows
        return self.submit_()


@pytest.fixture
def silence() -> Silence:
    return Silence()


def outgoing_of(silence: Silence) -> Outgoing:
    return Outgoing(cast(Broker, silence), cast(Outbox, silence), StageClock(), cast(Duties, silence), LIMITS)


async def resent(silence: Silence, service: Outgoing) -> int:
    """Look once; give how many jobs were sent again."""
    silence.again.clear()
    service._forget_handed()
    await service._resend(cast(Pipeline, silence))
    return len(silence.again)


async def test_a_job_of_which_nothing_was_heard_is_not_handed_over_again_and_again(silence: Silence) -> None:
    """A broker that is away for a minute would get a dozen copies of each job once it is back."""
    service = outgoing_of(silence)
    silence.due = [ROW]
    service.dispatch([JOB])
    assert await resent(silence, service) == 0
    await asyncio.sleep(LIMITS.kafka_delivery_seconds + LIMITS.kafka_resend_seconds - 1)
    assert await resent(silence, service) == 0
    await asyncio.sleep(2)
    assert await resent(silence, service) == 1


async def test_a_job_that_was_given_up_is_handed_over_again_at_once(silence: Silence) -> None:
    service = outgoing_of(silence)
    silence.due = [ROW]
    service.dispatch([JOB])
    ((_, on_failed),) = silence.answers
    on_failed([JOB])
    assert await resent(silence, service) == 1


async def test_what_is_heard_of_an_earlier_attempt_says_nothing_of_a_later_one(silence: Silence) -> None:
    service = outgoing_of(silence)
    service.dispatch([JOB])
    later = Job(
        job_id=job_id(RUN, 0), run_id=RUN, workflow_id="flow", step=0, attempt=2, action="act", payload=Json(b"1")
    )
    service.dispatch([later])
    (_, on_failed), _ = silence.answers
    on_failed([JOB])
    row = JobRow(
        run_id=RUN, workflow_id="flow", version=1, step=0, attempt=2, action="act", state=JobState.PENDING,
        input_of=None, alone=False,
    )  # fmt: skip
    silence.due = [row]
    assert await resent(silence, service) == 0


async def test_another_process_s_job_is_handed_over_here_when_it_is_due(silence: Silence) -> None:
    service = outgoing_of(silence)
    silence.due = [ROW]
    assert await resent(silence, service) == 1


async def test_a_dead_letter_that_comes_to_its_turn_too_late_is_left_to_whoever_it_is_due_for(silence: Silence) -> None:
    """A process that was frozen in between must not write what another one has written meanwhile."""
    service = outgoing_of(silence)
    service.dead_lettered([LETTER])
    await asyncio.sleep(LETTER_WITHIN / MICROS + 1)
    service.dead_lettered([LETTER])
    publishing = asyncio.create_task(service._publish())
    await asyncio.sleep(1)
    publishing.cancel()
    assert silence.written == [(LETTER.id, LETTER_WITHIN)]


async def test_dead_letters_that_are_looked_for_share_the_time_in_which_they_are_this_process_s(
    silence: Silence,
) -> None:
    service = outgoing_of(silence)
    silence.letters = [LETTER] * 5
    silence.delay = 4
    await service._publish_again()
    assert [within for _, within in silence.written] == [
        LETTER_WITHIN, LETTER_WITHIN - 4 * MICROS, LETTER_WITHIN - 8 * MICROS
    ]  # fmt: skip


def test_nobody_else_writes_a_dead_letter_before_this_process_is_sure_to_have_given_it_up() -> None:
    from orchestrator.adapters.kafka.config import LETTER_DELIVERY_SECONDS
    from orchestrator.ports.broker import LETTER_SECONDS

    assert LETTER_DELIVERY_SECONDS < LETTER_SECONDS
    assert outgoing.LETTER_WITHIN / MICROS + LETTER_SECONDS < outgoing.LETTER_AFTER / MICROS
