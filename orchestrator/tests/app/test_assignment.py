"""Which worker gets which job: in order, as many as it asks for, and a suspect never beside another."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from msgspec import structs
from workersdk.http import ANSWER_BYTES_MAX

from orchestrator.app.assignment import RESERVED_SECONDS, RESTED_SECONDS
from orchestrator.app.waits import Caller
from orchestrator.model.limits import MIB, Limits
from orchestrator.model.wire import ExchangeAnswer, JobOut
from tests.app.stage import Stage, answer_of, done, make_stage, waiting

QUICK = {"retry": {"maxRetries": 3, "delay": 0}}


async def make_suspect(stage: Stage, action: str = "risky") -> None:
    """Let a run's first attempt be lost with its worker, so that the next one runs alone."""
    await stage.define(action, workflow_id=f"of-{action}", **QUICK)
    await stage.trigger(workflow_id=f"of-{action}")
    stage.register("victim", action, lease=1)
    (job,) = await stage.take("victim")
    assert not job.alone
    await stage.wait(1.5)
    stage.gateway.workers._workers.pop("victim")


async def with_jobs_in_hand(stage: Stage, worker_id: str, count: int = 1) -> list[JobOut]:
    await stage.define("calm")
    for _ in range(count):
        await stage.trigger()
    stage.register(worker_id, "calm", "risky", lease=3_600)
    return await stage.take(worker_id, count)


async def test_a_worker_gets_as_many_jobs_as_it_asks_for_the_oldest_first() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        runs = [await stage.trigger() for _ in range(5)]
        stage.register("w", "calm")
        assert [job.workflow_run_id for job in await stage.take("w", 2)] == runs[:2]
        assert [job.workflow_run_id for job in await stage.take("w", 10)] == runs[2:]


async def test_a_worker_gets_no_more_than_the_limit_of_a_call() -> None:
    async with make_stage(jobs_per_call_max=3) as stage:
        await stage.define("calm")
        for _ in range(5):
            await stage.trigger()
        stage.register("w", "calm")
        assert len(await stage.take("w", 1_000)) == 3


async def test_large_jobs_come_in_several_answers_and_all_of_them_come() -> None:
    most = 4 * MIB
    async with make_stage(job_bytes_per_call_max=most) as stage:
        await stage.define("calm")
        large = b'"%s"' % (b"x" * (MIB - 2))
        runs = [await stage.trigger(large if number % 5 else b"%d" % number) for number in range(40)]
        stage.register("w", "calm")
        stage.register("other", "calm")
        answers: list[ExchangeAnswer] = []
        while len(answers) < 2 or answers[-1].jobs:
            # Two that have many hands take turns: what did not fit for one is the other's, and nobody waits for long.
            answers.append(await stage.exchange("w" if len(answers) % 2 else "other", capacity=100))
        given = [job.workflow_run_id for answer in answers for job in answer.jobs]
        assert given == runs
        assert all(len(msgspec.json.encode(answer)) <= most for answer in answers)
        # Three large ones fit, and whatever small ones are between them.
        sizes = [sum(len(job.payload) == MIB for job in answer.jobs) for answer in answers]
        assert sizes == [3] * 10 + [2, 0]


def test_an_sdk_takes_the_largest_answer_whatever_else_is_in_it() -> None:
    assert 2 * Limits().job_bytes_per_call_max <= ANSWER_BYTES_MAX


async def test_a_job_that_is_larger_than_an_answer_may_be_comes_by_itself() -> None:
    async with make_stage(job_bytes_per_call_max=1_000) as stage:
        await stage.define("calm")
        runs = [await stage.trigger(payload) for payload in (b"1", b'"%s"' % (b"x" * 5_000), b"2")]
        stage.register("w", "calm")
        assert [[job.workflow_run_id for job in await stage.take("w", 10)] for _ in runs] == [[run] for run in runs]


async def test_who_waits_for_jobs_gets_those_that_did_not_fit_for_another() -> None:
    async with make_stage(job_bytes_per_call_max=1_000) as stage:
        await stage.define("calm")
        waits = []
        for name in ("w", "other"):
            stage.register(name, "calm")
            waits.append(await waiting(stage.exchange(name, capacity=100, wait=60)))
        runs = await asyncio.gather(*(stage.trigger() for _ in range(3)))
        answers = await answer_of(asyncio.gather(*waits))
        given = [job.workflow_run_id for answer in answers for job in answer.jobs]
        given += [job.workflow_run_id for job in await stage.take("w", 10)]
        assert given == runs


async def test_a_worker_gets_only_what_it_has_handlers_for() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger()
        stage.register("w", "other")
        assert await stage.take("w", 10) == []


async def test_a_worker_that_drains_gets_nothing() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger()
        stage.register("w", "calm")
        stage.gateway.drain("w")
        answer = await stage.exchange("w", capacity=10)
        assert (answer.jobs, answer.draining) == ([], True)


async def test_a_suspect_goes_to_empty_hands_and_nothing_goes_with_it() -> None:
    async with make_stage() as stage:
        await make_suspect(stage)
        await stage.define("calm")
        await stage.trigger()
        stage.register("w", "calm", "risky")
        (suspect,) = await stage.take("w", 10)
        assert (suspect.action, suspect.alone, suspect.attempt) == ("risky", True, 2)
        assert await stage.take("w", 10) == []
        answer = await stage.exchange("w", done(suspect), capacity=10)
        assert [job.action for job in answer.jobs] == ["calm"]


@pytest.mark.parametrize("has_hung_up", [True, False])
async def test_who_times_out_in_the_hands_of_a_worker_that_hung_up_is_suspected(has_hung_up: bool) -> None:
    """A process that dies closes its connections; a step's timeout may be over long before the lease is."""
    async with make_stage() as stage:
        await stage.orchestrator.define(
            b'{"id": "flow", "retry": {"delay": 0}, "steps": [{"action": "risky", "timeout": 2}]}'
        )
        await stage.trigger()
        first, second = Caller(), Caller()
        stage.register("victim", "risky", lease=3_600)
        await stage.exchange("victim", caller=first)
        (job,) = (await stage.exchange("victim", capacity=1, caller=second)).jobs
        assert not job.alone
        first.leave()
        if has_hung_up:
            second.leave()
        await stage.wait(2.5)
        stage.register("w", "risky")
        assert [(job.attempt, job.alone) for job in await stage.take("w", 10)] == [(2, has_hung_up)]


async def test_two_suspects_go_one_after_the_other() -> None:
    async with make_stage() as stage:
        await make_suspect(stage, "risky")
        await make_suspect(stage, "mad")
        stage.register("w", "risky", "mad")
        (first,) = await stage.take("w", 10)
        answer = await stage.exchange("w", done(first), capacity=10)
        assert [(job.action, job.alone) for job in answer.jobs] == [("mad", True)]


async def test_a_busy_worker_is_reserved_until_its_hands_are_empty() -> None:
    async with make_stage() as stage:
        jobs = await with_jobs_in_hand(stage, "w", 2)
        await make_suspect(stage)
        await stage.trigger()
        assert await stage.take("w", 10) == []
        assert (await stage.exchange("w", done(jobs[0]), capacity=10)).jobs == []
        answer = await stage.exchange("w", done(jobs[1]), capacity=10)
        assert [(job.action, job.alone) for job in answer.jobs] == [("risky", True)]


async def test_no_more_workers_are_reserved_than_there_are_suspects() -> None:
    async with make_stage() as stage:
        await with_jobs_in_hand(stage, "one")
        await with_jobs_in_hand(stage, "two")
        await make_suspect(stage)
        await stage.trigger()
        assert await stage.take("one") == []
        assert [job.action for job in await stage.take("two")] == ["calm"]


async def test_a_worker_that_cannot_empty_its_hands_goes_back_to_work_and_rests() -> None:
    async with make_stage() as stage:
        await with_jobs_in_hand(stage, "w")
        await make_suspect(stage)
        for _ in range(4):
            await stage.trigger()
        assert await stage.take("w") == []
        await asyncio.sleep(RESERVED_SECONDS - 0.1)
        assert await stage.take("w") == []
        await asyncio.sleep(0.2)
        assert [job.action for job in await stage.take("w")] == ["calm"]
        await asyncio.sleep(RESTED_SECONDS - 0.2)
        assert [job.action for job in await stage.take("w")] == ["calm"]
        await asyncio.sleep(0.3)
        assert await stage.take("w") == []


async def test_another_worker_is_reserved_when_the_first_one_rests() -> None:
    async with make_stage() as stage:
        await with_jobs_in_hand(stage, "one")
        await with_jobs_in_hand(stage, "two")
        await make_suspect(stage)
        await stage.trigger()
        assert await stage.take("one") == []
        await asyncio.sleep(RESERVED_SECONDS + 0.1)
        assert [job.action for job in await stage.take("one")] == ["calm"]
        await stage.trigger()
        assert await stage.take("two") == []


async def test_a_suspect_that_is_withdrawn_frees_the_reserved_worker() -> None:
    async with make_stage() as stage:
        await with_jobs_in_hand(stage, "w")
        await make_suspect(stage)
        await stage.trigger()
        assert await stage.take("w") == []
        suspect = next(job for job in stage.queue._held.values() if job.alone)
        await stage.orchestrator.cancel(suspect.run_id, b"")
        assert [job.action for job in await stage.take("w")] == ["calm"]


async def test_a_reserved_worker_that_waits_gets_the_suspect_as_its_hands_become_empty() -> None:
    async with make_stage() as stage:
        (job,) = await with_jobs_in_hand(stage, "w")
        await make_suspect(stage)
        poll = await waiting(stage.exchange("w", capacity=1, wait=20))
        await stage.exchange("w", done(job))
        assert [(one.action, one.alone) for one in (await answer_of(poll)).jobs] == [("risky", True)]


async def test_a_worker_with_a_suspect_is_not_woken_for_what_it_cannot_take() -> None:
    """The wake goes to a worker that can."""
    async with make_stage() as stage:
        await make_suspect(stage)
        await stage.define("calm")
        stage.register("careful", "risky", "calm")
        await stage.take_one("careful")
        first = await waiting(stage.exchange("careful", capacity=1, wait=20))
        stage.register("free", "calm")
        second = await waiting(stage.exchange("free", capacity=1, wait=20))
        await stage.trigger()
        assert [job.action for job in (await answer_of(second)).jobs] == ["calm"]
        assert not first.done()


async def test_a_wake_is_passed_on_by_a_worker_that_got_a_suspect_meanwhile() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("careful", "risky", "calm")
        first = await waiting(stage.exchange("careful", capacity=1, wait=20))
        stage.register("free", "calm")
        second = await waiting(stage.exchange("free", capacity=1, wait=20))
        await make_suspect_taken_by(stage, "careful")
        await stage.trigger()
        assert [job.action for job in (await answer_of(second)).jobs] == ["calm"]
        assert not first.done()


async def make_suspect_taken_by(stage: Stage, worker_id: str) -> None:
    """Let a worker take a suspect in a call of its own while another call of it waits."""
    await stage.define("odd", workflow_id="of-odd", **QUICK)
    await stage.trigger(workflow_id="of-odd")
    stage.register("victim", "odd", lease=1)
    await stage.take_one("victim")
    await stage.wait(1.5)
    worker = stage.gateway.workers.find(worker_id)
    worker.about = structs.replace(worker.about, actions=(*worker.actions, "odd"))
    (suspect,) = await stage.take(worker_id)
    assert suspect.alone
