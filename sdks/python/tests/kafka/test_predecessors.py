"""A worker that is started in place of one that was killed lets the others of its groups go on meanwhile."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from functools import partial

import pytest

from tests.kafka.stage import PARTITIONS, Stage
from workersdk import Worker
from workersdk.kafka import predecessors
from workersdk.kafka.predecessors import has_died

SESSION_MS = 10_000
SOON_S = 7.0
"""Less than the session of the dead one, for which a group waits that it stops; more than a loaded machine stalls."""
KAFKA = {"session.timeout.ms": SESSION_MS, "heartbeat.interval.ms": 300}


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def name(host: str, pid: int, own: str = "0123ab") -> str:
    return f"w-{host}-{pid}-{own}"


def test_who_has_died_here_is_known_by_the_process(dead_pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = name("box-1", os.getpid())
    assert has_died(name("box-1", dead_pid), ours)
    assert not has_died(name("box-1", os.getppid()), ours)
    # Of another machine nothing is known, whatever its name begins with.
    assert not has_died(name("box-2", dead_pid), ours)
    assert not has_died(name("box", dead_pid), ours)
    assert not has_died(name("box-1-1", dead_pid), ours)
    # The same number on the same machine is an earlier life, unless it is another worker of this process.
    earlier = name("box-1", os.getpid(), "fedcba")
    assert has_died(earlier, ours)
    monkeypatch.setattr(predecessors, "_HERE", {earlier})
    assert not has_died(earlier, ours)


def test_a_chosen_name_says_nothing_of_its_process(dead_pid: int) -> None:
    assert has_died("billing-1", "billing-1")
    assert not has_died("billing-1", "billing-2")
    assert not has_died(name("box", dead_pid), "billing-1")
    assert not has_died("billing-1", name("box", os.getpid()))


async def test_the_others_go_on_while_a_killed_worker_is_started_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    act = stage.action("act")
    survivor = Worker(worker_id="survivor", kafka=KAFKA)
    survivor.register(act, lambda payload: payload)
    child = await stage.child(act, SESSION_MS=str(SESSION_MS))

    def is_done(job: str) -> bool:
        return job in stage.counts()

    async def owners() -> list[str]:
        given = [stage.give(act, partition=partition) for partition in range(PARTITIONS["jobs"])]
        stage.flush()
        return [(await stage.result_of(job))["workerId"] for job in given]

    async with stage.running(survivor):
        await child.says("connected")
        while len(set(who := await owners())) == 1:
            pass
        kept = [partition for partition, owner in enumerate(who) if owner == "survivor"]
        await child.kill()
        successor = Worker(worker_id=child.worker_id, kafka=KAFKA)
        successor.register(act, lambda payload: payload)
        async with stage.running(successor):
            await stage.until(lambda: f"noticed that {child.worker_id} is dead" in caplog.text)
            while f"worker {child.worker_id} connected" not in caplog.text:
                for partition in kept:
                    job = stage.give(act, partition=partition)
                    stage.flush()
                    await stage.until(partial(is_done, job), SOON_S)
            while len(set(await owners())) == 1:
                pass
    assert set(stage.counts().values()) == {1}
