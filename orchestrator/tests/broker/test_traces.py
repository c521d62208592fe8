"""The trace context of a trigger goes out with every record of its run."""

from __future__ import annotations

import json
from typing import Final, cast

import pytest
from confluent_kafka import Message

from orchestrator.model.trace import Trace
from tests.broker.http_worker import HttpWorker, done
from tests.broker.site import RawWorker, Site, define, ended, trigger

pytestmark = pytest.mark.timeout(240)

TRACE: Final = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=value")
HEADERS: Final = [("traceparent", TRACE.parent.encode()), ("tracestate", b"vendor=value")]

EVERY_JOBS: Final = {"wf-action", "wf-job-id", "wf-run-id", "wf-attempt", "content-type", "wf-result-partition"}
"""Headers that a job has without a trace."""


def last_headers(message: Message, count: int) -> list[tuple[str, bytes]]:
    """Give the last headers of a job, all of them with 0."""
    headers = cast("list[tuple[str, bytes]]", message.headers())
    assert headers[0][0] == "wf-action"
    return headers[-count:]


async def test_records_of_all_attempts_carry_it_after_their_own_headers(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a", "retry": {"maxRetries": 0}}, {"action": "b"})
        run_id = await trigger(orchestrator, "in", TRACE)
        first = await raw.message()
        own, *rest = last_headers(first, 3)
        assert own[0] in EVERY_JOBS
        assert rest == HEADERS
        failure = {"workflowRunId": run_id, "action": "a", "status": "failed", "error": {"type": "Broke"}}
        site.say(site.topics.results, json.dumps(failure).encode())
        assert (await ended(orchestrator, run_id)).status == "FAILED"
        await orchestrator.redrive(f"{run_id}:0:1")
        assert last_headers(await raw.message(), 2) == HEADERS
        raw.answer({"workflowRunId": run_id, "action": "a"}, 1)
        # The state of the run is read from its row here, as another process reads it.
        assert last_headers(await raw.message(), 2) == HEADERS
    async with site.process() as orchestrator:
        raw.answer({"workflowRunId": run_id, "action": "b"}, 2)
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
        plain = await trigger(orchestrator, "in")
        message = await raw.message()
        assert message.key() == plain.encode()
        assert {name for name, _ in last_headers(message, 0)} == EVERY_JOBS


async def test_workers_over_http_get_it_from_the_record(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "a"})
        worker = HttpWorker(orchestrator, "w", "a")
        await trigger(orchestrator, 1, TRACE)
        (job,) = await worker.jobs()
        assert (job["traceparent"], job["tracestate"]) == (TRACE.parent, "vendor=value")
        await worker.exchange(done(job))
        await trigger(orchestrator, 2)
        (job,) = await worker.jobs()
        assert not job.keys() & {"traceparent", "tracestate"}
