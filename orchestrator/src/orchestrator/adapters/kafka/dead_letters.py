"""The topic of dead letters: one record for each step that failed for good, with its job's key, value and headers."""

from __future__ import annotations

import struct
from time import monotonic
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from orchestrator.adapters.kafka.config import CALL_SECONDS, KafkaConfig
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.errors import Unavailable
from orchestrator.model.job import Job, job_id
from orchestrator.model.record import job_headers, job_value
from orchestrator.ports.broker import Incoming, Sent

LETTER_ID: Final = "wf-dlt-id"
_STACK_BYTES_MAX: Final = 8 * 1024
_SLACK_MS: Final = 60_000
"""How far the clocks of this machine and the cluster may be apart."""

Headers = list[tuple[str, str | bytes | None]]


def value_of(letter: DeadLetter) -> bytes:
    """Write the value: that of the last attempt's job."""
    return job_value(_job(letter))


def headers_of(letter: DeadLetter, config: KafkaConfig, sent: Sent | None) -> Headers:
    """Write the headers: the job's own, the conventional ones of a dead letter, and ours."""
    failure = letter.failure
    headers = job_headers(_job(letter))
    headers += [
        ("kafka_dlt-original-topic", config.topics.jobs.encode()),
        ("kafka_dlt-exception-fqcn", failure.type.encode()),
        ("kafka_dlt-exception-message", failure.message.encode()),
        ("kafka_dlt-exception-stacktrace", failure.stack.encode()[:_STACK_BYTES_MAX]),
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


def refused_headers(record: Incoming, topic: str, reason: str) -> Headers:
    """Write the headers of a record that nobody could read."""
    return [
        ("kafka_dlt-original-topic", topic.encode()),
        ("kafka_dlt-original-partition", struct.pack(">i", record.partition)),
        ("kafka_dlt-original-offset", struct.pack(">q", record.offset)),
        ("kafka_dlt-original-timestamp", struct.pack(">q", record.produced_at // 1_000)),
        ("kafka_dlt-exception-message", reason.encode()),
        (LETTER_ID, f"{topic}:{record.partition}:{record.offset}".encode()),
        ("wf-dlt-reason", b"undecodable"),
    ]


def is_written(config: KafkaConfig, letter: DeadLetter, partition: int) -> bool:
    """Look whether the record of a letter is there already. Blocks: call it on a thread.

    Raises:
        Unavailable: it could not be found out.
    """
    consumer = Consumer(config.client("dlt-look", {"group.id": f"{config.group}.look", "enable.auto.commit": False}))
    topic = config.topics.dead_letters
    try:
        since = TopicPartition(topic, partition, max(0, letter.created_at // 1_000 - _SLACK_MS))
        (start,) = consumer.offsets_for_times([since], timeout=CALL_SECONDS)
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=CALL_SECONDS)
        if start.offset in (OFFSET_END, -1) or start.offset >= end:
            return False
        consumer.assign([start])
        deadline = monotonic() + CALL_SECONDS
        at = start.offset
        while at < end and monotonic() < deadline:
            message = consumer.poll(CALL_SECONDS)
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
    )


def _reason(failure_type: str) -> bytes:
    return {"WorkerLost": b"worker-lost", "StepTimeout": b"step-timeout"}.get(failure_type, b"handler-error")
