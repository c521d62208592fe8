"""Replicas as processes on a real database and a real Kafka, a client that repeats once, and a worker that does all."""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer

from tests.broker.site import Site
from tests.process.server import Answer, Server

PATIENCE_SECONDS = 90.0


class Replica(Server):
    """A server process of an installation."""

    def __init__(self, site: Site, **variables: str) -> None:
        chosen = {
            "ORCHESTRATOR_DATABASE": site.database,
            "ORCHESTRATOR_KAFKA": site.kafka,
            "ORCHESTRATOR_KAFKA_PREFIX": site.prefix,
            "ORCHESTRATOR_PARTITIONS": "3",
            **variables,
        }
        super().__init__(None, variables=chosen)
        self._command.remove("--memory")

    def start(self) -> None:
        """Start the process, and wait until it is ready."""
        self.launch()
        self.until_ready()

    def until_ready(self) -> None:
        """Wait until the process takes requests."""
        patiently(lambda: self.readiness() == 200, self.said)

    def readiness(self) -> int:
        """Give the status of the health check; 0 when nobody answers."""
        try:
            return self.call("GET", "/health/ready").status
        except (OSError, http.client.HTTPException):
            return 0

    def finish(self) -> None:
        """Wait for the end of the process, which must be an orderly one."""
        assert self._process is not None
        try:
            code = self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.said()) from None
        self._process = None
        assert code == 0, self.said()

    def freeze(self) -> None:
        """Let the process do nothing, with all its connections open."""
        self.ask_to_stop(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.ask_to_stop(signal.SIGCONT)


class Client:
    """Calls replicas by turns, and repeats a call once at the next one: what docs/replicas.md asks of a client."""

    def __init__(self, replicas: list[Replica]) -> None:
        self._turns = itertools.cycle(replicas)
        self.repeated = 0
        self.failed: list[str] = []
        """Calls that failed after they were repeated."""

    def call(self, method: str, path: str, body: object = b"", headers: dict[str, str] | None = None) -> Answer | None:
        """Call; None where that failed twice."""
        said = []
        for _ in range(2):
            try:
                answer = next(self._turns).call(method, path, body, PATIENCE_SECONDS, headers)
            except (OSError, http.client.HTTPException) as error:
                said.append(repr(error))
            else:
                if answer.status not in (503, 421):
                    return answer
                said.append(answer.text)
            self.repeated += 1
        self.failed.append(f"{method} {path}: {said}")
        return None

    def trigger(self, wait: float = 0) -> str | None:
        """Start a run of ``flow``."""
        path = f"/workflow/flow/trigger?wait={wait}s"
        answer = self.call("POST", path, {"input": 1}, {"Idempotency-Key": str(uuid.uuid4())})
        if answer is None:
            return None
        assert answer.status in (200, 201), answer
        return answer.text


@contextmanager
def worker(site: Site) -> Iterator[None]:
    """A plain Kafka client that does every job while the block runs."""
    ending = threading.Event()

    def work(consumer: Consumer, producer: Producer) -> None:
        while not ending.is_set():
            for message in consumer.consume(100, 0.1):
                if message.error() is None:
                    job: dict[str, Any] = json.loads(message.value() or b"")
                    answer = {name: job[name] for name in ("workflowRunId", "action", "jobId", "attempt")}
                    producer.produce(site.topics.results, json.dumps({**answer, "result": job["payload"]}).encode())
            producer.poll(0)
        producer.flush(PATIENCE_SECONDS)
        consumer.close()

    thread = threading.Thread(
        target=work, args=(site.reader("does-all", site.topics.jobs), Producer({"bootstrap.servers": site.kafka}))
    )
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def patiently(condition: Callable[[], bool], said: Callable[[], str] = str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
