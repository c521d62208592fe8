"""Where the broker of these tests is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.stage import Stage

ROOT = Path(__file__).parents[4]
SERVERS = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real broker: the one that KAFKA_BOOTSTRAP_SERVERS names, else one for this session."""
    if SERVERS:
        yield SERVERS
        return
    kafka_of, free_port = stack()
    with kafka_of(tmp_path_factory.mktemp("kafka"), free_port()).running() as kafka:
        yield kafka.url


def stack() -> tuple[Any, Any]:
    """Give what starts brokers, and what finds a port: from the folder beside the SDKs."""
    if not (ROOT / "stack").is_dir():
        pytest.skip("outside of the repository there is nothing that starts a broker")
    sys.path.append(str(ROOT))
    return import_module("stack.kafka").Kafka, import_module("stack.ports").free_port


@pytest.fixture
def stage(servers: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Topics of a test's own, and the orchestrator's part played on them."""
    with Stage(servers) as stage:
        for variable, value in stage.environment.items():
            monkeypatch.setenv(variable, value)
        yield stage
