"""Workers that are plain Kafka clients: three fields in, three fields out, no key, no header, a group of their own."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import TopicPartition
from msgspec import Raw
from msgspec.structs import replace
from workersdk import Worker

from orchestrator.app import broker_leases
from tests.broker.site import RawWorker, Site, define, ended, eventually, trigger


async def test_three_fields_are_enough_to_complete_a_run(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"}, {"action": "step2"})
        run_id = await trigger(orchestrator, "Hello World")
        for action, payload in (("step1", "Hello World"), ("step2", "did Hello World")):
            job = await raw.job()
            assert (job["workflowRunId"], job["action"], job["payload"]) == (run_id, action, payload)
            raw.answer(job, f"did {payload}")
        run = await ended(orchestrator, run_id)
    assert (run.status, run.final_output) == ("COMPLETED", Raw(b'"did did Hello World"'))


async def test_an_answer_that_comes_twice_counts_once_also_where_the_action_occurs_twice(
    site: Site, raw: RawWorker
) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "same"}, {"action": "same"}, {"action": "same"})
        run_id = await trigger(orchestrator, 0)
        for number in range(3):
            job = await raw.job()
            assert (job["stepIndex"], job["payload"]) == (number, number)
            raw.answer(job, number + 1, times=2)
        run = await ended(orchestrator, run_id)
        assert [bytes(result.result) for result in run.step_results] == [b"1", b"2", b"3"]
        incoming = orchestrator.incoming
        assert incoming is not None
        # The second answers to the last step may still be on their way.
        await eventually(lambda: _is(sum(incoming.rejected.values()) == 3))


async def test_a_payload_of_the_greatest_size_goes_through(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        payload = "x" * (orchestrator.limits.payload_bytes_max - 2)
        run_id = await trigger(orchestrator, payload)
        job = await raw.job()
        assert job["payload"] == payload
        raw.answer(job, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def _is(value: bool) -> bool:
    return value


async def test_an_answer_to_an_attempt_that_is_over_counts_for_the_one_that_is_open(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "slow", "timeout": 1, "retry": {"delay": 0}})
        run_id = await trigger(orchestrator)
        late = await raw.job()
        raw.commit()
        again = await raw.job()
        assert (late["attempt"], again["attempt"]) == (1, 2)
        raw.answer(late, "late")
        run = await ended(orchestrator, run_id)
    assert (run.status, run.final_output) == ("COMPLETED", Raw(b'"late"'))


async def test_what_cannot_be_read_is_kept_and_the_next_record_is_taken(site: Site, raw: RawWorker) -> None:
    broken = [b"", b"\xff\xfe", b"{", b"[1]", b'{"action": 1}', b'{"workflowRunId": "x", "jobId": "no", "attempt": 1}']
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        job = await raw.job()
        site.say(site.topics.results, *broken, b'{"workflowRunId": "nobody", "action": "step1", "result": 1}')
        raw.answer(job, "fine")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
        letters = RawWorker(site, "letters")
        letters._consumer.unsubscribe()
        letters._consumer.subscribe([site.topics.dead_letters])
        kept = [await letters.message() for _ in broken]
        letters.close()
    assert sorted(message.value() or b"" for message in kept) == sorted(broken)
    assert all(("wf-dlt-reason", b"undecodable") in (message.headers() or []) for message in kept)


@pytest.mark.parametrize("commits", [True, False])
async def test_a_job_that_was_taken_and_dropped_comes_back_after_its_timeout(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch, commits: bool
) -> None:
    """Also when the group of the worker commits nothing, so that nobody can tell how far it has read."""
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "timeout": 1, "retry": {"delay": 0}})
        run_id = await trigger(orchestrator)
        assert (await raw.job())["attempt"] == 1
        if commits:
            raw.commit()
        again = await raw.job()
        assert again["attempt"] == 2
        raw.answer(again, "done")
        run = await ended(orchestrator, run_id)
    assert (run.status, run.steps[0].attempts[0].status) == ("COMPLETED", "TIMED_OUT")


async def test_a_job_that_nobody_has_read_does_not_time_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout counts from when a worker can have the job."""
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "timeout": 0.5, "retry": {"maxRetries": 0}})
        run_id = await trigger(orchestrator)
        await asyncio.sleep(3)
        run = await orchestrator.run(run_id)
    assert (run.end_time, [attempt.status for attempt in run.steps[0].attempts]) == (None, ["QUEUED"])


async def test_a_worker_that_gives_no_sign_of_life_may_take_its_time_where_the_step_has_no_timeout(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    async with site.process() as orchestrator:
        assert orchestrator.life.broker_leases is not None
        orchestrator.life.broker_leases._limits = replace(orchestrator.limits, lease_seconds_default=1.0)
        await define(orchestrator, {"action": "step1", "retry": {"maxRetries": 0}})
        run_id = await trigger(orchestrator)
        job = await raw.job()
        raw.commit()
        await asyncio.sleep(4)
        raw.answer(job, "done")
        run = await ended(orchestrator, run_id)
    assert (run.status, len(run.steps[0].attempts)) == ("COMPLETED", 1)


async def test_where_an_action_has_workers_of_ours_nobody_else_speaks_for_them(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that waits for them is not taken for begun because some other program reads the topic."""
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "timeout": 0.5, "retry": {"maxRetries": 0}})
        ours = RawWorker(site, "workflow-worker.step1")
        ours._consumer.commit(offsets=[TopicPartition(site.topics.jobs, place, 0) for place in range(3)])
        run_id = await trigger(orchestrator)
        await raw.job()
        raw.commit()
        await asyncio.sleep(3)
        job = await ours.job()
        ours.answer(job, "done")
        run = await ended(orchestrator, run_id)
    assert (run.status, len(run.steps[0].attempts)) == ("COMPLETED", 1)
    ours.close()


async def test_beside_workers_of_the_sdk(site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads all jobs and does its own; the same action twice, by both kinds."""
    monkeypatch.setenv("WORKFLOW_KAFKA_PREFIX", site.prefix)
    worker = Worker()
    worker.register("ours", lambda payload: f"{payload} ours")
    async with site.process() as orchestrator:
        await define(orchestrator, *({"action": action} for action in ("ours", "theirs", "ours", "theirs")))
        working = asyncio.create_task(worker.run(site.kafka))
        runs = [await trigger(orchestrator, str(number)) for number in range(5)]
        answered = 0
        while answered < 2 * len(runs):
            job = await raw.job()
            if job["action"] == "theirs":
                raw.answer(job, f"{job['payload']} theirs", times=2)
                answered += 1
        ends = [await ended(orchestrator, run_id) for run_id in runs]
        worker.stop()
        await working
    assert [run.final_output for run in ends] == [Raw(f'"{n} ours theirs ours theirs"'.encode()) for n in range(5)]
