"""What a broker keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.daemon import wait_for
from stack.kafka import Kafka
from stack.kafka_wire import Metadata
from stack.service import HOST

SECONDS_MAX = 10.0


def partitions(kafka: Kafka, topic: str, *, create: bool = False) -> int:
    return Metadata.ask(HOST, kafka.port, SECONDS_MAX, topics=(topic,), create=create).partitions.get(topic, 0)


def test_a_topic_survives_a_crash(kafka: Kafka) -> None:
    assert partitions(kafka, "work") == 0
    assert wait_for(lambda: partitions(kafka, "work", create=True) == 12, SECONDS_MAX)
    kafka.kill()
    kafka.start()
    assert wait_for(lambda: partitions(kafka, "work") == 12, SECONDS_MAX)


def test_further_options_of_java_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_JVM", "-Xmx512m -XX:TieredStopAtLevel=1")
    options = Kafka(tmp_path, 1).jvm
    assert options.index("-Xmx512m") > options.index("-Xmx384m")
    assert "-XX:TieredStopAtLevel=1" in options
