"""A whole installation on this machine: PostgreSQL, Kafka, Redis, orchestrators, workers."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from orchestrator.model.topics import TOPICS
from stack.kafka import Kafka
from stack.kafka_cluster import KafkaCluster
from stack.ports import free_port
from stack.postgres import Postgres
from stack.redis import Redis
from tests.chaos.child import Child, Supervisor, until
from tests.chaos.journal import FOLDER, Journal
from tests.process.server import ask

READY_SECONDS = 240.0
"""How long a part or a process may take until it answers: fifty times what a quiet machine needs."""
LEASE_SECONDS = 4.0
"""Of workers; and what the orchestrator gives to one that says nothing."""
LOST_ATTEMPTS_MAX = 40
"""So many, that no number of kills makes a dead letter of a run that is not meant to fail."""
SLOTS = 40
"""Jobs that a worker has in hand at most."""
PARTITIONS = 6
KEPT_SECONDS = 86_400
CLEANING_SECONDS = 5
"""So often that a process comes to it while it is armed."""


OPEN: list[Installation] = []
"""What runs in this process: to be taken down when it is told to end."""


class Installation:
    """What runs for a scenario, each process with a log of its own in the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        with_redis: bool = False,
        with_cluster: bool = False,
        lost_attempts_max: int = LOST_ATTEMPTS_MAX,
        lease_seconds: float = LEASE_SECONDS,
        slots: int = SLOTS,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.postgres = Postgres(folder / "postgres", free_port())
        self.kafka: Kafka | KafkaCluster = (
            KafkaCluster(folder / "kafka") if with_cluster else Kafka(folder / "kafka", free_port())
        )
        self.redis = Redis(folder / "redis", free_port()) if with_redis else None
        self.topics = TOPICS
        self.replicas: list[Child] = []
        self.workers: list[Child] = []
        self._ports: dict[str, int] = {}
        self._lost_attempts_max = lost_attempts_max
        self._lease_seconds = lease_seconds
        self._slots = slots
        self._children: list[Child] = []
        self._supervisor = Supervisor(self._children)
        self._journal = folder / "journal"
        self._journal.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start the parts; take everything down at the end."""
        with contextlib.ExitStack() as stack:
            for part in (self.postgres, self.kafka, self.redis):
                if part is not None:
                    # One that a fault has left frozen or dead is none the less taken away.
                    stack.callback(part.kill)
                    part.start(READY_SECONDS)
            self._supervisor.start()
            stack.callback(self._end)
            OPEN.append(self)
            stack.callback(OPEN.remove, self)
            yield

    def _end(self) -> None:
        self._supervisor.stop()
        for child in self._children:
            child.kill(is_kept=False)

    def kill(self) -> None:
        """Take everything down at once."""
        for child in self._children:
            child.is_kept = False
        for child in self._children:
            if child.pid is not None and child.is_alive:
                os.kill(child.pid, signal.SIGKILL)
        for part in (self.postgres, self.kafka, self.redis):
            if part is not None:
                part.kill()

    # --- orchestrators -----------------------------------------------------------------------------------------------

    def replica(self, name: str, failpoints: str = "") -> Child:
        """Start an orchestrator, armed or not; `url_of` knows its port. Give it before it is ready."""
        port = self._ports.setdefault(name, free_port())
        words = ["server", "--child", "--port", str(port), "--database", self.postgres.url, "--kafka", self.kafka.url]
        if self.redis is not None:
            words += ["--redis", self.redis.url]
        child = next((one for one in self.replicas if one.name == name), None)
        if child is None:
            child = Child(name, "orchestrator", words, {}, self.folder)
            self.replicas.append(child)
            self._children.append(child)
        child.variables = {
            "ORCHESTRATOR_FAILPOINTS": failpoints,
            "ORCHESTRATOR_PARTITIONS": str(PARTITIONS),
            "ORCHESTRATOR_LEASE_SECONDS_DEFAULT": str(self._lease_seconds),
            "ORCHESTRATOR_LOST_ATTEMPTS_MAX": str(self._lost_attempts_max),
            # So long that no run goes, and that it is looked for such as could.
            "ORCHESTRATOR_RUNS_KEPT_SECONDS": str(KEPT_SECONDS),
            "ORCHESTRATOR_CLEANING_SECONDS": str(CLEANING_SECONDS),
        }
        child.start()
        return child

    def port_of(self, replica: Child) -> int:
        """Give the port that a replica listens on."""
        return self._ports[replica.name]

    def is_ready(self, replica: Child) -> bool:
        """Whether a replica takes requests now."""
        return replica.is_alive and status_of(self.port_of(replica)) == 200

    def wait_until_ready(self, *replicas: Child) -> None:
        """Wait for replicas; by default for all of them."""
        for replica in replicas or self.replicas:
            assert until(lambda replica=replica: self.is_ready(replica), READY_SECONDS), replica.said()[-3_000:]

    # --- workers -----------------------------------------------------------------------------------------------------

    def worker(self, name: str) -> Child:
        """Start a worker with the SDK."""
        return self._worker(name, "tests.chaos.worker", str(self._lease_seconds), str(self._slots))

    def http_worker(self, name: str, replica: Child) -> Child:
        """Start a worker with the SDK that knows one replica and no broker."""
        url = f"http://127.0.0.1:{self.port_of(replica)}"
        return self._worker(name, "tests.chaos.worker", str(self._lease_seconds), str(self._slots), url)

    def foreign_worker(self, name: str, repeats: float = 0.0) -> Child:
        """Start a worker that knows three fields."""
        return self._worker(name, "tests.chaos.foreign", str(repeats))

    def echo(self, part: float) -> Child:
        """Start a process that writes a part of all results again."""
        return self._worker("echo", "tests.chaos.echo", str(part))

    def _worker(self, name: str, module: str, *words: str) -> Child:
        variables = {
            FOLDER: str(self._journal),
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.url,
            "WORKFLOW_JOBS_TOPIC": self.topics.jobs,
            "WORKFLOW_RESULTS_TOPIC": self.topics.results,
        }
        child = Child(name, module, words, variables, self.folder)
        self.workers.append(child)
        self._children.append(child)
        child.start()
        return child

    def journal(self) -> Journal:
        """Read what workers wrote down."""
        return Journal(self._journal)

    # --- healing -----------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Let everything run again, with nothing armed."""
        for part in (self.postgres, self.kafka, self.redis):
            if part is not None:
                part.start(READY_SECONDS)
        for child in self._children:
            child.thaw()
        for replica in self.replicas:
            if replica.variables["ORCHESTRATOR_FAILPOINTS"]:
                replica.stop()
                self.replica(replica.name)
            replica.start()
        for worker in self.workers:
            worker.start()
        self.wait_until_ready()

    def ends(self) -> list[tuple[str, int]]:
        """List the processes that ended by themselves so far, and their exit codes."""
        return [(child.name, code) for child in self._children for code in child.ends]


def status_of(port: int) -> int:
    """Ask a replica whether it is ready; 0 when it does not say."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        return ask(connection, "GET", "/health/ready").status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
