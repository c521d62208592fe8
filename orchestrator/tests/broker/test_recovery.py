"""What is lost on the way comes back, once."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import cast

import pytest
from msgspec.structs import replace

from orchestrator.adapters.kafka.broker import KafkaBroker
from orchestrator.app import broker_leases, outgoing
from orchestrator.model.errors import Unavailable
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.trace import Trace
from tests.broker.site import RawWorker, Site, define, ended, eventually, next_message, trigger


async def test_a_job_that_was_never_handed_over_is_handed_over_by_the_next_process(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KafkaBroker, "send", lambda self, *handed_over: None)
        async with site.process(limits=Limits(kafka_resend_seconds=1)) as orchestrator:
            await define(orchestrator, {"action": "step1"})
            run_id = await trigger(orchestrator)
    async with site.process(limits=Limits(kafka_resend_seconds=1)) as orchestrator:
        raw.answer(await raw.job(), "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def test_a_job_that_waits_for_a_worker_is_not_sent_again(site: Site, raw: RawWorker) -> None:
    async with site.process(limits=Limits(kafka_resend_seconds=4)) as orchestrator:
        await define(orchestrator, {"action": "step1"}, {"action": "step2"})
        run_id = await trigger(orchestrator)
        outbox = orchestrator.outgoing._outbox if orchestrator.outgoing else None
        assert outbox is not None
        await eventually(lambda: _has(outbox.actions(), ["step1"]))
        # Longer than it takes to be sent again.
        await asyncio.sleep(5)
        raw.answer(await raw.job(), "one")
        job = await raw.job()
        assert job["action"] == "step2"
        raw.answer(job, "two")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def _has(found: object, wanted: object) -> bool:
    return bool(await found == wanted)  # type: ignore[misc]


async def test_a_job_whose_worker_is_silent_goes_out_again_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group has read past it, and nobody says a word."""
    worker = RawWorker(site, "workflow-worker.step1")
    async with site.process() as orchestrator:
        leases = orchestrator.life.broker_leases
        assert leases is not None
        monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
        leases._limits = replace(orchestrator.limits, lease_seconds_default=1.0)
        await define(orchestrator, {"action": "step1", "retry": {"delay": 0}})
        run_id = await trigger(orchestrator)
        first = await worker.job()
        worker.commit()
        second = await worker.message()
        again = json.loads(second.value() or b"")
        assert (first["attempt"], again["attempt"], again["alone"]) == (1, 2, True)
        assert ("wf-alone", b"1") in (second.headers() or [])
        worker.answer(again, "done")
        run = await ended(orchestrator, run_id)
        assert (run.status, run.steps[0].attempts[0].status) == ("COMPLETED", "LOST")
    worker.close()


@pytest.mark.parametrize("is_noted", [True, False])
async def test_a_step_that_fails_for_good_makes_one_record(
    site: Site, monkeypatch: pytest.MonkeyPatch, is_noted: bool
) -> None:
    """Also when the process cannot say whether it has written it."""
    monkeypatch.setattr("orchestrator.app.life.LETTER_AFTER", Duration(MICROS))
    if not is_noted:
        monkeypatch.setattr(outgoing, "NOTE_AFTER", Duration(3_600 * MICROS))
    worker = RawWorker(site)
    written = KafkaBroker.dead_letter

    async def unsure(self: KafkaBroker, *arguments: object, is_repeated: bool, within: Duration) -> None:
        await written(self, *arguments, is_repeated=is_repeated, within=within)  # type: ignore[arg-type]
        if not is_repeated:
            raise Unavailable("it is not known")

    monkeypatch.setattr(KafkaBroker, "dead_letter", unsure)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1", "retry": {"maxRetries": 0}})
        trace = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=value")
        run_id = await trigger(orchestrator, "in", trace)
        message = await worker.message()
        job = json.loads(message.value() or b"")
        outgoing_ = orchestrator.outgoing
        assert outgoing_ is not None
        if is_noted:
            await eventually(lambda: _has(outgoing_._outbox.actions(), ["step1"]))
        else:
            await eventually(lambda: _is(bool(outgoing_._acknowledged)))
        failure = {**job, "status": "failed", "workerId": "me", "error": {"type": "Broke", "message": "no luck"}}
        site.say(site.topics.results, json.dumps(failure).encode())
        assert (await ended(orchestrator, run_id)).status == "FAILED"
        database = orchestrator.outgoing._outbox._database if orchestrator.outgoing else None  # type: ignore[attr-defined]
        assert database is not None
        unpublished = "SELECT id FROM dead_letters WHERE due_at IS NOT NULL"
        await eventually(lambda: _has(database.fetch(unpublished), []))
        letters = site.reader("letters", site.topics.dead_letters)
        letter = await next_message(letters)
        assert (letter.key(), letter.value()) == (run_id.encode(), message.value())
        headers = dict(letter.headers() or [])
        # The job's own headers come first, in their order.
        own = cast("list[tuple[str, bytes]]", message.headers() or [])
        assert list(letter.headers() or [])[: len(own)] == own
        assert {name: value for name, value in headers.items() if name not in dict(own)} == {
            "kafka_dlt-original-topic": site.topics.jobs.encode(),
            "kafka_dlt-original-partition": struct.pack(">i", message.partition() or 0),
            "kafka_dlt-original-offset": struct.pack(">q", message.offset() or 0),
            "kafka_dlt-exception-fqcn": b"Broke",
            "kafka_dlt-exception-message": b"no luck",
            "kafka_dlt-exception-stacktrace": b"",
            "wf-dlt-id": f"{run_id}:0:1".encode(),
            "wf-dlt-reason": b"handler-error",
            "wf-dlt-attempts": b"1",
            "wf-step-index": b"0",
            "wf-workflow-id": b"flow",
            "wf-worker-id": b"me",
        }
        assert await asyncio.to_thread(letters.poll, 1.0) is None
        letters.close()
    worker.close()


async def test_a_topic_that_is_read_again_from_its_beginning_changes_nothing(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"}, {"action": "step1"})
        runs = [await trigger(orchestrator, number) for number in range(20)]
        for _ in range(40):
            raw.answer(await raw.job(), "done")
        before = [await ended(orchestrator, run_id) for run_id in runs]
    again = Site(site.database, site.kafka, site.prefix)
    async with again.process() as orchestrator:
        reader = site.reader("copy", site.topics.results)
        values = [(await next_message(reader)).value() or b"" for _ in range(40)]
        reader.close()
        site.say(site.topics.results, *values)
        raw.answer({"workflowRunId": runs[0], "action": "step1"}, "the last")
        found = orchestrator.incoming
        assert found is not None
        await eventually(lambda: _is(sum(found.rejected.values()) == 41))
        assert [await orchestrator.run(run_id) for run_id in runs] == before


async def _is(value: bool) -> bool:
    return value
