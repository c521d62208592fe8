"""Kafka: one broker that is its own controller (KRaft), from the jars of Maven Central."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import ClassVar

from stack import ports
from stack.daemon import Daemon
from stack.kafka_libs import LIBS, Libs
from stack.kafka_wire import Metadata
from stack.service import HOST, NotInstalled, StackError

ANSWER_SECONDS_MAX = 1.0

JVM = (
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",  # the smallest; pauses stay short with a heap of this size
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

SETTINGS = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.partitions": "12",
    # For a few clients on a small machine: more threads do no more, and a request changes hands more often.
    "num.network.threads": "1",
    "num.io.threads": "2",
    # One broker holds the only copy.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Made for clusters of hundreds of groups; each partition costs files and memory.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # A group of one worker need not wait for others to join.
    "group.initial.rebalance.delay.ms": "0",
    # After a crash the broker is let in again when its old session is over: after 9 s otherwise.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # A third of the heap otherwise.
    "log.cleaner.dedupe.buffer.size": "2097152",
    # A small disk is enough: 128 MiB or a week for each partition, whichever is less.
    "log.segment.bytes": str(16 * 1024 * 1024),
    "log.retention.bytes": str(128 * 1024 * 1024),
}


class Kafka(Daemon):
    """One broker. It makes topics that clients ask for, with 12 partitions."""

    name = "kafka"
    setting: ClassVar[str] = "KAFKA_PORT"

    def __init__(self, folder: Path, port: int, libs: Libs = LIBS, node_id: int = 1) -> None:
        super().__init__(folder, port)
        self._libs = libs
        self._node_id = node_id

    @property
    def url(self) -> str:
        """As Kafka clients want it: `host:port`, the bootstrap server."""
        return f"{HOST}:{self.port}"

    def prepare(self) -> list[str]:
        """See `Daemon.prepare`."""
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        if not (self._data / "meta.properties").exists():
            self._format()
        return [*self._java(), "kafka.Kafka", str(self._settings)]

    def answers(self) -> bool:
        """Whether it names itself as a broker that takes requests."""
        try:
            return self._node_id in Metadata.ask(HOST, self.port, ANSWER_SECONDS_MAX).brokers
        except OSError:
            return False

    @property
    def jvm(self) -> tuple[str, ...]:
        """The options of Java. An archive that does not fit this Java is ignored by it."""
        options = (*JVM, *os.environ.get("KAFKA_JVM", "").split())
        archive = self._libs.archive
        return (*options, f"-XX:SharedArchiveFile={archive}", "-Xlog:disable") if archive.exists() else options

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    def _properties(self) -> dict[str, str]:
        controller = f"{HOST}:{self._controller_port()}"
        return {
            **SETTINGS,
            "node.id": str(self._node_id),
            "log.dirs": str(self._data),
            "listeners": f"PLAINTEXT://{self.url},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.url}",
            **self._quorum(controller),
        }

    def _quorum(self, controller: str) -> dict[str, str]:
        """Say who the controllers are; ``controller`` is where this one is."""
        return {"controller.quorum.bootstrap.servers": controller}

    def _controller_port(self) -> int:
        """Give the port on which the broker talks to itself: the one of last time if it can be had.

        Another one works too, but then the start takes seconds longer, until the cluster has noted it.
        """
        memory = self.folder / "controller.port"
        known = memory.read_text().strip() if memory.exists() else ""
        port = int(known) if known.isdecimal() and ports.is_free(int(known)) else ports.free_port()
        memory.write_text(f"{port}\n")
        return port

    def _format(self) -> None:
        """Make the data folder of a new cluster. One that was cut short is made again."""
        shutil.rmtree(self._data, ignore_errors=True)
        words = ["kafka.tools.StorageTool", "format", *self._format_options(), "-c", str(self._settings)]
        formatted = subprocess.run([*self._java(), *words], check=False, capture_output=True, text=True)
        if formatted.returncode != 0:
            raise StackError(
                f"Kafka's data folder {self._data} could not be made: {formatted.stdout}{formatted.stderr}"
            )

    def _format_options(self) -> list[str]:
        # With "=": one id in 64 begins with a dash, and would be taken for an option.
        return ["--standalone", f"--cluster-id={new_cluster_id()}"]

    def _java(self) -> list[str]:
        java = shutil.which("java")
        if java is None or not self._libs.are_copied():
            raise NotInstalled("Kafka is not installed: make stack-install")
        return [java, *self.jvm, "-cp", self._libs.class_path()]


def new_cluster_id() -> str:
    """Give the name of a cluster that nobody else has."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


class Rehearsal(Kafka):
    """A start and a stop, so that Java keeps the classes that these take and all further starts are shorter."""

    @property
    def jvm(self) -> tuple[str, ...]:
        """See `Kafka.jvm`."""
        return (*JVM, f"-XX:ArchiveClassesAtExit={self._libs.archive}", "-Xlog:disable")


def install(libs: Libs = LIBS) -> None:
    """Fetch the jars unless they are there, and rehearse; takes 15 to 60 s. Raises StackError when that fails."""
    if libs.are_complete():
        return
    print("fetching Kafka from Maven Central ...", flush=True)
    libs.fetch()
    with tempfile.TemporaryDirectory() as folder, Rehearsal(Path(folder), ports.free_port(), libs).running():
        pass
    libs.complete()
