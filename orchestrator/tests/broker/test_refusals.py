"""What cannot go on: jobs that the cluster will not take, records that it will not keep, a client that is full."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from orchestrator.model.limits import Limits
from orchestrator.model.view import RunView
from orchestrator.ports.queries import LetterFilter
from tests.broker.site import RawWorker, Site, define, ended, eventually, next_message, trigger

SMALL = 2_000
NOISE = random.Random(1).randbytes(200_000).hex()
"""Does not get small when it is compressed."""


async def test_a_job_that_its_topic_will_never_take_fails_its_step_at_once(site: Site, raw: RawWorker) -> None:
    site.make_topic(site.topics.jobs, max_message_bytes=str(SMALL))
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator, NOISE)
        neighbour = await trigger(orchestrator, "small")
        run = await ended(orchestrator, run_id)
        assert (run.status, run.steps[0].attempts[0].status) == ("FAILED", "FAILED")
        (letter,), _ = await orchestrator.dead_letters(LetterFilter(), 10, None)
        assert (letter.run_id, letter.error.type, letter.attempts) == (run_id, "JobNotTaken", 1)
        assert "too large" in letter.error.message
        raw.answer(await raw.job(), "done")
        assert (await ended(orchestrator, neighbour)).status == "COMPLETED"
        letters = site.reader("letters", site.topics.dead_letters)
        kept = await next_message(letters)
        letters.close()
        assert json.loads(kept.value() or b"")["payload"] == NOISE
        assert ("wf-dlt-reason", b"not-sent") in (kept.headers() or [])


async def test_topics_are_made_for_the_largest_record(site: Site) -> None:
    largest = 3 * 1024 * 1024
    async with site.process(limits=Limits(kafka_record_bytes_max=largest)):
        jobs = ConfigResource(ConfigResource.Type.TOPIC, site.topics.jobs)
        # Kept: without the client there is no answer.
        admin = AdminClient({"bootstrap.servers": site.kafka})
        described = await asyncio.to_thread(admin.describe_configs([jobs])[jobs].result, 30)
        assert described["max.message.bytes"].value == str(largest)


async def test_what_the_topic_of_dead_letters_will_not_take_is_kept_without_its_payload(site: Site) -> None:
    for topic in (site.topics.jobs, site.topics.dead_letters):
        site.make_topic(topic, max_message_bytes=str(SMALL))
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator, NOISE)
        assert (await ended(orchestrator, run_id)).status == "FAILED"
        letters = site.reader("letters", site.topics.dead_letters)
        kept = await next_message(letters)
        letters.close()
        value, headers = json.loads(kept.value() or b""), dict(kept.headers() or [])
        assert (value["workflowRunId"], value["payload"]) == (run_id, None)
        assert headers["wf-dlt-truncated"] == b"payload"
        assert int(headers["wf-dlt-value-bytes"] or 0) > len(NOISE)
        await nothing_waits_for_kafka(orchestrator)


async def test_a_small_job_is_not_refused_for_its_large_company(site: Site, raw: RawWorker) -> None:
    """A cluster measures batches of records, as they are after compression."""
    site.make_topic(site.topics.jobs, max_message_bytes=str(SMALL))
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        payloads = [NOISE[place * 900 : (place + 1) * 900] for place in range(40)]
        runs = await asyncio.gather(*(trigger(orchestrator, payload) for payload in payloads))
        jobs = [await raw.job() for _ in runs]
        for job in jobs:
            raw.answer(job, "done")
        ends = await asyncio.gather(*(ended(orchestrator, run_id) for run_id in runs))
    assert {run.status for run in ends} == {"COMPLETED"}
    assert sorted(job["payload"] for job in jobs) == sorted(payloads)


async def test_a_result_that_can_neither_be_read_nor_kept_whole_holds_up_nobody(site: Site, raw: RawWorker) -> None:
    site.make_topic(site.topics.dead_letters, max_message_bytes=str(SMALL))
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        job = await raw.job()
        garbage = b"\xff" + NOISE.encode()
        site.say(site.topics.results, garbage, key=NOISE.encode()[:5_000])
        raw.answer(job, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
        letters = site.reader("letters", site.topics.dead_letters)
        kept = await next_message(letters)
        letters.close()
        headers = dict(kept.headers() or [])
        value = kept.value() or b""
        assert garbage.startswith(value)
        assert value
        assert (headers["wf-dlt-truncated"], headers["wf-dlt-value-bytes"]) == (b"value", b"%d" % len(garbage))
        assert (kept.key(), headers["wf-dlt-key-bytes"]) == (None, b"5000")
        assert headers["kafka_dlt-original-topic"] == site.topics.results.encode()
        assert {"kafka_dlt-original-partition", "kafka_dlt-original-offset"} <= headers.keys()


async def test_what_not_even_the_headers_fit_for_is_told_and_holds_up_nobody(
    site: Site, raw: RawWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    site.make_topic(site.topics.dead_letters, max_message_bytes="100")
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "retry": {"maxRetries": 0}})
        run_id = await trigger(orchestrator)
        job = await raw.job()
        site.say(site.topics.results, b"\xff")
        failure = {**job, "status": "failed", "error": {"type": "Broke", "message": "no luck"}}
        site.say(site.topics.results, json.dumps(failure).encode())
        assert (await ended(orchestrator, run_id)).status == "FAILED"
        await nothing_waits_for_kafka(orchestrator)
        assert caplog.text.count("takes not even the headers") == 2


async def test_a_client_that_is_full_takes_the_rest_later(
    site: Site, raw: RawWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    full = {"queue.buffering.max.messages": "20"}
    async with site.process(kafka_properties=full, limits=Limits(kafka_resend_seconds=1)) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        runs = await asyncio.gather(*(trigger(orchestrator, number) for number in range(60)))
        done: set[str] = set()
        while len(done) < len(runs):
            job = await raw.job()
            if job["workflowRunId"] not in done:
                done.add(job["workflowRunId"])
                raw.answer(job, "done")
        ends: list[RunView] = await asyncio.gather(*(ended(orchestrator, run_id) for run_id in runs))
    assert {run.status for run in ends} == {"COMPLETED"}
    assert "Queue full" in caplog.text


async def nothing_waits_for_kafka(orchestrator: Any) -> None:
    """Wait until every dead letter is known to be written, or never will be."""
    database = orchestrator.outgoing._outbox._database

    async def is_over() -> bool:
        return not await database.fetch("SELECT id FROM dead_letters WHERE due_at IS NOT NULL")

    await eventually(is_over)
