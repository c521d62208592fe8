"""One reader for the groups of all actions: each begins where it was, and gets every job of its own once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.stage import PARTITIONS, Stage
from workersdk import Worker


def worker_of(*actions: str, concurrency: int = 20) -> Worker:
    worker = Worker(concurrency=concurrency)
    for action in actions:
        worker.register(action, lambda payload: payload)
    return worker


async def test_a_group_that_is_behind_gets_its_jobs_and_one_that_is_ahead_gets_none_again(stage: Stage) -> None:
    ahead, behind = stage.action("ahead"), stage.action("behind")
    first = [stage.give(ahead, n, partition=n % 4) for n in range(40)]
    async with stage.running(worker_of(ahead)):
        for job in first:
            await stage.result_of(job)
    waiting = [stage.give(behind, n, partition=n % 4) for n in range(40)]
    async with stage.running(worker_of(ahead, behind)):
        more = [stage.give(act, n, partition=n % 4) for n in range(40) for act in (ahead, behind)]
        for job in waiting + more:
            await stage.result_of(job)
    assert stage.counts() == dict.fromkeys(first + waiting + more, 1)


async def test_partitions_that_come_and_go_in_the_middle_of_work(stage: Stage) -> None:
    """Workers of overlapping actions join and leave: reading begins elsewhere each time, for some groups."""
    acts = [stage.action(name) for name in ("one", "two", "three")]
    jobs: list[str] = []

    async def give() -> None:
        while True:
            jobs.extend(stage.give(act, len(jobs), partition=len(jobs) % 4) for act in acts)
            await asyncio.sleep(0.01)

    async with stage.running(worker_of(*acts)):
        giving = asyncio.create_task(give())
        for some in (acts[:2], acts[1:], acts):
            count = len(jobs)
            async with stage.running(worker_of(*some)):
                await stage.until(lambda count=count: len(stage.results) > count + 60)  # type: ignore[misc]
        giving.cancel()
        await stage.until(lambda: len(stage.results) >= len(jobs))
    assert stage.counts() == dict.fromkeys(jobs, 1)


async def test_jobs_without_headers_find_their_action(stage: Stage) -> None:
    acts = [stage.action("one"), stage.action("two")]
    for act in (*acts, stage.action("nobody")):
        stage.write("jobs", b'{"workflowRunId":"r-%s","action":"%s","payload":1}' % ((act.encode(),) * 2))
    async with stage.running(worker_of(*acts)):
        await stage.until(lambda: len(stage.results) == 2)
    assert {result.value["action"] for result in stage.results} == set(acts)


async def test_a_topic_that_is_made_anew_is_read_from_its_beginning(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "workersdk")
    act, topic = stage.action("act"), stage.topics["jobs"]
    admin = AdminClient({"bootstrap.servers": stage.servers, "log_level": 0})
    async with stage.running(worker_of(act)):
        before = [stage.give(act, n, partition=n % 4) for n in range(40)]
        for job in before:
            await stage.result_of(job)
        admin.delete_topics([topic])[topic].result(10)
        await stage.until(lambda: topic not in admin.list_topics(timeout=5).topics)

        def is_made() -> bool:
            try:
                admin.create_topics([NewTopic(topic, PARTITIONS["jobs"])])[topic].result(10)
            except Exception:
                return False
            return True

        await stage.until(is_made)
        after = [stage.give(act, n, partition=n % 4) for n in range(8)]
        for job in after:
            await stage.result_of(job)
    assert stage.counts() == dict.fromkeys(before + after, 1)


async def test_what_waits_in_one_action_does_not_hide_another_from_its_other_workers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full worker stops reading, so it cannot know what it has of the other action: others get that."""
    monkeypatch.setattr("workersdk.kafka.consumer.SHED_AFTER_S", 0.2)
    monkeypatch.setattr("workersdk.kafka.reader.WAITING_MAX", 20)
    slow, quick = stage.action("slow"), stage.action("quick")
    finish = asyncio.Event()
    full = Worker(concurrency=1)

    @full.register(slow)
    async def handle(payload: Any) -> Any:
        await finish.wait()
        return payload

    full.register(quick, lambda payload: payload)
    async with stage.running(full, worker_of(quick)):
        await stage.until(lambda: len(stage.heartbeats) >= 2)
        lasting = [stage.give(slow, n, partition=n % 4) for n in range(100)]
        await stage.until(lambda: stage.named(lasting[0]))
        stage.flush()
        quicker = [stage.give(quick, n, partition=n % 4) for n in range(8)]
        for job in quicker:
            await stage.result_of(job)
        finish.set()
        for job in lasting:
            await stage.result_of(job)
    assert stage.counts() == dict.fromkeys(lasting + quicker, 1)


async def test_a_worker_that_is_busy_and_goes_on_stays_in_all_its_groups(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More waits than it reads ahead, for longer than a stuck worker is waited for; but it does one after the other."""
    caplog.set_level(logging.DEBUG, "workersdk")
    # Longer than a loaded machine stalls, and shorter than the 2.4 s in which so many wait.
    monkeypatch.setattr("workersdk.kafka.consumer.SHED_AFTER_S", 1.5)
    monkeypatch.setattr("workersdk.kafka.reader.WAITING_MAX", 20)
    many, rare = stage.action("many"), stage.action("rare")
    workers = [Worker(concurrency=1) for _ in range(2)]

    async def handle(payload: Any) -> Any:
        await asyncio.sleep(0.03)
        return payload

    for worker in workers:
        worker.register(many, handle)
        worker.register(rare, handle)
    async with stage.running(*workers):
        await stage.until(lambda: len(stage.heartbeats) >= 2)
        jobs = [stage.give(many, n, partition=n % 4) for n in range(200)]
        for job in jobs:
            await stage.result_of(job)
        assert "no place for the jobs that wait" in caplog.text
        assert "leaving them to others" not in caplog.text
    assert stage.counts() == dict.fromkeys(jobs, 1)
