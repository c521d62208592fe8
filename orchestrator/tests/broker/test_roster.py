"""Two processes, a worker over HTTP at one of them and one over Kafka: both know both, and why runs wait."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from tests.broker.http_worker import GroupWorker, HttpWorker, members
from tests.broker.replica import Replica, patiently
from tests.broker.site import RawWorker, Site, define, eventually, trigger

pytestmark = pytest.mark.timeout(300)

GONE_SECONDS = Limits().worker_presence_seconds
"""How long who was killed is taken for there."""
LATE_SECONDS = 15.0
"""What a busy machine may add."""
WORKER = """
import asyncio
import sys
from workersdk import Worker
from orchestrator.demo.lifeline import stop_with_parent

async def hold(payload):
    await asyncio.sleep(float(sys.argv[2]))

stop_with_parent()
worker = Worker(worker_id=sys.argv[1], concurrency=1, lease=600, drain_timeout=0.1)
worker.register("over-kafka", hold)
worker.start()
"""


@contextmanager
def kafka_worker(site: Site, name: str, seconds: float = 3_600) -> Iterator[subprocess.Popen[bytes]]:
    """A worker over Kafka, in a process of its own, that does one job at a time and takes so long for it."""
    variables = {**os.environ, "WORKFLOW_KAFKA_PREFIX": site.prefix, "KAFKA_BOOTSTRAP_SERVERS": site.kafka}
    process = subprocess.Popen([sys.executable, "-c", WORKER, name, str(seconds)], env=variables, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status(at: Replica, worker_id: str) -> str:
    answer = at.call("GET", f"/workers/{worker_id}")
    return str(answer.json()["status"]) if answer.status == 200 else ""


def listed(at: Replica) -> dict[str, dict[str, Any]]:
    return {worker["workerId"]: worker for worker in at.call("GET", "/workers").json()}


def reason(at: Replica, run_id: str) -> str:
    """Say why a run waits, without its step and since when."""
    return str(at.show(run_id)["waitingFor"]).split(": ", 1)[1].rsplit(" since ", 1)[0]


def first_job(at: Replica, worker_id: str) -> dict[str, Any]:
    """Ask for a job until there is one."""
    jobs: list[dict[str, Any]] = []

    def ask() -> bool:
        jobs.extend(at.exchange(worker_id, capacity=1, wait=2).get("jobs", []))
        return bool(jobs)

    patiently(ask, at.said)
    return jobs[0]


def until_said(at: Replica, runs: list[str], expected: set[str]) -> None:
    """Wait until these are the reasons of some runs."""
    said: set[str] = set()

    def is_said() -> bool:
        said.clear()
        said.update(reason(at, run_id) for run_id in runs)
        return said == expected

    patiently(is_said, lambda: f"{said}\n{at.said()}")


def gone_after(at: Replica, worker_id: str) -> float:
    """Wait until a worker is gone; say how many seconds that took."""
    began = time.monotonic()
    patiently(lambda: status(at, worker_id) == "GONE", at.said)
    return time.monotonic() - began


def test_two_processes_know_each_others_workers_of_both_kinds(site: Site) -> None:
    with ExitStack() as stack:
        here, there = (stack.enter_context(Replica(site)) for _ in range(2))
        there.define("http", "over-http")
        there.define("kafka", "over-kafka")
        runs = {name: [there.trigger(name) for _ in range(2)] for name in ("http", "kafka")}
        nobody = "no connected worker has a handler for this action,"
        assert [reason(there, run_id) for of in runs.values() for run_id in of] == [nobody] * 4

        here.register("h", "over-http", concurrency=1, lease=600, host="box")
        job = first_job(here, "h")
        worker = stack.enter_context(kafka_worker(site, "k"))
        for of, worker_id in ((runs["http"], "h"), (runs["kafka"], "k")):
            busy = "the only worker that has a handler for this action is busy, queued"
            expected = {f"worker {worker_id} has been at it", busy}
            for replica in (here, there):
                until_said(replica, of, expected)

        for replica in (here, there):
            found = listed(replica)
            assert {(name, one["transport"], one["status"]) for name, one in found.items()} == {
                ("h", "http", "CONNECTED"),
                ("k", "kafka", "CONNECTED"),
            }
            assert (found["h"]["host"], found["h"]["concurrency"], found["h"]["actions"]) == ("box", 1, ["over-http"])
            assert (found["k"]["pid"], found["k"]["concurrency"]) == (worker.pid, 1)
            assert [one["action"] for one in found["k"]["inHand"]] == ["over-kafka"]
            assert [(one["jobId"], one["attempt"]) for one in found["h"]["inHand"]] == [(job["jobId"], 1)]
        assert there.call("POST", "/workers/k/drain").json()["code"] == "worker-not-drainable"

        # Who is killed says nothing, and is gone when its last word is over.
        worker.kill()
        here.kill()
        for worker_id in ("k", "h"):
            assert gone_after(there, worker_id) <= GONE_SECONDS + LATE_SECONDS
        assert sorted(listed(there)) == ["h", "k"]
        assert nobody in {reason(there, run_id) for run_id in runs["http"]}

        # Who takes leave is gone at once, although its lease is long.
        leaving = stack.enter_context(kafka_worker(site, "k2"))
        patiently(lambda: status(there, "k2") == "CONNECTED", there.said)
        there.register("h2", "over-http", lease=600)
        leaving.send_signal(signal.SIGTERM)
        leaving.wait(60)
        assert gone_after(there, "k2") <= LATE_SECONDS
        there.call("DELETE", "/workers/h2")
        assert status(there, "h2") == "GONE"


def test_a_worker_over_kafka_that_is_full_of_short_jobs_is_busy(site: Site) -> None:
    with Replica(site) as at, kafka_worker(site, "k", seconds=0.1):
        at.define("kafka", "over-kafka")
        patiently(lambda: status(at, "k") == "CONNECTED", at.said)
        runs = [at.trigger("kafka") for _ in range(300)]
        until_said(at, runs[-1:], {"the only worker that has a handler for this action is busy, queued"})
        assert any(at.show(run_id)["status"] == "COMPLETED" for run_id in runs)


# --- groups that give no signs of life -------------------------------------------------------------------------------


async def why(orchestrator: Orchestrator, run_id: RunId) -> str:
    return (await orchestrator.run(run_id)).waiting_for or ""


async def test_a_group_of_a_plain_client_is_a_place_where_a_job_may_be(site: Site, raw: RawWorker) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        await raw.job()
        said = f"no worker that gives signs of life has a handler for this action; the consumer group {site.prefix}raw"

        async def is_said() -> bool:
            return f"{said} may take or have this job, since" in await why(orchestrator, run_id)

        await eventually(is_said)
        assert (await orchestrator.unserved()).groups == [f"{site.prefix}raw"]
        assert await orchestrator.workers() == []


async def test_our_own_readers_are_no_workers_and_plain_ones_in_the_group_of_an_action_may_be(site: Site) -> None:
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        worker = HttpWorker(orchestrator, "w", "step1")
        waits = asyncio.create_task(worker.exchange(capacity=1, wait=60))
        await eventually(lambda: members(site, "step1", 1))
        waits.cancel()
        worker.caller.leave()
        await orchestrator.gateway.leave("w")
        run_id = await trigger(orchestrator)
        # The process reads on for a while; that is no place where a job could be done.
        assert "no connected worker has a handler for this action, since" in await why(orchestrator, run_id)
        plain = GroupWorker(site, "step1")
        await eventually(lambda: members(site, "step1", 2))

        async def is_said() -> bool:
            return f"the consumer group {site.prefix}workflow-worker.step1 may" in await why(orchestrator, run_id)

        await eventually(is_said)
        await asyncio.to_thread(plain.close)
