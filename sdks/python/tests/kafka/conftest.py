"""Where the broker of these tests is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.stage import Stage

SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or "127.0.0.1:19092"


@pytest.fixture(scope="session")
def servers() -> str:
    """The address of a real broker."""
    admin = AdminClient({"bootstrap.servers": SERVERS, "log_level": 0})
    try:
        admin.list_topics(timeout=5)
    except KafkaException:
        pytest.skip(f"there is no Kafka broker at {SERVERS}; KAFKA_BOOTSTRAP_SERVERS says where one is")
    return SERVERS


@pytest.fixture
def stage(servers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Topics of a test's own, and the orchestrator's part played on them."""
    with Stage(servers) as stage:
        for variable, value in stage.environment.items():
            monkeypatch.setenv(variable, value)
        yield stage
