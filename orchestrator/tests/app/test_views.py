"""What is shown of a run: every attempt of every history, and what an open run waits for, in words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.app import views
from orchestrator.app.plans import Plans
from orchestrator.app.reasons import Reasons
from orchestrator.model import event as events
from orchestrator.model.event import Event
from orchestrator.model.run import RunId
from orchestrator.model.status import AttemptStatus, RunStatus, StepStatus
from orchestrator.model.times import Time, iso
from orchestrator.model.view import RunView
from orchestrator.ports.queries import History, RunFilter, RunRecord
from tests.app.stage import Stage, done, failed, make_stage, released
from tests.ports.scribe import NOW, Scribe, at, make_version

RETRY: dict[str, Any] = {"retry": {"maxRetries": 2, "delay": 5}}


async def taken(stage: Stage, **more: Any) -> RunId:
    """Start a run of two steps whose first job is in a worker's hands."""
    await stage.define("calm", "next", **{**RETRY, **more})
    run_id = await stage.trigger()
    stage.register("w", "calm", "next", lease=10)
    await stage.take_one("w")
    return run_id


def attempts(run: RunView, step: int = 0) -> list[str]:
    return [attempt.status for attempt in run.steps[step].attempts]


def statuses(run: RunView) -> list[str]:
    return [step.status for step in run.steps]


# --- attempts ------------------------------------------------------------------------------------------------------


async def test_a_run_that_has_just_begun() -> None:
    async with make_stage() as stage:
        await stage.define("calm", "next")
        run = await stage.view(await stage.trigger())
        assert (run.status, statuses(run), attempts(run)) == ("RUNNING", ["QUEUED", "PENDING"], ["QUEUED"])
        assert run.steps[1].attempts == []


async def test_an_attempt_is_shown_as_running_from_the_moment_it_was_taken() -> None:
    """The store learns of it later, if at all."""
    async with make_stage() as stage:
        run_id = await taken(stage)
        before = await stage.view(run_id)
        await stage.wait(1)
        after = await stage.view(run_id)
        for run in (before, after):
            (attempt,) = run.steps[0].attempts
            assert (statuses(run), attempt.status, attempt.worker) == (["RUNNING", "PENDING"], "RUNNING", "w")
            assert attempt.started_at == attempt.scheduled_at


async def test_a_failed_attempt_says_how_and_when_the_next_one_starts() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        (lease,) = stage.gateway.in_hand("w")
        report = {"jobId": lease.job.job_id, "attempt": 1, "status": "failed"}
        await stage.exchange("w", {**report, "error": {"type": "Broke", "message": "no", "stack": "a.py:1"}})
        run = await stage.view(run_id)
        (attempt,) = run.steps[0].attempts
        assert (run.status, statuses(run), attempt.status) == ("WAITING", ["BACKING_OFF", "PENDING"], "FAILED")
        assert attempt.error is not None
        assert (attempt.error.type, attempt.error.message, attempt.error.stack) == ("Broke", "no", "a.py:1")
        assert run.steps[0].next_attempt_at == iso(stage.clock.now() + 5_000_000)
        await stage.wait(5.2)
        run = await stage.view(run_id)
        assert (run.status, statuses(run), attempts(run)) == ("RUNNING", ["QUEUED", "PENDING"], ["FAILED", "QUEUED"])
        assert run.steps[0].next_attempt_at is None


async def test_a_lost_attempt_names_its_worker() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        await stage.wait(10.2)
        run = await stage.view(run_id)
        (attempt,) = run.steps[0].attempts
        assert (attempt.status, attempt.worker, attempt.error and attempt.error.type) == ("LOST", "w", "WorkerLost")


async def test_an_attempt_that_took_too_long() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage, stepTimeout=3)
        await stage.wait(3.2)
        assert attempts(await stage.view(run_id)) == ["TIMED_OUT"]


async def test_an_attempt_that_was_given_back() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        (lease,) = stage.gateway.in_hand("w")
        job = stage.gateway._out(lease)
        await stage.exchange("w", released(job))
        run = await stage.view(run_id)
        assert (statuses(run), attempts(run)) == (["QUEUED", "PENDING"], ["RELEASED", "QUEUED"])


@pytest.mark.parametrize(
    ("seconds", "before"), [(0.0, []), (1.0, []), (10.2, ["LOST"])], ids=["just taken", "running", "backing off"]
)
async def test_a_cancelled_run_shows_what_became_of_its_attempt(seconds: float, before: list[str]) -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        await stage.wait(seconds)
        await stage.orchestrator.cancel(run_id, b'{"reason": "not wanted"}')
        run = await stage.view(run_id)
        assert (run.status, statuses(run)) == ("CANCELLED", ["CANCELLED", "PENDING"])
        assert attempts(run) == (before or ["CANCELLED"])
        assert run.waiting_for is None
        assert all(attempt.finished_at for attempt in run.steps[0].attempts)


async def test_a_step_that_failed_for_good_and_was_redriven() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage, retry={"maxRetries": 0})
        (lease,) = stage.gateway.in_hand("w")
        await stage.exchange("w", failed(stage.gateway._out(lease)))
        run = await stage.view(run_id)
        assert (run.status, statuses(run), run.error and run.error.type) == ("FAILED", ["FAILED", "PENDING"], "Broke")
        run = await stage.orchestrator.redrive(f"{run_id}:0:1")
        assert (run.status, statuses(run), run.error) == ("RUNNING", ["QUEUED", "PENDING"], None)
        await stage.exchange("w", done(await stage.take_one("w"), 1))
        run = await stage.view(run_id)
        assert (statuses(run), attempts(run)) == (["COMPLETED", "QUEUED"], ["FAILED", "COMPLETED"])
        assert [(one.step_index, bytes(one.result)) for one in run.step_results] == [(0, b"1")]


# --- every history -------------------------------------------------------------------------------------------------

_LAST: dict[type[Event], AttemptStatus] = {
    events.StepQueued: AttemptStatus.QUEUED,
    events.AttemptStarted: AttemptStatus.RUNNING,
    events.StepCompleted: AttemptStatus.COMPLETED,
    events.AttemptFailed: AttemptStatus.FAILED,
    events.AttemptLost: AttemptStatus.LOST,
    events.AttemptReleased: AttemptStatus.RELEASED,
    events.StepCancelled: AttemptStatus.CANCELLED,
}


def _naive(history: Sequence[Event], step: int) -> list[AttemptStatus]:
    """Say of each attempt how the last event about it left it; a step that is over changes no attempt that was over."""
    found: dict[int, AttemptStatus] = {}
    open_ = (AttemptStatus.QUEUED, AttemptStatus.RUNNING)
    for event in history:
        if getattr(event, "step", None) == step and (status := _LAST.get(type(event))) is not None:
            attempt: int = getattr(event, "attempt")  # noqa: B009 - only events about an attempt are in the table
            if not isinstance(event, events.StepCancelled) or found[attempt] in open_:
                found[attempt] = status
    return list(found.values())


@pytest.mark.parametrize("seed", range(20))
async def test_every_attempt_of_every_history_is_shown(seed: int) -> None:
    draw = random.Random(seed)
    scribe = Scribe(make_version(steps=3, max_retries=2))
    scribe.start()
    run_id = RunId("run-0001")
    plan = Plans().of(scribe.versions[0])
    async with make_stage() as stage:
        reasons = Reasons(stage.orchestrator.life.roll)
        for number in range(1, 30):
            _move(scribe, run_id, draw, at(number))
            history = scribe.histories[run_id]
            state = scribe.states[run_id]
            shown = views.run_view(_record(scribe, run_id), History(history, []), plan, lambda step: None, {})
            for step in shown.steps:
                assert [one.status for one in step.attempts] == _naive(history, step.step_index)
                assert [one.attempt for one in step.attempts] == list(range(1, len(step.attempts) + 1))
                known = state.open.get(step.step_index) or state.halted.get(step.step_index)
                if known is not None:
                    assert step.status == known.status
            if state.is_open:
                assert (await reasons.of(shown.steps, plan) or "").startswith("step ")
            numbered = views.event_views(History(history, []))
            assert [one.seq for one in numbered] == list(range(1, len(history) + 1))
            assert [one.type for one in numbered] == [type(event).__name__ for event in history]


def _move(scribe: Scribe, run_id: RunId, draw: random.Random, now: Time) -> None:
    state = scribe.states[run_id]
    if state.status is RunStatus.FAILED:
        scribe.redrive(run_id, now)
    elif state.is_open:
        (step,) = state.open.values()
        if draw.random() < 0.03:
            scribe.cancel(run_id, now)
        elif step.status is StepStatus.BACKING_OFF:
            scribe.retry(run_id, Time(max(now, step.retry_at or 0)))
        elif step.status is StepStatus.QUEUED and draw.random() < 0.5:
            scribe.take(run_id, now)
        elif draw.random() < 0.6:
            scribe.fail(run_id, now)
        else:
            scribe.complete(run_id, when=now)


def _record(scribe: Scribe, run_id: RunId) -> RunRecord:
    state = scribe.states[run_id]
    return RunRecord(
        run_id=run_id,
        workflow_id=state.workflow_id,
        version=state.version,
        status=state.status,
        current_step=state.current_step,
        started_at=state.started_at,
        ended_at=state.ended_at,
        input=scribe.inputs[run_id],
        output=None,
        failure=state.failure,
        place=(NOW, 1),
    )


# --- in words ------------------------------------------------------------------------------------------------------


async def test_what_a_run_waits_for_is_said_in_words() -> None:
    async with make_stage() as stage:
        await stage.define("calm", "next", **RETRY)
        run_id = await stage.trigger()
        began = iso(stage.clock.now())
        said = [(await stage.view(run_id)).waiting_for]
        stage.register("w", "calm", lease=10)
        said.append((await stage.view(run_id)).waiting_for)
        job = await stage.take_one("w")
        said.append((await stage.view(run_id)).waiting_for)
        await stage.exchange("w", failed(job))
        later = iso(stage.clock.now() + 5_000_000)
        said.append((await stage.view(run_id)).waiting_for)
        assert said == [
            f"step 0 (calm): no connected worker has a handler for this action, since {began}",
            f"step 0 (calm): queued for a free worker since {began}",
            f"step 0 (calm): worker w has been at it since {began}",
            f"step 0 (calm): attempt 2 of 3 starts at {later}",
        ]
        await stage.orchestrator.cancel(run_id, b"")
        assert (await stage.view(run_id)).waiting_for is None


async def test_a_worker_that_went_away_is_no_worker_to_wait_for() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        run_id = await stage.trigger()
        stage.register("w", "calm", lease=10)
        await stage.wait(11)
        assert "no connected worker" in ((await stage.view(run_id)).waiting_for or "")


async def test_details_of_a_heartbeat_are_shown_at_once_and_through_a_restart() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        (lease,) = stage.gateway.in_hand("w")
        stage.beat("w", stage.gateway._out(lease), details=b'{"done": 40.0}')
        shown = (await stage.view(run_id)).steps[0].details
        assert shown is not None
        assert bytes(shown) == b'{"done": 40.0}'
        await stage.wait(1)
        await stage.restart()
        shown = (await stage.view(run_id)).steps[0].details
        assert shown is not None
        assert bytes(shown) == b'{"done": 40.0}'


async def test_a_list_and_a_page_say_the_same_of_a_run() -> None:
    async with make_stage() as stage:
        run_id = await taken(stage)
        (lease,) = stage.gateway.in_hand("w")
        await stage.exchange("w", done(stage.gateway._out(lease), [1]))
        page = await stage.view(run_id)
        ((listed,), _) = await stage.orchestrator.runs(RunFilter(), 10, None)
        ((summary,), _) = await stage.orchestrator.summaries(RunFilter(), 10, None)
        for name in summary.__struct_fields__:
            assert getattr(page, name) == getattr(listed, name) == getattr(summary, name)
        assert (page.input, page.step_results) == (listed.input, listed.step_results)
        assert page.current_step == 1
