"""The orchestrator's part, played on a real broker: writes jobs, and listens to results and heartbeats."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from workersdk import Worker

WAIT_FOR_S = 30.0
PARTITIONS = {"jobs": 4, "own": 2, "results": 4, "heartbeats": 1, "control": 1}


class Result(NamedTuple):
    """A record on the topic of results."""

    key: str
    headers: dict[str, str]
    value: dict[str, Any]
    partition: int


class Stage:
    """Four topics of its own. Names of actions get a suffix, so that no group is met twice: `stage.action("act")`."""

    def __init__(self, servers: str) -> None:
        self.servers = servers
        self.suffix = uuid.uuid4().hex[:8]
        self.topics = {name: f"test-{name}-{self.suffix}" for name in PARTITIONS}
        self.environment = {
            f"WORKFLOW_{name.upper()}_TOPIC": topic for name, topic in self.topics.items() if name != "own"
        }
        self.results: list[Result] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.written: Counter[int] = Counter()  # jobs by partition, where the test named one
        self._client: dict[str, str | int | float | bool] = {
            "bootstrap.servers": servers,
            "reconnect.backoff.max.ms": 200,
            "log_level": 0,
        }
        self._admin = AdminClient(self._client)
        self._producer = Producer({**self._client, "linger.ms": 0})
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Stage:
        topics = [NewTopic(self.topics[name], num_partitions=count) for name, count in PARTITIONS.items()]
        for future in self._admin.create_topics(topics).values():
            future.result(10)
        self._listening.set()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.clear()
        self._thread.join()
        for future in self._admin.delete_topics(list(self.topics.values())).values():
            future.result(10)

    # ------------------------------------------------------------ saying

    def action(self, name: str) -> str:
        return f"{name}-{self.suffix}"

    def give(
        self,
        action: str,
        payload: Any = None,
        *,
        partition: int = -1,
        attempt: int = 1,
        topic: str = "jobs",
        home: bytes | None = None,
        **fields: Any,
    ) -> str:
        """Write a job as the orchestrator does, `home` as the partition of its result; return its id."""
        run_id = fields.pop("run_id", None) or str(uuid.uuid4())
        value = {
            "workflowRunId": run_id,
            "action": action,
            "payload": payload,
            "jobId": f"{run_id}:0",
            "attempt": attempt,
            "workflowId": "test",
            "stepIndex": 0,
            **fields,
        }
        headers = [
            ("wf-action", action.encode()),
            ("wf-job-id", value["jobId"].encode()),
            ("wf-run-id", run_id.encode()),
            ("wf-attempt", b"%d" % attempt),
            ("content-type", b"application/json"),
        ]
        if fields.get("alone"):
            headers.append(("wf-alone", b"1"))
        if home is not None:
            headers.append(("wf-result-partition", home))
        self.write(topic, json.dumps(value).encode(), run_id.encode(), headers, partition)
        return str(value["jobId"])

    def write(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int = -1,
    ) -> None:
        """Write any record, and see it arrive."""
        self._producer.produce(self.topics[topic], value, key, partition, headers=headers or None)  # type: ignore[arg-type]
        self._producer.poll(0)
        if topic == "jobs" and partition >= 0:
            self.written[partition] += 1

    def flush(self) -> None:
        """Return when all that was written has arrived."""
        assert self._producer.flush(WAIT_FOR_S) == 0

    def cancel(self, job_id: str, attempt: int = 1) -> None:
        word = {"type": "cancel", "jobId": job_id, "attempt": attempt, "reason": "the run was cancelled"}
        self.write("control", json.dumps(word).encode(), job_id.partition(":")[0].encode())

    def committed(self, action: str, partition: int) -> int:
        """Return what the group of an action has committed."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": f"workflow-worker.{action}", "log_level": 0}
        )
        try:
            return consumer.committed([TopicPartition(self.topics["jobs"], partition)], 10)[0].offset
        finally:
            consumer.close()

    # ------------------------------------------------------------ hearing

    async def result_of(self, job_id: str) -> dict[str, Any]:
        """Return the first result of a job."""
        await self.until(lambda: any(result.value.get("jobId") == job_id for result in self.results))
        return next(result.value for result in self.results if result.value.get("jobId") == job_id)

    def counts(self) -> Counter[str]:
        """Return how many results each job has."""
        return Counter(result.value["jobId"] for result in self.results)

    def named(self, job_id: str, worker_id: str | None = None) -> list[dict[str, Any]]:
        """Return what the heartbeats, or those of one worker, said of a job."""
        return [
            entry
            for beat in tuple(self.heartbeats)
            for entry in beat["inFlight"]
            if entry["jobId"] == job_id and worker_id in (None, beat["workerId"])
        ]

    async def until(self, condition: Callable[[], Any], timeout: float = WAIT_FOR_S) -> None:
        """Return when a condition holds, fail when it does not in time."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            await asyncio.sleep(0.002)

    def _listen(self) -> None:
        consumer = Consumer(
            {
                **self._client,
                "group.id": f"test-{self.suffix}",
                "fetch.wait.max.ms": 20,
                "topic.metadata.refresh.fast.interval.ms": 50,
            }
        )
        consumer.assign(
            [
                TopicPartition(self.topics[name], partition, 0)
                for name in ("results", "heartbeats")
                for partition in range(PARTITIONS[name])
            ]
        )
        while self._listening.is_set():
            message = consumer.poll(0.05)
            if message is None or message.error() is not None:
                continue
            value = json.loads(message.value() or b"")
            if message.topic() == self.topics["heartbeats"]:
                self.heartbeats.append(value)
            else:
                headers = {name: text.decode() for name, text in message.headers() or ()}  # type: ignore[union-attr,str-unpack]
                self.results.append(Result((message.key() or b"").decode(), headers, value, message.partition() or 0))
        consumer.close()

    # ------------------------------------------------------------ workers

    @asynccontextmanager
    async def running(self, *workers: Worker) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Run workers until the block ends; they must then leave in good order."""
        tasks = [asyncio.create_task(worker.run(self.servers)) for worker in workers]
        try:
            yield tasks
        finally:
            for worker in workers:
                worker.stop()
            await asyncio.wait_for(asyncio.gather(*tasks), WAIT_FOR_S)

    async def child(self, *actions: str, **environment: str) -> Child:
        """Start a worker process (`tests.kafka.child`) with handlers for some actions."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W", "error", "-m", "tests.kafka.child", *actions,
            env={**os.environ, **self.environment, "KAFKA_BOOTSTRAP_SERVERS": self.servers, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return Child(process)


class Child:
    """A worker process, and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    @property
    def worker_id(self) -> str:
        return f"w-child-{self.process.pid}"

    async def says(self, text: str) -> None:
        """Return when the process has written a line with this text."""
        assert self.process.stdout is not None
        while True:
            line = (await asyncio.wait_for(self.process.stdout.readline(), WAIT_FOR_S)).decode()
            assert line, f"the process ended without saying {text!r}: {self.output}"
            self.output += line
            if text in line:
                return

    async def ends(self) -> int:
        """Return the process's exit code."""
        rest, _ = await asyncio.wait_for(self.process.communicate(), WAIT_FOR_S)
        self.output += rest.decode()
        assert self.process.returncode is not None
        return self.process.returncode

    async def kill(self) -> None:
        self.process.kill()
        await self.ends()

    async def terminate(self) -> int:
        self.process.terminate()
        return await self.ends()
