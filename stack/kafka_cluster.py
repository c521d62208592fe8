"""Kafka as it is run in earnest: three brokers, three copies of everything, two of them in time for each write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from stack import ports
from stack.kafka import Kafka, new_cluster_id
from stack.kafka_libs import LIBS, Libs
from stack.service import HOST, START_SECONDS_MAX

BROKERS = 3
COPIES = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


class ClusterBroker(Kafka):
    """One of several brokers that are controllers too. It answers once most of them are there."""

    def __init__(self, folder: Path, node_id: int, cluster_id: str, controllers: dict[int, int], libs: Libs) -> None:
        super().__init__(folder, ports.free_port(), libs, node_id)
        self._cluster_id = cluster_id
        self._controllers = controllers
        """The ports on which the nodes talk about the cluster."""

    def _properties(self) -> dict[str, str]:
        return {**super()._properties(), **COPIES}

    def _controller_port(self) -> int:
        return self._controllers[self._node_id]

    def _quorum(self, controller: str) -> dict[str, str]:
        return {
            "controller.quorum.voters": ",".join(f"{node}@{HOST}:{port}" for node, port in self._controllers.items())
        }

    def _format_options(self) -> list[str]:
        return [f"--cluster-id={self._cluster_id}"]


class KafkaCluster:
    """Three brokers in a folder. It takes writes while any two of them are there."""

    def __init__(self, folder: Path, libs: Libs = LIBS) -> None:
        cluster_id = new_cluster_id()
        controllers = {node: ports.free_port() for node in range(1, BROKERS + 1)}
        self.brokers = [
            ClusterBroker(folder / f"broker-{node}", node, cluster_id, controllers, libs) for node in controllers
        ]

    @property
    def url(self) -> str:
        """As Kafka clients want it: all three, with commas."""
        return ",".join(broker.url for broker in self.brokers)

    def start(self, seconds: float = START_SECONDS_MAX * BROKERS) -> None:
        """Start those that do not run, and wait until all answer: at once, as none answers without another."""
        self._each(lambda broker: broker.start(seconds))

    def stop(self) -> None:
        """Stop all in good order."""
        self._each(Kafka.stop)

    def kill(self) -> None:
        """Kill all."""
        self._each(Kafka.kill)

    def pause(self) -> None:
        """Freeze all."""
        self._each(Kafka.pause)

    def resume(self) -> None:
        """Thaw all."""
        self._each(Kafka.resume)

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Start them; kill them at the end."""
        try:
            self.start()
            yield self
        finally:
            self.kill()

    def _each(self, act: Callable[[Kafka], None]) -> None:
        with ThreadPoolExecutor(BROKERS) as threads:
            list(threads.map(act, self.brokers))
