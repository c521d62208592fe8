"""Everything that can be set about Kafka, read once, before the first connection.

Rule 1: a name that is set nearer to the program wins: our default, the environment, `Worker(kafka={...})`.
Rule 2: what the worker's promises rest on cannot be set.
Rule 3: a secret is in the properties and nowhere else: no `repr`, no log line, no error holds a value of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from workersdk.errors import SettingError
from workersdk.kafka.quiet import Quiet

PROPERTY_PREFIX: Final = "KAFKA_PROP_"
PREFIX_VARIABLE: Final = "WORKFLOW_KAFKA_PREFIX"
ROUTES_VARIABLE: Final = "WORKFLOW_ROUTES"
GROUP_PREFIX: Final = "workflow-worker."
LEASE_S_DEFAULT: Final = 30.0

# What the worker's promises rest on: offsets ahead of execution, one group for an action, results that are not lost.
OWN: Final = frozenset(
    {
        "acks",
        "auto.commit.enable",
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "partitioner",
        "request.required.acks",
        "transactional.id",
    }
)

_COMMON: Final[Mapping[str, Any]] = {
    # A broker that restarts is found again within two seconds.
    "reconnect.backoff.ms": 100,
    "reconnect.backoff.max.ms": 2_000,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 30_000,
    "enable.metrics.push": False,
}
_CONSUMER: Final[Mapping[str, Any]] = {
    "session.timeout.ms": 10_000,
    "heartbeat.interval.ms": 1_000,
    "max.poll.interval.ms": 300_000,
    "socket.timeout.ms": 10_000,
    "fetch.min.bytes": 1,
    "fetch.wait.max.ms": 100,
    # How long a full buffer holds back the next fetch: the default of a second would be felt.
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 4_096,
}
_PRODUCER: Final[Mapping[str, Any]] = {
    "linger.ms": 0,
    "compression.type": "lz4",
    "delivery.timeout.ms": 120_000,
    # The broker's limit decides, not the client's; a result is at most 2 MiB.
    "message.max.bytes": 4 * 1024 * 1024,
}
_PRODUCER_OF_MANY: Final[Mapping[str, Any]] = {**_PRODUCER, "linger.ms": 1}
_OWN_CONSUMER: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "partition.assignment.strategy": "roundrobin",
    "auto.offset.reset": "latest",
}
_OWN_PRODUCER: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
}

# The names that other programs have for the same things.
_VARIABLES: Final = {
    "KAFKA_SECURITY_PROTOCOL": "security.protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "sasl.username",
    "KAFKA_SASL_PASSWORD": "sasl.password",
    "KAFKA_SSL_CA": "ssl.ca.location",
}
_PASSWORD_FILE: Final = "KAFKA_SASL_PASSWORD_FILE"
# The only native names that are not made of dots.
_UNDERSCORED: Final = {"log.level": "log_level"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """The four topics that a worker and the orchestrator share."""

    jobs: str = "workflow-jobs"
    results: str = "workflow-results"
    heartbeats: str = "workflow-heartbeats"
    control: str = "workflow-control"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Topics:
        """Read WORKFLOW_JOBS_TOPIC, WORKFLOW_RESULTS_TOPIC, WORKFLOW_HEARTBEATS_TOPIC and WORKFLOW_CONTROL_TOPIC.

        What they leave out has its usual name, after WORKFLOW_KAFKA_PREFIX.
        """
        prefix = environment.get(PREFIX_VARIABLE, "")
        usual = cls()
        return cls(
            **{
                name: environment.get(f"WORKFLOW_{name.upper()}_TOPIC", "") or prefix + getattr(usual, name)
                for name in cls.__slots__
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConfig:
    """How one worker uses Kafka.

    `servers`: `host:port`, several with commas. `properties`: native ones of librdkafka, with the secrets.
    `is_strict`: wait for the commit before each execution, and not only after an assignment.
    `routes`: actions whose jobs come on a topic of their own. `prefix`: what the names of groups begin with.
    """

    servers: str
    topics: Topics = Topics()
    routes: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    is_strict: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def address(self) -> str:
        """Where the brokers are, for log lines."""
        return f"kafka://{self.servers}"

    @property
    def session_s(self) -> float:
        """How many seconds a group waits for a member that gives no sign of life."""
        return float({**_CONSUMER, **self.properties}["session.timeout.ms"]) / 1_000

    def topic_of(self, action: str) -> str:
        """Return the topic that the jobs of an action come on."""
        return self.routes.get(action, self.topics.jobs)

    def group_of(self, action: str) -> str:
        """Return the consumer group of all workers of an action."""
        return self.prefix + GROUP_PREFIX + action

    def consumer(self, client_id: str, group: str, quiet: Quiet) -> dict[str, Any]:
        """Return the configuration of a consumer. `group.id` is asked for also where no group is joined."""
        own = {**_OWN_CONSUMER, "group.id": group}
        return self._merge(client_id, _CONSUMER, own, quiet)

    def producer(self, client_id: str, quiet: Quiet) -> dict[str, Any]:
        """Return the configuration of the producer."""
        return self._merge(client_id, _PRODUCER, _OWN_PRODUCER, quiet)

    def producer_of_many(self, client_id: str, quiet: Quiet) -> dict[str, Any]:
        """Return the configuration of the producer of results that go out many at once."""
        return self._merge(client_id, _PRODUCER_OF_MANY, _OWN_PRODUCER, quiet)

    def _merge(
        self, client_id: str, defaults: Mapping[str, Any], own: Mapping[str, Any], quiet: Quiet
    ) -> dict[str, Any]:
        return {
            "client.id": client_id,
            **_COMMON,
            **defaults,
            **self.properties,
            **own,
            "bootstrap.servers": self.servers,
            "logger": quiet,
            "error_cb": quiet.heard,
        }


def read_config(
    servers: str,
    settings: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    is_strict: bool,
    routes: Mapping[str, str] | None = None,
) -> KafkaConfig:
    """Put together what the environment and `Worker(kafka=...)` say. Raises `SettingError`."""
    properties: dict[str, Any] = {
        native: environment[variable] for variable, native in _VARIABLES.items() if environment.get(variable)
    }
    if path := environment.get(_PASSWORD_FILE):
        properties["sasl.password"] = _read_secret(path)
    for variable, value in environment.items():
        if variable.startswith(PROPERTY_PREFIX):
            name = variable[len(PROPERTY_PREFIX) :].lower().replace("_", ".")
            properties[refuse_own(_UNDERSCORED.get(name, name), variable)] = value
    for name, value in settings.items():
        properties[refuse_own(name, "Worker(kafka=...)")] = value
    prefix = environment.get(PREFIX_VARIABLE, "")
    chosen = {**_read_routes(environment.get(ROUTES_VARIABLE, "")), **(routes or {})}
    return KafkaConfig(
        servers=servers,
        topics=Topics.from_environment(environment),
        routes={action: prefix + topic for action, topic in chosen.items()},
        prefix=prefix,
        is_strict=is_strict,
        properties=properties,
    )


def _read_routes(text: str) -> dict[str, str]:
    """Read `action=topic`, with commas between them."""
    routes: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        action, equals, topic = (part.strip() for part in pair.rpartition("="))
        if not (action and equals and topic):
            raise SettingError(f"{ROUTES_VARIABLE}: {pair!r} is not action=topic")
        routes[action] = topic
    return routes


def refuse_own(name: str, where: str) -> str:
    """Return the name of a property that may be set. Raises `SettingError` for the worker's own."""
    if name in OWN:
        raise SettingError(
            f"{where}: the Kafka property {name} is the worker's own and cannot be set: its promises rest on it"
        )
    return name


def _read_secret(path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{_PASSWORD_FILE}: {path} cannot be read: {type(error).__name__}") from None
