"""Each service is started once for the tests of a file: what they leave behind, the next one must cope with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.daemon import Daemon
from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres
from stack.redis import Redis

SERVICES: dict[str, Callable[[Path, int], Daemon]] = {"kafka": Kafka, "postgres": Postgres, "redis": Redis}


@pytest.fixture(scope="module", params=SERVICES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One of the three, started."""
    name: str = request.param
    with SERVICES[name](tmp_path_factory.mktemp(name), free_port()).running() as running:
        yield running


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with Kafka(tmp_path_factory.mktemp("kafka"), free_port()).running() as running:
        yield running


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()).running() as running:
        yield running
