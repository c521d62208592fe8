"""How a worker goes over Kafka: in good order, or killed."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from tests.kafka.stage import WAIT_FOR_S, Child, Stage
from tests.test_start import CONTRACT
from workersdk import Worker
from workersdk.kafka.assignment import Partitions


async def test_the_contract_s_example_works_as_it_stands(stage: Stage, tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(CONTRACT)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W", "error", str(program),
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": stage.servers},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    result = await stage.result_of(stage.give("step1", "Hello World"))
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), 8)
    assert result["result"] == "Processed: Hello World"
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert f"connected to kafka://{stage.servers}, actions: step1, concurrency 10".encode() in errors


async def test_sigterm_lets_jobs_finish_and_gives_back_what_does_not(stage: Stage) -> None:
    act = stage.action("act")
    child = await stage.child(act, DRAIN_TIMEOUT="0.5")
    stuck = stage.give(act, "stuck", partition=0)
    await child.says(f"stuck in {stuck}")
    code = await child.terminate()
    result = await stage.result_of(stuck)
    assert (code, result["status"], result["result"]) == (0, "released", None)
    assert "returned" in child.output
    assert f"has left kafka://{stage.servers}" in child.output
    await stage.until(lambda: stage.heartbeats[-1]["leaving"])
    successor = await stage.child(act)
    after = stage.give(act, "after", partition=0)
    await stage.result_of(after)  # the group was left: nobody waits for a session to end
    await successor.terminate()
    assert stage.counts() == {stuck: 1, after: 1}


class Doubtful(Consumer):
    """Its commits are made, and it never hears so."""

    def commit(self, *args: Any, **more: Any) -> Any:
        super().commit(*args, **more)
        if not more["asynchronous"]:
            raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))


async def test_a_job_whose_commit_was_made_unheard_is_the_next_worker_s(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not started, and what is committed says that it was."""
    act = stage.action("act")
    first, second = Worker(), Worker()
    for worker in (first, second):
        worker.register(act, lambda payload: payload)
    with monkeypatch.context() as patched:
        patched.setattr("workersdk.kafka.consumer.Consumer", Doubtful)
        async with stage.running(first):
            job = stage.give(act, "once", partition=0)
            await stage.until(lambda: stage.committed(act, 0) == stage.written[0])
            assert not stage.counts()
    async with stage.running(second):
        await stage.result_of(job)
    assert stage.counts() == {job: 1}


async def test_a_job_that_is_claimed_while_its_worker_leaves_is_the_next_worker_s(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its commit was made, and is heard of when the worker has said goodbye. Nor was what is behind it started."""
    caplog.set_level(logging.INFO, "workersdk")
    act = stage.action("act")
    is_made, has_left = threading.Event(), threading.Event()

    class Late(Partitions):
        def confirm(self, changes: Mapping[int, int]) -> None:
            super().confirm(changes)
            is_made.set()
            assert has_left.wait(WAIT_FOR_S)

    started: list[object] = []
    first, second = Worker(), Worker()
    for worker in (first, second):
        worker.register(act, started.append)
    with monkeypatch.context() as patched:
        patched.setattr("workersdk.kafka.consumer.Partitions", Late)
        async with stage.running(first):
            jobs = [stage.give(act, "claimed", partition=0)]
            await stage.until(is_made.is_set)
            jobs.append(stage.give(act, "behind it", partition=0))
            stage.write("jobs", b"no JSON", partition=0)
            await stage.until(lambda: "is not a job" in caplog.text)  # so what is behind it has been read
            first.stop()
            await stage.until(lambda: f"has left kafka://{stage.servers}" in caplog.text)
            has_left.set()
    assert not started
    async with stage.running(second):
        assert [(await stage.result_of(job))["status"] for job in jobs] == ["completed"] * 2
    assert sorted(started, key=str) == ["behind it", "claimed"]


async def test_a_job_that_dies_with_its_worker_is_not_delivered_again(stage: Stage) -> None:
    """Killed from outside, or by the job itself. Both at once, since each waits for sessions to end."""
    await asyncio.gather(killed(stage), poisoned(stage))


async def killed(stage: Stage) -> None:
    act = stage.action("killed")
    first = await stage.child(act)
    job = stage.give(act, "stuck", partition=1)
    await first.says(f"stuck in {job}")
    await stage.until(lambda: stage.named(job, first.worker_id))
    await first.kill()
    second = await stage.child(act)
    after = stage.give(act, "after", partition=1)
    await stage.result_of(after)
    await second.terminate()
    assert "stuck in" not in second.output
    assert (stage.counts()[job], stage.counts()[after]) == (0, 1)


async def poisoned(stage: Stage) -> None:
    """The poison is sent again, as a suspect, and kills again; the partition goes on both times."""
    act = stage.action("poisoned")
    poison = stage.give(act, "die", partition=2)
    behind = [stage.give(act, number, partition=2) for number in range(20)]
    first = await stage.child(act, CONCURRENCY="1")  # nothing beside it that would be lost with it
    assert await first.ends() == 9
    second = await stage.child(act)
    for job in behind:
        await stage.result_of(job)
    stage.give(act, "die", partition=2, run_id=poison[:-2], attempt=2, alone=True)
    assert await second.ends() == 9
    third = await stage.child(act)
    after = stage.give(act, "after", partition=2)
    await stage.result_of(after)
    await third.terminate()
    assert stage.counts()[poison] == 0
    assert [stage.counts()[job] for job in [*behind, after]] == [1] * 21


async def test_two_thousand_jobs_while_workers_come_and_are_killed(stage: Stage) -> None:
    """Four actions, overlapping handlers. Missing, or done twice, are only jobs that the killed worker had."""
    a, b, c, d = (stage.action(name) for name in "abcd")
    served = [(a, b), (b, c), (c, d, a), (d, b)]
    children = [await stage.child(*actions, DRAIN_TIMEOUT="0.2") for actions in served]
    victim = children[3]
    jobs: list[str] = []

    def give(count: int) -> None:
        jobs.extend(stage.give((a, b, c, d)[n % 4], n, partition=n // 4 % 4) for n in range(count))

    give(500)
    await stage.until(lambda: len(stage.counts()) >= 100)
    added = asyncio.create_task(stage.child(a, b, c, d, DRAIN_TIMEOUT="0.2"))
    give(700)
    children.append(await added)

    def works(child: Child) -> bool:
        return any(r.value["workerId"] == child.worker_id and r.value["action"] == d for r in tuple(stage.results))

    async def some_more() -> None:
        goal = len(stage.counts()) + 16
        give(16)
        await stage.until(lambda: len(stage.counts()) >= goal)

    while not (works(victim) and works(children[4])):
        await some_more()
    give(800 - len(jobs) % 16)
    for partition in range(4):
        stage.give(d, "stuck", partition=partition)
    await victim.says("stuck in")
    await victim.kill()
    give(400)
    assert len(jobs) >= 2_000
    await stage.until(lambda: len(set(jobs) - set(stage.counts())) <= 8)
    positions = [(act, partition, count) for act in (a, b, c, d) for partition, count in stage.written.items()]
    await stage.until(lambda: all(stage.committed(act, partition) == count for act, partition, count in positions))
    for child in children:
        if child is not victim:
            child.process.terminate()
    for child in children:
        if child is not victim:
            await child.ends()
    named = {entry["jobId"] for beat in stage.heartbeats for entry in beat["inFlight"]}
    missing = set(jobs) - set(stage.counts())
    assert len(missing) <= 8, missing - named
    # What it had claimed in its last tenth of a second may not have been committed: that is the price of not waiting.
    twice = {job for job, count in stage.counts().items() if count > 1}
    assert twice <= {result.value["jobId"] for result in stage.results if result.value["workerId"] == victim.worker_id}
    assert max(stage.counts().values()) <= 2
