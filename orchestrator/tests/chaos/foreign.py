"""A worker that knows three fields: a plain Kafka client, unkeyed and without headers, with a group of its own.

``python -m tests.chaos.foreign REPEATS``: that part of its answers is sent twice, and held back to come out of order.
It says that it has read a job once its answer is there, as such clients do; what it reads again it does again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, Producer

from orchestrator.demo.lifeline import stop_with_parent
from tests.chaos import kinds
from tests.chaos.journal import FOLDER, Pen

BROKEN_EVERY = 40
"""After so many answers follows a record that is none."""
HELD_MAX = 20


class Foreign:
    """Takes the jobs of its action, and answers."""

    def __init__(self, servers: str, repeats: float) -> None:
        self._pen = Pen(Path(os.environ[FOLDER]))
        self._repeats = repeats
        self._random = random.Random(os.getpid())
        self._held: list[bytes] = []
        self._answers = 0
        common = {"bootstrap.servers": servers, "reconnect.backoff.max.ms": 1_000, "log_level": 2}
        self._producer = Producer({**common, "enable.idempotence": True})
        self._consumer = Consumer(
            {
                **common,
                "group.id": "strangers",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": 6_000,
                "heartbeat.interval.ms": 500,
            }
        )
        self._consumer.subscribe([os.environ["WORKFLOW_JOBS_TOPIC"]])

    def serve(self, is_leaving: list[bool]) -> None:
        """Serve until told to leave."""
        while not is_leaving:
            messages = [one for one in self._consumer.consume(100, 0.1) if one.error() is None]
            for value in self._answers_to(messages):
                self._producer.produce(os.environ["WORKFLOW_RESULTS_TOPIC"], value)
            if messages and self._producer.flush(30) == 0:
                try:
                    self._consumer.commit(asynchronous=False)
                except KafkaException as error:
                    print(f"not committed, and read again: {error}", flush=True)
            elif not messages:
                self._let_go()
        self._consumer.close()

    def _answers_to(self, messages: list[Message]) -> Iterator[bytes]:
        for message in messages:
            job = json.loads(message.value() or b"")
            if job["action"] == kinds.FOREIGN:
                value = self._do(job)
                if self._random.random() < self._repeats:
                    # One comes now, one later than others that were taken after it.
                    self._held.append(value)
                    self._random.shuffle(self._held)
                yield value
                if len(self._held) > HELD_MAX:
                    yield self._held.pop()
                self._answers += 1
                if self._answers % BROKEN_EVERY == 0:
                    yield b"\xff this is no result"

    def _do(self, job: dict[str, Any]) -> bytes:
        place = (job["workflowRunId"], int(job["stepIndex"]), int(job["attempt"]))
        self._pen.begin(*place)
        result = kinds.after(job["payload"], kinds.FOREIGN)
        self._pen.end(*place)
        return json.dumps({"workflowRunId": job["workflowRunId"], "action": job["action"], "result": result}).encode()

    def _let_go(self) -> None:
        for value in self._held:
            self._producer.produce(os.environ["WORKFLOW_RESULTS_TOPIC"], value)
        self._held.clear()
        self._producer.poll(0)


def main(repeats: float) -> None:
    """Serve until told to stop."""
    stop_with_parent()
    is_leaving: list[bool] = []
    signal.signal(signal.SIGTERM, lambda number, frame: is_leaving.append(True))
    Foreign(os.environ["KAFKA_BOOTSTRAP_SERVERS"], repeats).serve(is_leaving)


if __name__ == "__main__":
    main(float(sys.argv[1]))
