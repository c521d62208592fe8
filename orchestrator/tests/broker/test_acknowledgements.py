"""What the cluster says of a job, and what is made of it."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.adapters.kafka.broker import KafkaBroker
from orchestrator.adapters.kafka.producer import Records
from orchestrator.model.job import Job, job_id
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.ports.broker import Sent
from tests.broker.site import Site

RUN = RunId("run")
JOB = Job(job_id=job_id(RUN, 0), run_id=RUN, workflow_id="flow", step=0, attempt=1, action="act", payload=Json(b"1"))


async def test_a_job_that_was_acknowledged_without_an_offset_counts_as_not_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could tell when a worker has taken it: it would be taken for taken at once, and then for lost."""
    send = Records.send

    def nowhere(self: Records, *arguments: object) -> object:
        topic, key, value, headers, answered, partition = arguments

        def acknowledged(partition: int, offset: int, fault: object) -> None:
            answered(partition, -1, fault)  # type: ignore[operator]

        return send(self, topic, key, value, headers, acknowledged, partition)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "send", nowhere)
    async with site.process() as orchestrator:
        assert orchestrator.life.outgoing is not None
        broker = orchestrator.life.outgoing._broker
        assert isinstance(broker, KafkaBroker)
        failed: asyncio.Future[list[Job]] = asyncio.get_running_loop().create_future()

        def never(sent: list[Sent]) -> None:
            failed.set_exception(AssertionError(f"it counts as sent: {sent}"))

        broker.send([JOB], never, lambda refused: None, failed.set_result)
        assert await asyncio.wait_for(failed, 30) == [JOB]
