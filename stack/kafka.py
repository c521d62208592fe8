"""Kafka: one broker that is its own controller (KRaft), from the jars of Maven Central."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import ClassVar

from stack import ports
from stack.daemon import Daemon
from stack.kafka_wire import Metadata
from stack.service import HOST, NotInstalled, StackError

POM = Path(__file__).parent / "pom.xml"
LIBS = Path(__file__).parent.parent / ".stack" / "kafka-libs"
"""The jars, shared by all brokers of this checkout."""

ANSWER_SECONDS_MAX = 2.0
NODE_ID = 1

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
    "node.id": str(NODE_ID),
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.partitions": "12",
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

    name: ClassVar[str] = "kafka"
    setting: ClassVar[str] = "KAFKA_PORT"

    def __init__(self, folder: Path, port: int, libs: Path = LIBS) -> None:
        super().__init__(folder, port)
        self._libs = libs

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
            return NODE_ID in Metadata.ask(HOST, self.port, ANSWER_SECONDS_MAX).brokers
        except OSError:
            return False

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
            "log.dirs": str(self._data),
            "listeners": f"PLAINTEXT://{self.url},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.url}",
            "controller.quorum.bootstrap.servers": controller,
        }

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
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        words = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._settings)]
        formatted = subprocess.run([*self._java(), *words], check=False, capture_output=True, text=True)
        if formatted.returncode != 0:
            raise StackError(f"Kafka's data folder {self._data} could not be made: {formatted.stdout}{formatted.stderr}")

    def _java(self) -> list[str]:
        java = shutil.which("java")
        if java is None or not is_copied(self._libs):
            raise NotInstalled("Kafka is not installed: make stack-install")
        return [java, *JVM, "-cp", ":".join(str(jar) for jar in sorted(self._libs.glob("*.jar")))]


def missing() -> list[str]:
    """Give the Debian packages without which it can neither be fetched nor start."""
    java = [] if shutil.which("java") else ["default-jre-headless"]
    maven = [] if is_copied(LIBS) or shutil.which("mvn") else ["maven"]
    return java + maven


def is_copied(libs: Path) -> bool:
    """Whether the jars are there, all of them and those that pom.xml names now."""
    mark = libs / "pom.sha256"
    return mark.exists() and mark.read_text() == _mark()


def copy_libs(libs: Path = LIBS) -> None:
    """Fetch the jars with Maven unless they are there; takes 10 to 60 s. Raises StackError when that fails."""
    if is_copied(libs):
        return
    maven = shutil.which("mvn")
    if maven is None:
        raise NotInstalled("mvn is not installed; on Debian or Ubuntu: sudo apt-get install maven")
    print("fetching Kafka from Maven Central ...", flush=True)
    fresh = libs.with_name(f"{libs.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [maven, "--batch-mode", "--quiet", "--file", str(POM), "dependency:copy-dependencies"]
    if not os.access(Path.home(), os.W_OK):
        command.append(f"-Dmaven.repo.local={libs.with_name('maven')}")  # no home to keep a cache in
    fetched = subprocess.run([*command, f"-DoutputDirectory={fresh}"], check=False, capture_output=True, text=True)
    if fetched.returncode != 0:
        raise StackError(f"Maven could not fetch Kafka:\n{fetched.stdout}{fetched.stderr}")
    (fresh / "pom.sha256").write_text(_mark())
    shutil.rmtree(libs, ignore_errors=True)
    fresh.rename(libs)


def _mark() -> str:
    return hashlib.sha256(POM.read_bytes()).hexdigest()
