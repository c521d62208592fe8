"""The topic of dead letters: one record for each step that failed for good, with its job's key, value and headers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import Final, NamedTuple

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job, job_id
from orchestrator.model.json import NULL
from orchestrator.model.record import job_headers, job_value
from orchestrator.ports.broker import Incoming, Sent

LETTER_ID: Final = "wf-dlt-id"
STACK_BYTES_MAX: Final = 8 * 1024
"""A stack in the headers; the rest is cut off."""
KEPT_BYTES: Final = (64 * 1024, 512)
"""What is kept of a record that is too large to be kept whole: this much, or else this."""
_MESSAGE_BYTES: Final = 200
"""What is kept of an error's message where nothing else fits."""
_KEY_BYTES_MAX: Final = 1024
"""A key that is longer is left out of a record that is cut."""
_REASONS: Final = {"WorkerLost": b"worker-lost", "StepTimeout": b"step-timeout", "JobNotTaken": b"not-sent"}
_SLACK_MS: Final = 60_000
"""How far the clocks of this machine and the cluster may be apart."""

Headers = list[tuple[str, str | bytes | None]]


class Copy(NamedTuple):
    """One way to write a dead letter."""

    key: bytes | None
    value: bytes
    headers: Headers


def copies_of(
    letter: DeadLetter, config: KafkaConfig, sent: Sent | None, home: Iterable[tuple[str, bytes]]
) -> Iterator[Copy]:
    """Write a dead letter: key, value and headers of the last attempt's job; then ever smaller, and saying so."""
    key = letter.run_id.encode()
    job = _job(letter)
    value = job_value(job)
    headers = job_headers(job, home) + _headers_of(letter, config, sent)
    yield Copy(key, value, headers)
    job.payload = NULL
    less = job_value(job)
    cut: Headers = [("wf-dlt-truncated", b"payload"), ("wf-dlt-value-bytes", b"%d" % len(value))]
    yield Copy(key, less, headers + cut)
    shorter = [(name, _shortened(name, text)) for name, text in headers]
    yield Copy(key, less, shorter + cut)


def _shortened(name: str, text: str | bytes | None) -> str | bytes | None:
    if name == "kafka_dlt-exception-stacktrace":
        return b""
    return text[:_MESSAGE_BYTES] if name == "kafka_dlt-exception-message" and text is not None else text


def _headers_of(letter: DeadLetter, config: KafkaConfig, sent: Sent | None) -> Headers:
    """Write the headers after the job's own: the conventional ones of a dead letter, and ours."""
    failure = letter.failure
    topic = config.topic_of(letter.action) if sent is None else sent.topic or config.topics.jobs
    headers: Headers = [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-exception-fqcn", failure.type.encode()),
        ("kafka_dlt-exception-message", failure.message.encode()),
        ("kafka_dlt-exception-stacktrace", failure.stack.encode()[:STACK_BYTES_MAX]),
        (LETTER_ID, letter.id.encode()),
        ("wf-dlt-reason", _reason(failure.type)),
        ("wf-dlt-attempts", b"%d" % letter.attempts),
        ("wf-step-index", b"%d" % letter.step),
        ("wf-workflow-id", letter.workflow_id.encode()),
        ("wf-worker-id", (letter.worker or "").encode()),
    ]
    if sent is not None:
        headers += [
            ("kafka_dlt-original-partition", struct.pack(">i", sent.partition)),
            ("kafka_dlt-original-offset", struct.pack(">q", sent.offset)),
        ]
    return headers


def copies_of_refused(record: Incoming, topic: str, reason: str) -> Iterator[Copy]:
    """Write a record that nobody could read: whole, else its beginning, and its size."""
    headers: Headers = [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", record.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", record.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", record.produced_at // 1_000)),
        ("kafka_dlt-exception-message", reason.encode()[:STACK_BYTES_MAX]),
        (LETTER_ID, f"{topic}:{record.partition}:{record.offset}".encode()),
        ("wf-dlt-reason", b"undecodable"),
    ]
    yield Copy(record.key, record.value, headers)
    key = record.key
    cut: Headers = [("wf-dlt-truncated", b"value"), ("wf-dlt-value-bytes", b"%d" % len(record.value))]
    if key is not None and len(key) > _KEY_BYTES_MAX:
        cut.append(("wf-dlt-key-bytes", b"%d" % len(key)))
        key = None
    for kept in KEPT_BYTES:
        shorter = [(name, _shortened(name, text)) for name, text in headers]
        yield Copy(key, record.value[:kept], shorter + cut)


def is_written(config: KafkaConfig, letter: DeadLetter, partition: int) -> bool:
    """Look whether the record of a letter is there already. Blocks: call it on a thread.

    Raises:
        Unavailable: it could not be found out.
    """
    consumer = Consumer(config.client("dlt-look", {"group.id": f"{config.group}.look", "enable.auto.commit": False}))
    topic = config.topics.dead_letters
    try:
        since = TopicPartition(topic, partition, max(0, letter.created_at // 1_000 - _SLACK_MS))
        (start,) = consumer.offsets_for_times([since], timeout=config.call_seconds)
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=config.call_seconds)
        if start.offset in (OFFSET_END, -1) or start.offset >= end:
            return False
        consumer.assign([start])
        deadline = monotonic() + config.call_seconds
        at = start.offset
        while at < end and monotonic() < deadline:
            message = consumer.poll(config.call_seconds)
            if message is None or message.error() is not None:
                continue
            at = (message.offset() or 0) + 1
            if (LETTER_ID, letter.id.encode()) in (message.headers() or []):
                return True
        if at < end:
            raise Unavailable("Kafka did not show all of its dead letters in time")
        return False
    finally:
        consumer.close()


def _job(letter: DeadLetter) -> Job:
    return Job(
        job_id=job_id(letter.run_id, letter.step),
        run_id=letter.run_id,
        workflow_id=letter.workflow_id,
        step=letter.step,
        attempt=letter.attempt,
        action=letter.action,
        payload=letter.payload,
        trace=letter.trace,
    )


def _reason(failure_type: str) -> bytes:
    return _REASONS.get(failure_type, b"handler-error")
