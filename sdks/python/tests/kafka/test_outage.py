"""A broker that goes away: a private one, since the others are still needed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.stage import Stage
from workersdk import Context, Worker

LIBRARIES = Path(os.environ.get("KAFKA_LIBS") or "/tmp/m/stack-shared/kafka-libs")
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=1000
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker from the jars, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port = free_port()
        self.servers = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        self._properties.write_text(PROPERTIES.format(port=port, controller=free_port(), folder=folder))
        self._process: subprocess.Popen[bytes] | None = None
        self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c").wait(30)

    def start(self) -> None:
        self._process = self._java("kafka.Kafka")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def _java(self, *command: str) -> subprocess.Popen[bytes]:
        memory = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["java", *memory, "-cp", f"{LIBRARIES}/*", *command, str(self._properties)], stdout=log, stderr=log
            )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("java") is None or not LIBRARIES.exists():
        pytest.skip("a private broker needs java and its jars, whose folder KAFKA_LIBS names")
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.mark.timeout(60)
async def test_a_broker_that_comes_late_and_restarts(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker says each outage once, and goes on by itself.

    A job in hand is told to stop when nobody has heard of it for a lease; the result that it has all the same arrives.
    """
    caplog.set_level(logging.INFO, "workersdk")
    stage = Stage(broker.servers)
    for variable, value in stage.environment.items():
        monkeypatch.setenv(variable, value)
    act = stage.action("act")
    fenced: list[bool] = []
    worker = Worker(lease=3)

    @worker.register(act)
    async def handle(payload: object, context: Context) -> object:
        if payload == "long":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                fenced.append(context.cancelled)
        return payload

    def told(text: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if text in record.getMessage()]

    task = asyncio.create_task(worker.run(stage.servers))
    await stage.until(lambda: told("cannot reach"))
    broker.start()
    with stage:
        await stage.until(lambda: told("connected to"))
        long = stage.give(act, "long")
        await stage.until(lambda: stage.named(long))
        broker.stop()
        await stage.until(lambda: told("lost kafka://"))
        await stage.until(lambda: fenced)
        broker.start()
        assert (await stage.result_of(long))["status"] == "completed"
        await stage.until(lambda: told("connected again"))
        for number in range(8):
            assert (await stage.result_of(stage.give(act, number, partition=number % 4)))["result"] == number
        assert not task.done()
        worker.stop()
        await asyncio.wait_for(task, 10)
    assert set(stage.counts().values()) == {1}
    assert fenced == [True]
    assert [len(told(text)) for text in ("cannot reach", "connected to", "lost", "connected again")] == [1, 1, 1, 1]
