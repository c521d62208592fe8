"""Actions with a topic to themselves: by configuration only, and never because a topic happens to exist."""

from __future__ import annotations

import asyncio
import logging

import pytest
from msgspec.structs import replace

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.app import broker_leases, outgoing
from orchestrator.model.errors import Unavailable
from orchestrator.model.topics import TOPICS
from tests.broker.site import RawWorker, Site, define, ended, eventually, trigger

ROUTES = {"resize": "workflow-jobs.resize"}


def resizer(site: Site, group: str = "workflow-worker.resize") -> RawWorker:
    return RawWorker(site, group, site.prefix + ROUTES["resize"])


async def test_a_job_goes_to_the_topic_of_its_action_and_the_others_to_the_one_that_all_share(
    site: Site, raw: RawWorker
) -> None:
    own = resizer(site)
    async with site.process(kafka_routes=ROUTES) as orchestrator:
        await define(orchestrator, {"action": "resize"}, {"action": "other"})
        run_id = await trigger(orchestrator)
        job = await own.job()
        assert (job["workflowRunId"], job["action"]) == (run_id, "resize")
        own.answer(job, 1)
        job = await raw.job()
        assert job["action"] == "other"
        raw.answer(job, 2)
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
        assert await own.finds_nothing_more()
    own.close()


async def test_a_topic_that_happens_to_exist_changes_nothing(site: Site, raw: RawWorker) -> None:
    site.make_topic(site.prefix + ROUTES["resize"])
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "resize"})
        await trigger(orchestrator)
        assert (await raw.job())["action"] == "resize"


async def test_a_worker_that_took_a_job_from_its_own_topic_and_is_silent_loses_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = resizer(site)
    async with site.process(kafka_routes=ROUTES) as orchestrator:
        assert orchestrator.life.broker_leases is not None
        monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
        orchestrator.life.broker_leases._limits = replace(orchestrator.limits, lease_seconds_default=1.0)
        await define(orchestrator, {"action": "resize", "retry": {"delay": 0}})
        run_id = await trigger(orchestrator)
        assert (await own.job())["attempt"] == 1
        own.commit()
        again = await own.job()
        assert (again["attempt"], again["alone"]) == (2, True)
        own.answer(again, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
    own.close()


async def test_jobs_that_wait_where_their_workers_look_no_more_are_sent_where_they_do(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "resize"})
        run_id = await trigger(orchestrator)
        outbox = orchestrator.outgoing._outbox if orchestrator.outgoing else None
        assert outbox is not None

        async def waits() -> bool:
            return await outbox.actions() == ["resize"]

        await eventually(waits)
    own = resizer(site)
    async with site.process(kafka_routes=ROUTES) as orchestrator:
        job = await own.job()
        assert (job["workflowRunId"], job["attempt"]) == (run_id, 1)
        own.answer(job, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
    own.close()


async def test_workers_that_look_elsewhere_are_told_of(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    misled = RawWorker(site, "workflow-worker.resize")
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "resize"})
        await trigger(orchestrator)
        await misled.job()
        misled.commit()
    caplog.set_level(logging.WARNING)
    async with site.process(kafka_routes=ROUTES) as orchestrator:
        await trigger(orchestrator)

        async def is_told() -> bool:
            return "give both the same routes" in caplog.text

        await eventually(is_told)
    misled.close()


async def test_a_missing_topic_of_an_action_is_an_error_where_topics_are_only_checked(site: Site) -> None:
    for name in TOPICS.prefixed(site.prefix).__struct_fields__:
        site.make_topic(getattr(site.topics, name))
    async with site.process(topics="check"):
        pass
    with pytest.raises(Unavailable, match=r"no topic .*workflow-jobs\.resize"):
        async with site.process(topics="check", kafka_routes=ROUTES):
            pass


def test_a_topic_that_has_its_use_cannot_be_given_to_an_action() -> None:
    for name in ("workflow-results", "workflow-jobs", "workflow-jobs.DLT"):
        with pytest.raises(ValueError, match="has its use already"):
            KafkaConfig(servers="kafka:9092", routes={"resize": name})


async def test_the_resending_of_what_is_misplaced_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait on the right topic stay there."""
    monkeypatch.setattr(outgoing, "MISPLACED_SECONDS", 0.05)
    own = resizer(site)
    async with site.process(kafka_routes=ROUTES) as orchestrator:
        await define(orchestrator, {"action": "resize"})
        await trigger(orchestrator)
        outbox = orchestrator.outgoing._outbox if orchestrator.outgoing else None
        assert outbox is not None

        async def waits() -> bool:
            return await outbox.actions() == ["resize"]

        await eventually(waits)
        await asyncio.sleep(0.5)
        assert await outbox.actions() == ["resize"]
        await own.job()
        assert await own.finds_nothing_more()
    own.close()
