"""A whole installation for a benchmark: Kafka, PostgreSQL, Redis, servers and a worker, and what they cost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from cost import cpu_of, own_cpu, shared_memory_of
from run import until_connected, until_ready
from workers import command as worker_command

from stack import kafka, packages, processes
from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres
from stack.settings import Settings

HERE = Path(__file__).parent
STOP_SECONDS_MAX = 30
ASK_SECONDS_MAX = 10.0
SETTLE_SECONDS = 1.5
"""PostgreSQL's sessions tell of what they did once a second."""
_COUNTED = """
    SELECT (SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()),
        wal_sync, wal_bytes FROM pg_stat_wal"""


@dataclass(frozen=True)
class Counts:
    """What has happened so far, in all of the installation."""

    transactions: int
    flushes: int
    wal_bytes: int
    records: int
    """In all topics that jobs, results and heartbeats travel by."""
    requests: int
    """To Kafka: segments of data that it has received, which is one for each request unless that is large."""

    def since(self, earlier: Counts) -> Counts:
        """Give what has happened in between."""
        return Counts(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Installation:
    """All processes, by what they are."""

    folder: Path
    parts: dict[str, list[int]]
    """The main process of each: server, worker, kafka, postgres, redis."""
    ports: list[int]
    """Where the servers listen."""
    kafka: Kafka
    postgres: Postgres

    @contextlib.contextmanager
    def worker(self, language: str, actions: int) -> Iterator[None]:
        """Start a worker over Kafka, see it connected, and stop it when the block ends."""
        command = worker_command(language, self.kafka.url, actions)
        with _process(command, self.folder / "worker.log", {}) as worker:
            asyncio.run(until_connected(self.ports[0], worker))
            self.parts["worker"] = [worker.pid]
            yield
        self.parts["worker"] = []

    def cpu(self) -> dict[str, float]:
        """Give the CPU seconds spent so far, by part; the client is this process."""
        spent = {name: sum(map(cpu_of, _families(pids))) for name, pids in self.parts.items()}
        return {"client": own_cpu(), **spent}

    def memory(self) -> dict[str, float]:
        """Give the resident memory in MiB, by part."""
        return {name: shared_memory_of(_families(pids)) for name, pids in self.parts.items()}

    def counts(self) -> Counts:
        """Count. Takes a moment, until everybody has told what was done."""
        time.sleep(SETTLE_SECONDS)
        transactions, flushes, wal_bytes = map(int, self.postgres.execute(_COUNTED).split("|"))
        return Counts(transactions, flushes, wal_bytes, _records(self.kafka.url), _segments(self.kafka.port))


@dataclass(frozen=True)
class Services:
    """Kafka and PostgreSQL by themselves, and what else was started beside them."""

    kafka: Kafka
    postgres: Postgres
    folder: Path
    _pids: dict[str, list[int]]

    def cpu(self) -> dict[str, float]:
        """Give the CPU seconds spent so far, by part."""
        return {name: sum(map(cpu_of, _families(pids))) for name, pids in self._pids.items()}

    def make_topics(self, *names: str, partitions: int) -> None:
        """Make topics, and see them made."""
        admin = AdminClient({"bootstrap.servers": self.kafka.url})
        for made in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            made.result(ASK_SECONDS_MAX)

    @contextlib.contextmanager
    def process(self, name: str, command: list[str]) -> Iterator[None]:
        """Run a process beside them, and count it under a name."""
        with _process(command, self.folder / f"{name}.log", {}) as process:
            self._pids[name] = [process.pid]
            yield


@contextlib.contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Start Kafka and PostgreSQL, and stop them when the block ends."""
    packages.install()
    kafka.install()
    ports = {name: free_port() for name in ("KAFKA_PORT", "POSTGRES_PORT", "REDIS_PORT", "PORT")}
    broker, database, _ = Settings(folder, ports, native=True).services()
    with broker.running(), database.running():
        pids = {one.name: [] if one.pid is None else [one.pid] for one in (broker, database)}
        yield Services(broker, database, folder, pids)


@contextlib.contextmanager
def installation(folder: Path, *, actions: int, servers: int = 1, partitions: int = 12) -> Iterator[Installation]:
    """Start everything, with a worker, and stop it when the block ends."""
    with without_worker(folder, servers=servers, partitions=partitions) as at, at.worker("python", actions):
        yield at


@contextlib.contextmanager
def without_worker(folder: Path, *, servers: int = 1, partitions: int = 12) -> Iterator[Installation]:
    """Start everything but a worker, and stop it when the block ends."""
    packages.install()
    kafka.install()
    ports = {name: free_port() for name in ("KAFKA_PORT", "POSTGRES_PORT", "REDIS_PORT", "PORT")}
    settings = Settings(folder, ports, native=True)
    with ExitStack() as running:
        broker, database, cache = settings.services()
        for service in (broker, database, cache):
            running.enter_context(service.running())
        flags = [*settings.server_flags(), "--log-level", "warning"]
        places = [free_port() for _ in range(servers)]
        pids: dict[str, list[int]] = {"server": [], "worker": []}
        for port in places:
            command = [sys.executable, "-m", "orchestrator", "server", "--port", str(port), *flags]
            more = {"ORCHESTRATOR_PARTITIONS": str(partitions)}
            server = running.enter_context(_process(command, folder / f"server-{port}.log", more))
            try:
                asyncio.run(until_ready(port, server))
            except RuntimeError as error:
                raise RuntimeError(f"{error}\n{(folder / f'server-{port}.log').read_text()}") from error
            pids["server"].append(server.pid)
        for service in (broker, database, cache):
            pids[service.name] = [] if service.pid is None else [service.pid]
        yield Installation(folder, pids, places, broker, database)


@contextlib.contextmanager
def _process(command: list[str], log: Path, more: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **more}, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _families(pids: list[int]) -> list[int]:
    found = [processes.process(pid) for pid in pids]
    return [member.pid for one in found if one is not None for member in one.family()]


def _records(url: str) -> int:
    """Count the records ever written to the topics."""
    consumer = Consumer({"bootstrap.servers": url, "group.id": "bench"})
    try:
        topics = consumer.list_topics(timeout=ASK_SECONDS_MAX).topics
        places = [
            TopicPartition(name, partition)
            for name, topic in topics.items()
            if name.startswith("workflow-")
            for partition in topic.partitions
        ]
        return sum(consumer.get_watermark_offsets(place, ASK_SECONDS_MAX)[1] for place in places)
    finally:
        consumer.close()


def _segments(port: int) -> int:
    """Count the segments with data that came in at a port, over all connections that are open; 0 without `ss`."""
    try:
        shown = subprocess.run(
            ["ss", "-tinH", f"sport = :{port}"],  # noqa: S607 - from the path, like the stack's own programs
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return sum(int(word.partition(":")[2]) for word in shown.split() if word.startswith("data_segs_in:"))
