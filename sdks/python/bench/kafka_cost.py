"""What a job costs in a worker over Kafka, and how long one takes when nothing else is going on.

    uv run python -m bench.kafka_cost [KAFKA_BOOTSTRAP_SERVERS] [concurrency]

The worker runs in a process of its own, and only its CPU time is counted. The broker is a real one, on topics of this
run's own, which are deleted at the end.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import uuid
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from workersdk import Worker

JOBS = 50_000
SEQUENTIAL_JOBS = 1_000
ACTIONS = 5
PARTITIONS = 12
IDLE_S = 10.0


def work(servers: str, actions: list[str], concurrency: int, pipe: Connection) -> None:
    """Run the worker; the handlers of the last action tell its CPU seconds."""
    worker = Worker(concurrency=concurrency)

    async def no_op(payload: Any) -> Any:
        return payload

    for action in actions[:-1]:
        worker.register(action, no_op)
    worker.register(actions[-1], lambda payload: time.process_time())
    worker.start(servers)
    pipe.send(None)


class Bench:
    def __init__(self, servers: str, concurrency: int) -> None:
        suffix = uuid.uuid4().hex[:8]
        self.servers = servers
        self.topics = {name: f"bench-{name}-{suffix}" for name in ("jobs", "results", "heartbeats", "control")}
        self.actions = [f"bench-{number}-{suffix}" for number in range(ACTIONS)]
        self.admin = AdminClient({"bootstrap.servers": servers})
        topics = [NewTopic(topic, num_partitions=PARTITIONS) for topic in self.topics.values()]
        for future in self.admin.create_topics(topics).values():
            future.result(10)
        self.producer = Producer(
            {"bootstrap.servers": servers, "linger.ms": 0, "queue.buffering.max.messages": 2 * JOBS}
        )
        self.consumer = Consumer({"bootstrap.servers": servers, "group.id": suffix, "fetch.wait.max.ms": 100})
        self.consumer.assign([TopicPartition(self.topics["results"], place, 0) for place in range(PARTITIONS)])
        for name, topic in self.topics.items():
            os.environ[f"WORKFLOW_{name.upper()}_TOPIC"] = topic
        context = get_context("spawn")
        _, theirs = context.Pipe()
        self.worker = context.Process(target=work, args=(servers, self.actions, concurrency, theirs), daemon=True)
        self.worker.start()

    def close(self) -> None:
        self.worker.terminate()
        self.worker.join(10)
        for future in self.admin.delete_topics(list(self.topics.values())).values():
            future.result(10)

    def give(self, action: str, number: int) -> None:
        run_id = str(uuid.uuid4())
        value = {"workflowRunId": run_id, "action": action, "payload": "x" * 64, "jobId": f"{run_id}:0", "attempt": 1}
        headers = [
            ("wf-action", action.encode()),
            ("wf-job-id", f"{run_id}:0".encode()),
            ("wf-run-id", run_id.encode()),
            ("wf-attempt", b"1"),
            ("content-type", b"application/json"),
        ]
        self.producer.produce(
            self.topics["jobs"],
            json.dumps(value).encode(),
            run_id.encode(),
            number % PARTITIONS,
            headers=headers,  # type: ignore[arg-type]
        )

    def one(self, action: str, number: int) -> bytes:
        self.give(action, number)
        while True:
            message = self.consumer.poll(30)
            assert message is not None, "no result"
            if message.error() is None:
                return message.value() or b""

    def cpu(self) -> float:
        return float(json.loads(self.one(self.actions[-1], 0))["result"])

    def sequence(self) -> dict[str, float]:
        times = []
        for number in range(SEQUENTIAL_JOBS):
            started = time.perf_counter()
            self.one(self.actions[number % (ACTIONS - 1)], number)
            times.append((time.perf_counter() - started) * 1e3)
        cuts = statistics.quantiles(times, n=100)
        return {"one at a time: p50 ms": cuts[49], "one at a time: p99 ms": cuts[98]}

    def batch(self, actions: int) -> dict[str, float]:
        before = self.cpu()
        started = time.perf_counter()
        for number in range(JOBS):
            self.give(self.actions[number % actions], number)
        self.producer.poll(0)
        left = JOBS
        while left:
            left -= len(self.consumer.consume(min(1_000, left), 0.2))
            self.producer.poll(0)
        seconds = time.perf_counter() - started
        return {
            f"{actions} action(s): jobs/s": JOBS / seconds,
            f"{actions} action(s): CPU µs per job": (self.cpu() - before) / JOBS * 1e6,
        }

    def idle(self) -> dict[str, float]:
        before = self.cpu()
        time.sleep(IDLE_S)
        return {"idle: % of a core": (self.cpu() - before) / IDLE_S * 100}


def main() -> None:
    servers = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:19092")
    bench = Bench(servers, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000)
    try:
        bench.cpu()
        numbers = bench.idle() | bench.sequence() | bench.batch(1) | bench.batch(ACTIONS - 1)
    finally:
        bench.close()
    json.dump({name: round(value, 2) for name, value in numbers.items()}, sys.stdout, indent=2, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
