"""Workers that are plain Kafka clients: three fields in, three fields out, no key, no header, a group of their own."""

from __future__ import annotations

import pytest
from msgspec import Raw

from orchestrator.model.errors import InvalidRequest
from orchestrator.model.wire import RegisterBody
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


async def test_a_worker_over_http_is_told_that_it_would_wait_for_ever(site: Site) -> None:
    async with site.process() as orchestrator:
        with pytest.raises(InvalidRequest, match="through Kafka"):
            orchestrator.gateway.register(RegisterBody(actions=["step1"]), "w")


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
