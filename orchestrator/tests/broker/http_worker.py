"""A worker over HTTP without the HTTP: what a process is asked, and by whom. And one over Kafka beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.reports import read_heartbeat
from orchestrator.app.waits import Caller
from orchestrator.model.errors import WorkerNotFound
from orchestrator.model.wire import ExchangeAnswer, HeartbeatAnswer, JobOut, RegisterBody
from tests.broker.site import PATIENCE_SECONDS, Site


class HttpWorker:
    """Calls one process after the other: `at` may be changed at any time."""

    def __init__(self, at: Orchestrator, worker_id: str, *actions: str, lease: float | None = None) -> None:
        self.at = at
        self.worker_id = worker_id
        self._body = RegisterBody(worker_id=worker_id, actions=list(actions), lease=lease)
        self.caller = Caller()
        self.cancelled: list[tuple[str, int]] = []

    def register(self) -> None:
        self.at.gateway.register(self._body, self.worker_id, self.caller)

    async def exchange(self, *results: dict[str, Any], capacity: int = 0, wait: float = 0) -> ExchangeAnswer:
        """Exchange; registers where it is not known."""
        body = json.dumps({"results": results, "capacity": capacity, "wait": wait}).encode()
        try:
            answer = await self.at.gateway.exchange(self.worker_id, body, self.caller)
        except WorkerNotFound:
            self.register()
            answer = await self.at.gateway.exchange(self.worker_id, body, self.caller)
        self.cancelled += [(ref.job_id, ref.attempt) for ref in answer.cancelled]
        return answer

    async def jobs(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many jobs."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < count:
                answer = await self.exchange(capacity=count - len(found), wait=5)
                found += [decoded(job) for job in answer.jobs]
        return found

    async def heartbeat(self, *jobs: dict[str, Any], **more: Any) -> HeartbeatAnswer:
        """Beat; registers where it is not known."""
        named = [{"jobId": job["jobId"], "attempt": job["attempt"], **more} for job in jobs]
        body = read_heartbeat(json.dumps({"inFlight": named}).encode())
        try:
            return await self.at.heartbeat(self.worker_id, body, self.caller)
        except WorkerNotFound:
            self.register()
            return await self.at.heartbeat(self.worker_id, body, self.caller)

    async def work(self, handle: Callable[[dict[str, Any]], object], capacity: int = 10) -> None:
        """Do jobs until cancelled."""
        results: list[dict[str, Any]] = []
        while True:
            answer = await self.exchange(*results, capacity=capacity, wait=5)
            results = [done(job, handle(job)) for job in map(decoded, answer.jobs)]


class GroupWorker:
    """A worker that reads the topic itself, in the group of its action, as the SDKs do."""

    def __init__(self, site: Site, action: str) -> None:
        self._site = site
        self._action = action
        self._consumer = site.reader(f"workflow-worker.{action}", site.topics.jobs)
        # Joining takes a call; from then on the client beats by itself.
        self._consumer.poll(0)

    async def work(self, handle: Callable[[dict[str, Any]], object]) -> None:
        """Do jobs until cancelled: offsets ahead of execution."""
        while True:
            message = await asyncio.to_thread(self._consumer.poll, 0.1)
            if message is None or message.error() is not None:
                continue
            job = json.loads(message.value() or b"")
            if job["action"] != self._action:
                continue
            await asyncio.to_thread(self._commit, message)
            record = {**job, "result": handle(job), "workerId": "group"}
            self._site.say(self._site.topics.results, json.dumps(record).encode())

    def _commit(self, message: Message) -> None:
        self._consumer.commit(message=message, asynchronous=False)

    def close(self) -> None:
        self._consumer.close()


async def members(site: Site, action: str, count: int) -> bool:
    """Whether so many read the jobs of an action."""
    name = f"{site.prefix}workflow-worker.{action}"
    admin = AdminClient({"bootstrap.servers": site.kafka})
    described = await asyncio.to_thread(admin.describe_consumer_groups([name])[name].result)
    return len(described.members) == count


def decoded(job: JobOut) -> dict[str, Any]:
    """Give a job as it goes over the wire."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(job))
    return found


def key_of(job: dict[str, Any]) -> str:
    """Name an attempt."""
    return f"{job['jobId']}#{job['attempt']}"


def done(job: dict[str, Any], result: object = None) -> dict[str, Any]:
    """Write down that a job has completed."""
    return {"jobId": job["jobId"], "attempt": job["attempt"], "result": result}
