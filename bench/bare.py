"""What Kafka and PostgreSQL alone allow here: the way of a step with nothing around it.

No HTTP, no checks, no retries, no leases, no history: one loop that takes results, writes a transaction and sends jobs,
and one worker with a consumer group for each action. What the orchestrator costs more than this is what it does for it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import uuid
from contextlib import suppress
from typing import Any

import asyncpg
from confluent_kafka import Consumer, KafkaException, Message, Producer

STEPS = 5
PARTITIONS = 12
PAYLOAD = "x" * 100
JOBS, RESULTS = "bare-jobs", "bare-results"
GATHER_SECONDS = 0.005
COMMIT_SECONDS = 0.1
TAKE_MAX = 2_000
SCHEMA = """
    CREATE TABLE bare_runs (id uuid PRIMARY KEY, step int NOT NULL, state text NOT NULL);
    CREATE TABLE bare_steps (id uuid, step int, result text, PRIMARY KEY (id, step))"""
START = "INSERT INTO bare_runs SELECT unnest($1::uuid[]), 0, $2"
LOCK = "SELECT id, step FROM bare_runs WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
ADVANCE = (
    "UPDATE bare_runs AS r SET step = n.step + 1 FROM unnest($1::uuid[], $2::int[]) AS n (id, step) WHERE r.id = n.id"
)
RECORD = "INSERT INTO bare_steps SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[]) ON CONFLICT DO NOTHING"


def producer_of(url: str) -> Producer:
    """Make a producer that loses nothing."""
    return Producer({"bootstrap.servers": url, "acks": "all", "enable.idempotence": True, "linger.ms": 0})


class Reader:
    """A member of a group; commits now and then, and waits for no commit."""

    def __init__(self, url: str, group: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": url,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            }
        )
        self._consumer.subscribe([topic])
        self._committed_on = 0.0

    def join(self) -> None:
        """Wait for partitions."""
        while not self._consumer.assignment():
            self._consumer.poll(0.1)

    def take(self, gather: float = 0.0) -> list[Message]:
        """Wait for a record, and give what there is after so many seconds more; nothing when none comes."""
        first = self._consumer.poll(0.5)
        if first is None:
            return []
        if gather:
            time.sleep(gather)
        taken = [first, *self._consumer.consume(TAKE_MAX, 0)]
        if time.monotonic() - self._committed_on > COMMIT_SECONDS:
            self._committed_on = time.monotonic()
            with suppress(KafkaException):
                self._consumer.commit(asynchronous=True)
        return [message for message in taken if message.error() is None]

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


def work(url: str) -> None:
    """Serve all actions until the process is ended."""
    producer = producer_of(url)

    def serve(step: int) -> None:
        action = b"noop-%d" % step
        reader = Reader(url, f"bare-{step}", JOBS)
        while True:
            for message in reader.take():
                headers: Any = message.headers()
                if headers[0][1] == action:
                    job = json.loads(message.value() or b"")
                    result = {"run": job["run"], "step": job["step"], "result": job["payload"]}
                    producer.produce(RESULTS, json.dumps(result), message.key())
            producer.poll(0)

    threads = [threading.Thread(target=serve, args=(step,), daemon=True) for step in range(STEPS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Orchestration:
    """Keeps runs in flight until so many have completed."""

    def __init__(self, url: str, in_flight: int, total: int) -> None:
        self._producer = producer_of(url)
        self._reader = Reader(url, "bare-orchestrator", RESULTS)
        self._gather = GATHER_SECONDS if in_flight > 1 else 0.0
        self._in_flight = in_flight
        self._left = total
        self._partition = 0
        self._began: dict[str, float] = {}
        self._latencies: list[float] = []

    async def run(self, url: str) -> tuple[float, list[float]]:
        """Give the seconds it took, and those of each run, in order of their length."""
        self._reader.join()
        database = await asyncpg.connect(url)
        started = time.perf_counter()
        await self._begin(database, self._in_flight)
        while self._began:
            results = [json.loads(message.value() or b"") for message in self._reader.take(self._gather)]
            results = [result for result in results if result["run"] in self._began]
            if results:
                await self._advance(database, results)
        seconds = time.perf_counter() - started
        self._reader.close()
        await database.close()
        return seconds, sorted(self._latencies)

    async def _begin(self, database: asyncpg.Connection, count: int) -> None:
        count = min(count, self._left)
        self._left -= count
        ids = [str(uuid.uuid4()) for _ in range(count)]
        if ids:
            await database.execute(START, ids, PAYLOAD)
        for run in ids:
            self._began[run] = time.perf_counter()
            self._send(run, 0)
        self._producer.poll(0)

    async def _advance(self, database: asyncpg.Connection, results: list[dict[str, Any]]) -> None:
        runs = [result["run"] for result in results]
        steps = [result["step"] for result in results]
        async with database.transaction():
            await database.fetch(LOCK, runs)
            await database.execute(ADVANCE, runs, steps)
            await database.execute(RECORD, runs, steps, [result["result"] for result in results])
        ended = 0
        for run, step in zip(runs, steps, strict=True):
            if step + 1 < STEPS:
                self._send(run, step + 1)
            else:
                self._latencies.append(time.perf_counter() - self._began.pop(run))
                ended += 1
        self._producer.poll(0)
        await self._begin(database, ended)

    def _send(self, run: str, step: int) -> None:
        self._partition = (self._partition + 1) % PARTITIONS
        value = json.dumps({"run": run, "step": step, "payload": PAYLOAD})
        self._producer.produce(JOBS, value, run, self._partition, headers=[("action", b"noop-%d" % step)])


def main() -> None:
    """Be the worker, or the orchestrator: it prints the seconds, and p50 and p99 of a run."""
    role, url = sys.argv[1:3]
    if role == "worker":
        work(url)
        return
    database, in_flight, total = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    seconds, latencies = asyncio.run(Orchestration(url, in_flight, total).run(database))
    print(seconds, latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)])


if __name__ == "__main__":
    main()
