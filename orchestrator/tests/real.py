"""The real PostgreSQL, Kafka and Redis for tests: started when first asked for, stopped when the session ends.

POSTGRES_URL, KAFKA_BOOTSTRAP_SERVERS and REDIS_URL name servers to use instead. A test that kills or freezes a server
takes a private one from `stack`; see `stack/service.py`.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from stack.kafka import Kafka
from stack.ports import free_port
from stack.postgres import Postgres, program
from stack.redis import Redis

STATEMENT_SECONDS_MAX = 30.0
ADMIN_SECONDS_MAX = 30.0
EMPTY = "template1"


class Cluster:
    """A PostgreSQL server whose user may create databases."""

    def __init__(self, url: str) -> None:
        self.url = url
        """A database that is always there."""
        self._templates: dict[str, str] = {}

    def create(self, template: str = EMPTY) -> str:
        """Make a database that is a copy of another, by default an empty one; give its URL. Takes about 50 ms."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Drop a database that `create` made, whoever is connected to it."""
        self._execute(f"DROP DATABASE IF EXISTS {database_of(url)} WITH (FORCE)")

    def template(self, key: str, prepare: Callable[[str], None]) -> str:
        """Make a database once that `prepare` fills, given its URL; give its name for `create`.

        `prepare` must close its connections: PostgreSQL copies no database that is in use.
        """
        if key not in self._templates:
            url = self.create()
            prepare(url)
            self._templates[key] = database_of(url)
        return self._templates[key]

    def url_of(self, database: str) -> str:
        """Give the URL of a database of this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    def close(self) -> None:
        """Drop the templates: the server may be somebody's own."""
        for name in self._templates.values():
            self.drop(self.url_of(name))

    def _execute(self, statement: str) -> None:
        command = [program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.url, "-c", statement]
        subprocess.run(command, check=True, capture_output=True, timeout=STATEMENT_SECONDS_MAX)


class Real:
    """The real servers of a test session. The first call of each method starts a server, which takes 1 to 3 s."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self._clusters: dict[bool, Cluster] = {}
        self._kafka = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "")
        self._redis = os.environ.get("REDIS_URL", "")

    def postgres(self, *, durable: bool = False) -> Cluster:
        """Give a cluster; one that is not `durable` flushes nothing to disk: faster, and safe against kill -9."""
        if durable not in self._clusters:
            self._clusters[durable] = cluster = Cluster(self._postgres_url(durable=durable))
            self._running.callback(cluster.close)
        return self._clusters[durable]

    def kafka(self) -> str:
        """Give the bootstrap servers of a broker that takes any topic."""
        if not self._kafka:
            self._kafka = self._running.enter_context(Kafka(self._folder / "kafka", free_port()).running()).url
        return self._kafka

    def redis(self) -> str:
        """Give the URL of a Redis."""
        if not self._redis:
            self._redis = self._running.enter_context(Redis(self._folder / "redis", free_port()).running()).url
        return self._redis

    def close(self) -> None:
        """Stop what was started."""
        self._running.close()

    def _postgres_url(self, *, durable: bool) -> str:
        named = os.environ.get("POSTGRES_URL", "")
        if named:
            return named
        folder = self._folder / f"postgres-{'durable' if durable else 'fast'}"
        return self._running.enter_context(Postgres(folder, free_port(), durable=durable).running()).url


def database_of(url: str) -> str:
    """Give the name of the database in a URL."""
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The real servers; nothing is started until a method asks for it."""
    servers = Real(tmp_path_factory.mktemp("real"))
    yield servers
    servers.close()


@pytest.fixture
def fresh_database(real: Real) -> Iterator[Callable[..., str]]:
    """Call it for the URL of a new database: empty, or with `template=` a copy; `durable=True` for one that flushes.

    It is dropped after the test.
    """
    made: list[tuple[Cluster, str]] = []

    def make(*, template: str = EMPTY, durable: bool = False) -> str:
        cluster = real.postgres(durable=durable)
        url = cluster.create(template)
        made.append((cluster, url))
        return url

    yield make
    for cluster, url in made:
        cluster.drop(url)


@pytest.fixture
def fresh_topics(real: Real) -> Iterator[Callable[[], str]]:
    """Call it for a prefix with which no topic or consumer group of the broker begins.

    What begins so is dropped after the test: a broker that kept all of it would be slower with every test.
    """
    made: list[str] = []

    def make() -> str:
        made.append(f"t{uuid.uuid4().hex[:8]}-")
        return made[-1]

    yield make
    if made:
        drop_topics(real.kafka(), tuple(made))


def drop_topics(servers: str, prefixes: tuple[str, ...]) -> None:
    """Drop the topics and groups that begin so; a group that has members yet stays, and is harmless."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    topics = [name for name in admin.list_topics(timeout=ADMIN_SECONDS_MAX).topics if name.startswith(prefixes)]
    listed = admin.list_consumer_groups(request_timeout=ADMIN_SECONDS_MAX).result().valid or ()
    groups = [group.group_id for group in listed if group.group_id.startswith(prefixes)]
    dropped = [
        *(admin.delete_consumer_groups(groups, request_timeout=ADMIN_SECONDS_MAX).values() if groups else ()),
        *(admin.delete_topics(topics, request_timeout=ADMIN_SECONDS_MAX).values() if topics else ()),
    ]
    for answer in dropped:
        with suppress(KafkaException):
            answer.result()
