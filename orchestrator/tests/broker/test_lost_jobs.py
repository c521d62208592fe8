"""A broker that has lost what it had acknowledged: the end of its log went with the power."""

from __future__ import annotations

import pytest

from orchestrator.app import broker_leases
from orchestrator.model.times import Time
from orchestrator.ports.broker import Sent
from tests.broker.site import RawWorker, Site, define, ended, eventually, trigger

ROWS = 'SELECT state, partition, "offset", due_at FROM jobs'
BEYOND = 'UPDATE jobs SET "offset" = "offset" + 1000 RETURNING 1'


async def test_a_job_that_lies_beyond_the_end_of_its_partition_is_sent_again(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(broker_leases, "LOST_SECONDS", 0.2)
    async with site.process() as orchestrator:
        assert orchestrator.life.outgoing is not None
        database = orchestrator.life.outgoing._outbox._database  # type: ignore[attr-defined]
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        first = await raw.job()

        async def is_sent() -> bool:
            return [row[0] for row in await database.fetch(ROWS)] == ["sent"]

        await eventually(is_sent)
        # It is where it is said to be, however often it is looked for.
        assert await raw.finds_nothing_more()
        assert await is_sent()
        await database.fetch(BEYOND)
        again = await raw.job()
        assert (again["jobId"], again["attempt"]) == (first["jobId"], first["attempt"])
        assert "the broker has lost 1 jobs" in caplog.text
        raw.answer(again, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"


async def test_only_what_is_still_where_it_was_is_sent_again(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        assert orchestrator.life.outgoing is not None
        outbox = orchestrator.life.outgoing._outbox
        database = outbox._database  # type: ignore[attr-defined]
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        await raw.job()

        async def is_sent() -> bool:
            return [row[0] for row in await database.fetch(ROWS)] == ["sent"]

        await eventually(is_sent)
        ((_, partition, offset, _),) = await database.fetch(ROWS)
        here = Sent(run_id, 0, 1, partition, offset)
        assert await outbox.beyond({("", partition): offset}, 10) == [here]
        assert await outbox.beyond({("", partition): offset + 1, ("other", partition): 0}, 10) == []
        elsewhere = [
            Sent(run_id, 0, 2, partition, offset),
            Sent(run_id, 0, 1, partition + 1, offset),
            Sent(run_id, 0, 1, partition, offset + 1),
            Sent(run_id, 0, 1, partition, offset, "other"),
        ]
        await outbox.send_again(elsewhere, Time(1))
        assert await is_sent()
        await outbox.send_again([here], Time(2**62))
        assert [(row[0], row[3]) for row in await database.fetch(ROWS)] == [("pending", 2**62)]
