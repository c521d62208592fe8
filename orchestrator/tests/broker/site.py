"""An orchestrator on a real PostgreSQL and a real Kafka, and workers that are plain Kafka clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orchestrator.app.orchestrator import Orchestrator
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.topics import TOPICS, Topics
from orchestrator.model.trace import Trace
from orchestrator.model.view import RunView
from orchestrator.settings import Settings

PATIENCE_SECONDS = 60.0


@dataclass
class Site:
    """Where an installation lives; any number of processes may be opened on it."""

    database: str
    kafka: str
    prefix: str

    @property
    def topics(self) -> Topics:
        return TOPICS.prefixed(self.prefix)

    @asynccontextmanager
    async def process(self, **more: Any) -> AsyncIterator[Orchestrator]:
        """Run an orchestrator while the block runs, with further settings."""
        chosen = {"database": self.database, "kafka": self.kafka, "kafka_prefix": self.prefix, "partitions": 3, **more}
        settings = Settings(**chosen)
        async with open_orchestrator(settings) as orchestrator:
            yield orchestrator

    def reader(self, group: str, topic: str) -> Consumer:
        """Read a topic from its beginning."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": self.prefix + group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([topic])
        return consumer

    def make_topic(self, name: str, partitions: int = 1, **config: str) -> None:
        """Make a topic before an orchestrator does; dots of the configuration's names are written as underscores."""
        admin = AdminClient({"bootstrap.servers": self.kafka})
        named = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=named)
        admin.create_topics([topic])[name].result(PATIENCE_SECONDS)

    def say(self, topic: str, *values: bytes, key: bytes | None = None) -> None:
        """Write records, as any client may."""
        producer = Producer({"bootstrap.servers": self.kafka})
        for value in values:
            producer.produce(topic, value, key)
        assert producer.flush(PATIENCE_SECONDS) == 0


class RawWorker:
    """A worker that knows the three fields of the contract, and nothing else."""

    def __init__(self, site: Site, group: str = "raw", topic: str = "") -> None:
        self._site = site
        self._consumer = site.reader(group, topic or site.topics.jobs)

    async def job(self) -> dict[str, Any]:
        """Take the next job."""
        return dict(json.loads((await self.message()).value() or b""))

    async def message(self) -> Message:
        """Take the next job's record."""
        return await next_message(self._consumer)

    def answer(self, job: dict[str, Any], result: object, times: int = 1) -> None:
        """Say what came of a job."""
        record = {"workflowRunId": job["workflowRunId"], "action": job["action"], "result": result}
        self._site.say(self._site.topics.results, *[json.dumps(record).encode()] * times)

    def commit(self) -> None:
        """Say that what was taken is taken."""
        self._consumer.commit(asynchronous=False)

    async def finds_nothing_more(self) -> bool:
        """Look for a second whether there is another job."""
        return await asyncio.to_thread(self._consumer.poll, 1.0) is None

    def close(self) -> None:
        self._consumer.close()


async def next_message(consumer: Consumer) -> Message:
    """Wait for a record."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            message = await asyncio.to_thread(consumer.poll, 0.1)
            if message is not None and message.error() is None:
                return message


async def define(orchestrator: Orchestrator, *steps: dict[str, Any], **more: Any) -> None:
    """Define ``flow``."""
    await orchestrator.define(json.dumps({"id": "flow", "steps": list(steps), **more}).encode())


async def trigger(orchestrator: Orchestrator, payload: object = "in", trace: Trace | None = None) -> RunId:
    """Start a run of ``flow``."""
    return (await orchestrator.trigger("flow", json.dumps({"input": payload}).encode(), None, trace)).run_id


async def ended(orchestrator: Orchestrator, run_id: RunId) -> RunView:
    """Wait until a run has ended."""
    return await orchestrator.run(run_id, Duration(round(PATIENCE_SECONDS * MICROS)))


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when a condition holds that no event tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)
