"""One of each service for all tests: what one leaves behind, stopped or killed, the next must cope with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stack.daemon import Daemon
from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres
from stack.redis import Redis

SERVICES: dict[str, type[Daemon]] = {"kafka": Kafka, "postgres": Postgres, "redis": Redis}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test again, up to twice, before it counts as failed: a machine that stalls can fail it."""
    for item in items:
        item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Daemon]]:
    """All three, not started; stopped at the end."""
    with ExitStack() as stops:
        made = {name: kind(tmp_path_factory.mktemp(name), free_port()) for name, kind in SERVICES.items()}
        for service in made.values():
            stops.callback(service.stop)
        yield made


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest, services: dict[str, Daemon]) -> Daemon:
    """Each of the three in turn, started."""
    name: str = request.param
    services[name].start()
    return services[name]


@pytest.fixture
def kafka(services: dict[str, Daemon]) -> Kafka:
    """The broker, started."""
    broker = services["kafka"]
    assert isinstance(broker, Kafka)
    broker.start()
    return broker


@pytest.fixture
def postgres(services: dict[str, Daemon]) -> Postgres:
    """The cluster, started."""
    cluster = services["postgres"]
    assert isinstance(cluster, Postgres)
    cluster.start()
    return cluster


@pytest.fixture
def redis(tmp_path: Path) -> Redis:
    """A Redis of the test's own, not started: it is the fastest, and stands for all."""
    return Redis(tmp_path / "redis", free_port())
