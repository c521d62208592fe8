"""Records by hand: a plain client beside the orchestrator."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Iterator
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec.structs import astuple

from orchestrator.model.topics import Topics

CALL_SECONDS: Final = 10.0
QUIET_SECONDS: Final = 2.0
"""A topic on which nothing comes for so long has been read to its end."""


def write_again(servers: str, topic: str, keys: Collection[bytes]) -> int:
    """Write the records with these keys a second time, as they are; give their number."""
    producer = _producer(servers)
    found = [message for message in _read(servers, topic) if message.key() in keys]
    for message in found:
        producer.produce(topic, message.value(), message.key(), headers=message.headers())
    producer.flush(CALL_SECONDS)
    return len(found)


def write_job(servers: str, topic: str, job: dict[str, Any]) -> None:
    """Write a job as an orchestrator does."""
    headers: list[tuple[str, str | bytes | None]] = [
        ("wf-action", str(job["action"]).encode()),
        ("wf-job-id", str(job["jobId"]).encode()),
        ("wf-run-id", str(job["workflowRunId"]).encode()),
        ("wf-attempt", str(job["attempt"]).encode()),
        ("wf-to-come", b"\xff\x00"),
        ("content-type", b"application/json"),
    ]
    producer = _producer(servers)
    producer.produce(topic, json.dumps(job).encode(), str(job["workflowRunId"]).encode(), headers=headers)
    producer.flush(CALL_SECONDS)


def find_result(servers: str, topic: str, job_id: str, seconds: float) -> dict[str, Any] | None:
    """Wait for the result of a job."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for message in _read(servers, topic):
            value = json.loads(message.value() or b"null")
            if isinstance(value, dict) and value.get("jobId") == job_id:
                return value
    return None


def drop(servers: str, topics: Topics) -> None:
    """Delete topics that were made for a play; what cannot be deleted stays."""
    client = AdminClient({"bootstrap.servers": servers})
    for deleted in client.delete_topics(list(astuple(topics)), request_timeout=CALL_SECONDS).values():
        with contextlib.suppress(KafkaException):
            deleted.result(CALL_SECONDS)


def _producer(servers: str) -> Producer:
    return Producer({"bootstrap.servers": servers, "enable.idempotence": True})


def _read(servers: str, topic: str) -> Iterator[Message]:
    """Read a topic from its beginning to its end."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"conformance-{uuid4().hex}"})
    try:
        partitions = consumer.list_topics(topic, CALL_SECONDS).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        while (message := consumer.poll(QUIET_SECONDS)) is not None:
            if message.error() is None:
                yield message
    finally:
        consumer.close()
