"""The real servers of the session; see `tests.real`."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stack.kafka_wire import Metadata
from stack.postgres import program
from tests.real import Real, database_of, drop_topics

SECONDS_MAX = 10.0


def query(url: str, statement: str) -> str:
    command = [program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS_MAX).stdout.strip()


def test_each_fresh_database_is_empty_and_its_own(fresh_database: Callable[..., str]) -> None:
    one, other = fresh_database(), fresh_database()
    query(one, "CREATE TABLE mine (value int)")
    count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert (query(one, count), query(other, count)) == ("1", "0")


def test_a_template_is_filled_once_and_copied(real: Real, fresh_database: Callable[..., str]) -> None:
    filled: list[str] = []

    def fill(url: str) -> None:
        filled.append(url)
        query(url, "CREATE TABLE ready AS SELECT 7 AS value")

    for _ in range(2):
        url = fresh_database(template=real.postgres().template("ready", fill))
        assert query(url, "SELECT value FROM ready") == "7"
    assert len(filled) == 1


def test_databases_are_dropped_after_the_test_even_with_sessions(real: Real) -> None:
    cluster = real.postgres()
    url = cluster.create()
    command = [program("psql"), "-XAtq", "-d", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write(b"SELECT 'connected';\n")
        session.stdin.flush()
        assert session.stdout.readline() == b"connected\n"
        cluster.drop(url)
        session.kill()
    assert query(cluster.url, f"SELECT count(*) FROM pg_database WHERE datname = '{database_of(url)}'") == "0"


def test_the_session_has_one_broker_and_one_redis(real: Real) -> None:
    assert real.kafka() == real.kafka()
    host, _, port = real.kafka().rpartition(":")
    assert Metadata.ask(host, int(port), SECONDS_MAX).brokers
    redis = urlsplit(real.redis())
    with socket.create_connection((redis.hostname or "", redis.port or 0), SECONDS_MAX) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(64) == b"+PONG\r\n"


def test_topics_never_meet(fresh_topics: Callable[[], str]) -> None:
    assert fresh_topics() != fresh_topics()


def test_topics_and_groups_of_a_prefix_are_dropped_and_no_others(real: Real, fresh_topics: Callable[[], str]) -> None:
    mine, other = fresh_topics(), fresh_topics()
    admin = AdminClient({"bootstrap.servers": real.kafka()})
    for prefix in (mine, other):
        admin.create_topics([NewTopic(f"{prefix}jobs", 3)])[f"{prefix}jobs"].result(SECONDS_MAX)
        consumer = Consumer({"bootstrap.servers": real.kafka(), "group.id": f"{prefix}readers"})
        consumer.commit(offsets=[TopicPartition(f"{prefix}jobs", 0, 0)], asynchronous=False)
        consumer.close()
    drop_topics(real.kafka(), (mine,))
    topics = admin.list_topics(timeout=SECONDS_MAX).topics
    groups = {group.group_id for group in admin.list_consumer_groups().result().valid or ()}
    assert (f"{mine}jobs" in topics, f"{other}jobs" in topics) == (False, True)
    assert (f"{mine}readers" in groups, f"{other}readers" in groups) == (False, True)


def test_servers_of_the_environment_are_used_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_URL", "postgresql://somebody@db:5432/theirs")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/1")
    servers = Real(tmp_path)
    assert servers.postgres().url == servers.postgres(durable=True).url == "postgresql://somebody@db:5432/theirs"
    assert servers.postgres().url_of("other") == "postgresql://somebody@db:5432/other"
    assert (servers.kafka(), servers.redis()) == ("broker:9092", "redis://cache:6379/1")
    servers.close()
    assert list(tmp_path.iterdir()) == []
