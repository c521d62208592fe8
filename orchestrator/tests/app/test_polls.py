"""Exchanges that wait: each job wakes one of them, and nobody waits beside a job."""

from __future__ import annotations

import asyncio

from tests.app.stage import answer_of, caller_that_leaves, done, make_stage, waiting


async def test_a_job_wakes_the_worker_that_has_waited_longest_and_no_other() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("one", "calm")
        stage.register("two", "calm")
        first = await waiting(stage.exchange("one", capacity=1, wait=20))
        second = await waiting(stage.exchange("two", capacity=1, wait=20))
        run_id = await stage.trigger()
        assert [job.workflow_run_id for job in (await answer_of(first)).jobs] == [run_id]
        await asyncio.sleep(1)
        assert not second.done()
        await stage.trigger()
        assert len((await answer_of(second)).jobs) == 1


async def test_several_jobs_of_one_commit_wake_as_many_workers() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        polls = []
        for number in range(3):
            stage.register(f"w{number}", "calm")
            polls.append(await waiting(stage.exchange(f"w{number}", capacity=1, wait=20)))
        await asyncio.gather(stage.trigger(), stage.trigger())
        answers = [await answer_of(poll) for poll in polls[:2]]
        assert [len(answer.jobs) for answer in answers] == [1, 1]
        assert not polls[2].done()


async def test_a_worker_that_was_woken_takes_all_it_has_room_for() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        poll = await waiting(stage.exchange("w", capacity=10, wait=20))
        await asyncio.gather(*(stage.trigger() for _ in range(4)))
        assert len((await answer_of(poll)).jobs) == 4


async def test_a_wait_is_over_when_its_time_is() -> None:
    async with make_stage() as stage:
        stage.register("w", "calm")
        began = asyncio.get_running_loop().time()
        answer = await stage.exchange("w", capacity=1, wait=20)
        assert answer.jobs == []
        assert asyncio.get_running_loop().time() - began == 20


async def test_a_wait_is_no_longer_than_the_limit() -> None:
    async with make_stage(wait_seconds_max=5) as stage:
        stage.register("w", "calm")
        await answer_of(stage.exchange("w", capacity=1, wait=60), within=5.1)


async def test_a_caller_that_has_gone_is_given_nothing_and_its_wake_goes_to_another() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("gone", "calm")
        stage.register("here", "calm")
        first = await waiting(stage.exchange("gone", capacity=1, wait=20, caller=caller_that_leaves(1)))
        second = await waiting(stage.exchange("here", capacity=1, wait=20))
        await asyncio.sleep(0.999)
        # Woken and left in the same moment.
        await stage.trigger()
        assert (await answer_of(first)).jobs == []
        assert len((await answer_of(second)).jobs) == 1


async def test_a_caller_that_leaves_ends_its_wait() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        await answer_of(stage.exchange("w", capacity=1, wait=60, caller=caller_that_leaves(2)), within=2.1)
        assert stage.gateway._polls._by_action == {}
        assert stage.gateway._polls._by_worker == {}


async def test_a_call_without_room_waits_for_news_and_not_for_jobs() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        run_id = await stage.trigger()
        job = await stage.take_one("w")
        poll = await waiting(stage.exchange("w", capacity=0, wait=20))
        await stage.trigger()
        await asyncio.sleep(1)
        assert not poll.done()
        await stage.orchestrator.cancel(run_id, b"")
        answer = await answer_of(poll)
        assert [(ref.job_id, ref.attempt) for ref in answer.cancelled] == [(job.job_id, 1)]


async def test_a_cancel_is_told_once() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        run_id = await stage.trigger()
        job = await stage.take_one("w")
        await stage.orchestrator.cancel(run_id, b"")
        assert len((await stage.exchange("w")).cancelled) == 1
        assert (await stage.exchange("w")).cancelled == []
        assert [ref.job_id for ref in stage.beat("w", job).unknown] == [job.job_id]


async def test_an_operator_who_drains_a_worker_ends_its_wait() -> None:
    async with make_stage() as stage:
        stage.register("w", "calm")
        poll = await waiting(stage.exchange("w", capacity=1, wait=20))
        stage.gateway.drain("w")
        assert (await answer_of(poll)).draining


async def test_a_worker_that_leaves_while_it_waits_is_given_nothing_more() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("w", "calm")
        poll = await waiting(stage.exchange("w", capacity=1, wait=20))
        await asyncio.gather(stage.gateway.leave("w"), stage.trigger())
        assert (await answer_of(poll)).jobs == []
        stage.register("other", "calm")
        assert len(await stage.take("other")) == 1


async def test_a_wake_for_a_worker_that_drains_in_that_moment_goes_to_another() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        stage.register("draining", "calm")
        stage.register("other", "calm")
        first = await waiting(stage.exchange("draining", capacity=1, wait=20))
        second = await waiting(stage.exchange("other", capacity=1, wait=20))
        trigger = asyncio.create_task(stage.trigger())
        while not stage.queue.depths():
            await asyncio.sleep(0)
        # Its poll is woken for the job, and has not looked yet.
        stage.gateway.drain("draining")
        assert (await answer_of(first)).jobs == []
        assert len((await answer_of(second)).jobs) == 1
        await trigger


async def test_nobody_waits_for_a_process_that_goes_down() -> None:
    async with make_stage() as stage:
        stage.register("w", "calm")
        poll = await waiting(stage.exchange("w", capacity=1, wait=20))
        stage.orchestrator.life.shut()
        assert (await answer_of(poll)).jobs == []
        assert (await answer_of(stage.exchange("w", capacity=1, wait=20))).jobs == []


async def test_results_are_answered_at_once_with_the_jobs_that_are_ready() -> None:
    async with make_stage() as stage:
        await stage.define("calm", "next")
        stage.register("w", "calm", "next")
        await stage.trigger()
        job = await stage.take_one("w")
        answer = await answer_of(stage.exchange("w", done(job), capacity=1, wait=20))
        assert [one.step_index for one in answer.jobs] == [1]
        poll = await waiting(stage.exchange("w", done(answer.jobs[0]), capacity=1, wait=20))
        assert not poll.done()
        await stage.trigger()
        assert len((await answer_of(poll)).jobs) == 1
