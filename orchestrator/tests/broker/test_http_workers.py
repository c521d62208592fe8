"""Workers over HTTP where jobs go through Kafka: one more reader of the topic among the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import Consumer
from msgspec import Raw

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.errors import InvalidField
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.ports.queries import LetterFilter
from tests.broker.http_worker import GroupWorker, HttpWorker, decoded, done, key_of, members
from tests.broker.site import PATIENCE_SECONDS, Site, define, ended, eventually, trigger

pytestmark = pytest.mark.timeout(240)


async def test_a_worker_over_http_completes_a_run(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"}, {"action": "step2"})
        worker = HttpWorker(orchestrator, "w", "step1", "step2")
        run_id = await trigger(orchestrator, "Hello World")
        (job,) = await worker.jobs()
        assert (job["workflowRunId"], job["action"], job["payload"]) == (run_id, "step1", "Hello World")
        await worker.exchange(done(job, "one"))
        (job,) = await worker.jobs()
        assert (job["action"], job["payload"]) == ("step2", "one")
        await worker.exchange(done(job, "two"))
        run = await ended(orchestrator, run_id)
    assert (run.status, run.final_output) == ("COMPLETED", Raw(b'"two"'))
    assert [attempt.worker for step in run.steps for attempt in step.attempts] == ["w", "w"]


async def test_each_job_goes_to_one_reader_also_beside_workers_that_read_the_topic_themselves(site: Site) -> None:
    took: list[str] = []
    async with site.process() as orchestrator, site.process() as other:
        await define(orchestrator, {"action": "step1"}, {"action": "step2"})
        readers = [GroupWorker(site, action) for action in ("step1", "step2")]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader.work(lambda job: took.append(key_of(job)))) for reader in readers]
            for number, at in enumerate((orchestrator, orchestrator, other)):
                worker = HttpWorker(at, f"w{number}", "step1", "step2")
                tasks.append(group.create_task(worker.work(lambda job: took.append(key_of(job)))))
            runs = [await trigger(orchestrator, number) for number in range(100)]
            # The last result may come in at either process, and who waits at the other hears nothing of it.
            await eventually(lambda: all_completed(orchestrator, runs))
            for task in tasks:
                task.cancel()
        for reader in readers:
            reader.close()
    # Nothing went wrong, so nothing was given out twice.
    assert sorted(took) == sorted(f"{run_id}:{step}#1" for run_id in runs for step in range(2))


async def test_a_cancel_at_one_process_reaches_the_worker_at_another(site: Site) -> None:
    async with site.process() as here, site.process() as there:
        await define(here, {"action": "long"})
        worker = HttpWorker(here, "w", "long")
        run_id = await trigger(there)
        (job,) = await worker.jobs()
        waiting = asyncio.create_task(worker.exchange(wait=30))
        await there.cancel(run_id, b"")
        answer = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        assert [(ref.job_id, ref.attempt) for ref in answer.cancelled] == [(job["jobId"], 1)]
        late = await worker.exchange(done(job))
        assert [one.code for one in late.rejected] == ["run-finished"]


async def test_a_job_of_a_run_that_was_cancelled_is_not_given_out(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        first = HttpWorker(orchestrator, "w", "a")
        await first.exchange(capacity=1)
        gone = [await trigger(orchestrator, number) for number in range(5)]
        await eventually(lambda: _is(depth(orchestrator, "a") == 5))
        for run_id in gone:
            await orchestrator.cancel(run_id, b"")
        kept = await trigger(orchestrator, "kept")
        (job,) = await first.jobs()
        assert job["workflowRunId"] == kept


async def test_a_job_that_was_cancelled_before_a_process_began_is_not_given_out_by_it(site: Site) -> None:
    async with site.process() as before:
        await define(before, {"action": "a"})
        await before.cancel(await trigger(before), b"")
        kept = await trigger(before)
    async with site.process() as orchestrator:
        feeding = orchestrator.life.feeding
        assert feeding is not None
        await eventually(lambda: _is(bool(feeding._demand._stopped)))
        (job,) = await HttpWorker(orchestrator, "w", "a").jobs()
        assert job["workflowRunId"] == kept


async def test_a_worker_over_http_gets_the_jobs_of_an_action_with_a_topic_of_its_own(site: Site) -> None:
    async with site.process(kafka_routes={"a": "hot"}) as orchestrator:
        await define(orchestrator, {"action": "a"}, {"action": "b"})
        worker = HttpWorker(orchestrator, "w", "a", "b")
        run_id = await trigger(orchestrator)
        for _ in range(2):
            (job,) = await worker.jobs()
            await worker.exchange(done(job))
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def test_the_next_attempt_gets_what_the_last_one_said(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "retry": {"delay": 0}})
        worker = HttpWorker(orchestrator, "w", "a")
        run_id = await trigger(orchestrator)
        (job,) = await worker.jobs()
        failure = {"status": "failed", "error": {"type": "Again"}, "details": {"done": [40, "ü"]}}
        await worker.exchange({"jobId": job["jobId"], "attempt": 1, **failure})
        (job,) = await worker.jobs()
        assert (job["attempt"], job["details"]) == (2, {"done": [40, "ü"]})
        await worker.exchange(done(job))
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def test_a_worker_that_comes_to_another_process_goes_on_there(site: Site) -> None:
    async with site.process() as here, site.process() as there:
        await define(here, {"action": "a"})
        worker = HttpWorker(here, "w", "a", lease=5)
        run_id = await trigger(here)
        (job,) = await worker.jobs()
        worker.at = there
        for _ in range(3):
            answer = await worker.heartbeat(job, details={"at": "there"})
            assert not answer.unknown
            assert not answer.cancelled
        run = await there.run(run_id)
        assert (run.steps[0].status, run.steps[0].attempts[0].worker) == ("RUNNING", "w")
        assert bytes(run.steps[0].details or b"") == b'{"at": "there"}'
        assert not (await worker.exchange(done(job, "done"))).rejected
        assert (await ended(there, run_id)).status == "COMPLETED"
        # Here nobody knows of that result yet; a sign of life tells it.
        worker.at = here
        answer = await worker.heartbeat(job)
        assert [(ref.job_id, ref.attempt) for ref in answer.cancelled] == [(job["jobId"], 1)]
        assert not answer.unknown
        assert [ref.job_id for ref in (await worker.heartbeat(job)).unknown] == [job["jobId"]]


async def test_a_worker_that_names_the_job_of_another_one_changes_nothing(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        worker, other = HttpWorker(orchestrator, "w", "a"), HttpWorker(orchestrator, "other", "b")
        run_id = await trigger(orchestrator)
        (job,) = await worker.jobs()
        assert not (await worker.heartbeat(job)).unknown
        assert [ref.job_id for ref in (await other.heartbeat(job)).unknown] == [job["jobId"]]
        answer = await worker.heartbeat(job)
        assert not [*answer.unknown, *answer.cancelled]
        assert [lease.worker for lease in orchestrator.gateway.in_hand("w")] == ["w"]
        await worker.exchange(done(job))
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def test_signs_of_life_at_another_process_keep_the_job(site: Site) -> None:
    """The process that handed it out hears nothing for longer than the lease."""
    async with site.process() as here, site.process() as there:
        await define(here, {"action": "a"})
        worker = HttpWorker(here, "w", "a", lease=2)
        run_id = await trigger(here)
        (job,) = await worker.jobs()
        worker.at = there
        until = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < until:
            assert not (await worker.heartbeat(job)).unknown
            await asyncio.sleep(0.2)
        assert not here.gateway.in_hand("w")
        await worker.exchange(done(job))
        run = await ended(there, run_id)
        assert [(attempt.attempt, attempt.status) for attempt in run.steps[0].attempts] == [(1, "COMPLETED")]


async def test_what_a_silent_worker_had_runs_alone_at_another_one(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "retry": {"delay": 0}})
        lost = HttpWorker(orchestrator, "lost", "a", lease=1)
        run_id = await trigger(orchestrator)
        await lost.heartbeat(*await lost.jobs())
        other = HttpWorker(orchestrator, "other", "a")
        (again,) = await other.jobs()
        assert (again["attempt"], again["alone"]) == (2, True)
        await trigger(orchestrator, "innocent")
        await eventually(lambda: _is(depth(orchestrator, "a") == 1))
        assert not (await other.exchange(capacity=5)).jobs
        await other.exchange(done(again))
        run = await ended(orchestrator, run_id)
        assert [(attempt.worker, attempt.status) for attempt in run.steps[0].attempts] == [
            ("lost", "LOST"),
            ("other", "COMPLETED"),
        ]
        assert len(await other.jobs()) == 1


async def test_a_worker_that_leaves_gives_its_jobs_back_unharmed(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "retry": {"maxRetries": 0}})
        leaving = HttpWorker(orchestrator, "leaving", "a")
        runs = [await trigger(orchestrator, number) for number in range(3)]
        await leaving.jobs(3)
        await orchestrator.gateway.leave("leaving")
        other = HttpWorker(orchestrator, "other", "a")
        jobs = await other.jobs(3)
        assert [(job["attempt"], job.get("alone")) for job in jobs] == [(2, None)] * 3
        await other.exchange(*(done(job) for job in jobs))
        assert {(await ended(orchestrator, run_id)).status for run_id in runs} == {"COMPLETED"}


async def test_a_job_that_kills_its_worker_is_convicted_and_no_neighbour_with_it(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "retry": {"delay": 0}})
        runs = [await trigger(orchestrator, "poison" if number == 5 else number) for number in range(20)]
        deaths = 0
        while (await orchestrator.run(runs[5])).status != "FAILED":
            worker = HttpWorker(orchestrator, f"w{deaths}", "a", lease=1)
            results: list[dict[str, object]] = []
            while True:
                answer = await worker.exchange(*results, capacity=4, wait=0.5)
                jobs = [decoded(job) for job in answer.jobs]
                if any(job["payload"] == "poison" for job in jobs):
                    # Everything in hand is lost with it.
                    deaths += 1
                    break
                results = [done(job, "fine") for job in jobs]
                if not jobs and (await orchestrator.run(runs[5])).status == "FAILED":
                    break
        after = HttpWorker(orchestrator, "last", "a")
        working = asyncio.create_task(after.work(lambda job: "fine"))
        found = [await ended(orchestrator, run_id) for run_id in runs]
        working.cancel()
        assert [number for number, run in enumerate(found) if run.status != "COMPLETED"] == [5]
        assert deaths == orchestrator.limits.lost_attempts_max + 1
        lost = [attempt for run in found for attempt in run.steps[0].attempts if attempt.status == "LOST"]
        # The first time it had up to three neighbours; never again.
        assert len(lost) <= deaths + 3
        assert {attempt.worker for attempt in lost} <= {f"w{number}" for number in range(deaths)}
        letters, _ = await orchestrator.dead_letters(LetterFilter(), 10, None)
        assert [letter.run_id for letter in letters] == [runs[5]]


async def test_when_nobody_asks_any_more_the_group_is_left(site: Site) -> None:
    async with site.process(limits=Limits(feed_idle_seconds=1.0)) as orchestrator:
        worker = HttpWorker(orchestrator, "w", "a")
        waiting = asyncio.create_task(worker.exchange(capacity=1, wait=3))
        await eventually(lambda: members(site, "a", 1))
        # Who waits asks, for longer than the idle time.
        await waiting
        assert await members(site, "a", 1)
        await eventually(lambda: members(site, "a", 0))
        await worker.exchange(capacity=1)
        await eventually(lambda: members(site, "a", 1))


async def test_a_saturated_worker_over_http_starves_nobody(site: Site) -> None:
    """What a process has read for its full workers goes to a worker that reads the topic itself."""
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        busy = HttpWorker(orchestrator, "busy", "a")
        first = await trigger(orchestrator, "long")
        (long,) = await busy.jobs()
        free = GroupWorker(site, "a")
        await eventually(lambda: members(site, "a", 2))
        runs = [await trigger(orchestrator, number) for number in range(20)]
        working = asyncio.create_task(free.work(lambda job: None))
        assert {(await ended(orchestrator, run_id)).status for run_id in runs} == {"COMPLETED"}
        working.cancel()
        free.close()
        # Free again, it gets jobs again.
        again = await trigger(orchestrator, "again")
        await busy.exchange(done(long))
        (job,) = await busy.jobs()
        await busy.exchange(done(job))
        assert {(await ended(orchestrator, run_id)).status for run_id in (first, again)} == {"COMPLETED"}


async def test_what_was_claimed_for_a_worker_that_is_gone_is_given_back(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        gone = HttpWorker(orchestrator, "gone", "a")
        waiting = asyncio.create_task(gone.exchange(capacity=1, wait=30))
        await eventually(lambda: members(site, "a", 1))
        feeding = orchestrator.life.feeding
        assert feeding is not None
        reader = feeding._feed._readers["a"]  # type: ignore[attr-defined]
        # It leaves while its first job is being claimed.
        secure = reader.shelf.secure

        def leave_and_secure(picked: object) -> None:
            reader._on_jobs = lambda count, alone: None
            secure(picked)

        reader.shelf.secure = leave_and_secure
        run_id = await trigger(orchestrator)
        await eventually(lambda: _is(reader.shelf.has_secured))
        gone.caller.leave()
        await waiting
        del reader.shelf.secure
        reader._on_jobs = feeding._feed._teller("a")  # type: ignore[attr-defined]
        await eventually(lambda: _is(not reader.shelf.has_secured))
        other = HttpWorker(orchestrator, "other", "a")
        (job,) = await other.jobs()
        assert job["attempt"] == 2
        await other.exchange(done(job))
        run = await ended(orchestrator, run_id)
        assert [attempt.status for attempt in run.steps[0].attempts] == ["RELEASED", "COMPLETED"]


async def test_a_step_times_out_in_the_hands_of_a_worker_over_http(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "timeout": 1, "retry": {"maxRetries": 0}})
        worker = HttpWorker(orchestrator, "w", "a")
        run_id = await trigger(orchestrator)
        (job,) = await worker.jobs()
        answer = await asyncio.wait_for(worker.exchange(wait=30), PATIENCE_SECONDS)
        assert [(ref.job_id, ref.attempt) for ref in answer.cancelled] == [(job["jobId"], 1)]
        run = await ended(orchestrator, run_id)
        assert (run.status, run.steps[0].attempts[0].status) == ("FAILED", "TIMED_OUT")


async def test_a_process_that_goes_down_leaves_its_workers_their_jobs(site: Site) -> None:
    async with site.process() as there:
        async with site.process() as here:
            await define(here, {"action": "a"})
            worker = HttpWorker(here, "w", "a")
            run_id = await trigger(here)
            (job,) = await worker.jobs()
        worker.at = there
        assert not (await worker.heartbeat(job)).unknown
        assert not (await worker.exchange(done(job))).rejected
        run = await ended(there, run_id)
        assert [(attempt.worker, attempt.status) for attempt in run.steps[0].attempts] == [("w", "COMPLETED")]


async def test_more_actions_than_one_process_reads_are_refused(site: Site) -> None:
    async with site.process(limits=Limits(feed_actions_max=2)) as orchestrator:
        HttpWorker(orchestrator, "w1", "a", "b").register()
        with pytest.raises(InvalidField, match="registration"):
            HttpWorker(orchestrator, "w2", "b", "c").register()
        HttpWorker(orchestrator, "w3", "b", "a").register()


def depth(orchestrator: Orchestrator, action: str) -> int:
    feeding = orchestrator.life.feeding
    return 0 if feeding is None else feeding._feed.depths().get(action, 0)


async def all_completed(orchestrator: Orchestrator, runs: list[RunId]) -> bool:
    return {(await orchestrator.run(run_id)).status for run_id in runs} == {"COMPLETED"}


async def _is(value: bool) -> bool:
    return value


async def test_nothing_is_asked_about_topics_while_the_client_calls_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process: the client loses sight of the call that it calls back in, and trips over the next."""
    asked: list[bool] = []

    class Watched(Consumer):
        """Notes for each question about topics whether the client was calling back."""

        is_calling = False

        def subscribe(self, topics: list[str], **callbacks: Any) -> None:  # type: ignore[override]
            def watched(call: Any) -> Any:
                def calling(*values: Any) -> None:
                    self.is_calling = True
                    call(*values)
                    self.is_calling = False

                return calling

            super().subscribe(topics, **{name: watched(call) for name, call in callbacks.items()})

        def list_topics(self, *values: Any, **named: Any) -> Any:
            asked.append(self.is_calling)
            return super().list_topics(*values, **named)

    monkeypatch.setattr("orchestrator.adapters.kafka.job_reader.Consumer", Watched)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        worker = HttpWorker(orchestrator, "w", "a")
        runs = [await trigger(orchestrator, number) for number in range(2)]
        held = await worker.jobs()
        # What nobody here takes might be taken by others: it is looked whether there are any.
        await eventually(lambda: _is(bool(asked)))
        await worker.exchange(done(held[0]))
        (job,) = await worker.jobs()
        await worker.exchange(done(job))
        assert {(await ended(orchestrator, run_id)).status for run_id in runs} == {"COMPLETED"}
    assert set(asked) == {False}
