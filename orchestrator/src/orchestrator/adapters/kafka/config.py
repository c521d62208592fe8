"""How the cluster is reached, and what each client is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import astuple

from orchestrator.adapters.kafka.properties import merged, refusal
from orchestrator.model.limits import Limits
from orchestrator.model.topics import TOPICS, Topics

GROUP: Final = "workflow-orchestrator"
"""The consumer group of all processes of the orchestrator; that of their reading of a topic is ``<group>.<topic>``."""
WORKER_GROUP_PREFIX: Final = "workflow-worker."
"""Consumer groups of SDK workers: this, and the action."""

# What a person may have to change is a limit (`model.limits`) or a native property of the client. These are neither.
LETTER_DELIVERY_SECONDS: Final = 10
"""How long the record of a dead letter may wait for its acknowledgement; it is then looked for, and written again.
Fixed: that no two processes write it rests on it (`ports.broker.LETTER_SECONDS`)."""
COMMIT_SECONDS: Final = 0.1
"""How often offsets are committed at most: less often would bring more records twice after a crash, and more often
costs the cluster a request each time."""
SESSION_SECONDS: Final = 10
"""How long a silent process keeps its partitions, unless ``session.timeout.ms`` says otherwise."""
PREFETCH_KIB: Final = 16 * 1024
"""Records fetched ahead, for each partition's queue together, unless ``queued.max.messages.kbytes`` says otherwise."""
_LIMITS: Final = Limits()


class KafkaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and its topics."""

    servers: str
    """Addresses, with commas."""
    topics: Topics = TOPICS
    mode: Literal["auto", "check", "off"] = "auto"
    """Whether missing topics are made at the start, are an error, or are not looked for."""
    start_seconds: float = 30.0
    """How long a start waits for the cluster."""
    partitions: int = 12
    """Partitions of a topic that is made here."""
    replication: int = -1
    """Copies of a topic that is made here; -1 takes the cluster's default."""
    properties: Mapping[str, str] = {}
    """Any property of the native client, such as ``security.protocol``; see `properties` for those that are refused."""
    routes: Mapping[str, str] = {}
    """Actions whose jobs go to a topic of their own, and its name. Workers have to know it too."""
    prefix: str = ""
    """Put before the names of consumer groups, as it is before those of topics."""
    call_seconds: float = _LIMITS.kafka_call_seconds
    """See `Limits.kafka_call_seconds`, and so on."""
    delivery_seconds: float = _LIMITS.kafka_delivery_seconds
    record_bytes_max: int = _LIMITS.kafka_record_bytes_max
    records_max: int = _LIMITS.kafka_records_max

    @property
    def group(self) -> str:
        """What the consumer groups of the orchestrator begin with."""
        return self.prefix + GROUP

    def topic_of(self, action: str) -> str:
        """Give the topic that an action's jobs go to."""
        return self.routes.get(action, self.topics.jobs)

    @property
    def worker_groups(self) -> str:
        """What the consumer groups of SDK workers begin with; the action follows."""
        return self.prefix + WORKER_GROUP_PREFIX

    def __post_init__(self) -> None:
        for name in self.properties:
            if (why := refusal(name)) is not None:
                raise ValueError(why)
        for action, topic in self.routes.items():
            if topic in astuple(self.topics):
                raise ValueError(f"the action {action!r} cannot have {topic} to itself: it has its use already")

    def __repr__(self) -> str:
        """Leave the properties out: passwords are among them."""
        return f"KafkaConfig({self.servers!r}, prefix={self.prefix!r})"

    def client(self, name: str, more: Mapping[str, object]) -> dict[str, Any]:
        """Give the configuration of a client."""
        ours = {
            "bootstrap.servers": self.servers,
            "client.id": f"orchestrator-{name}",
            "log_level": 3,
            **more,
        }
        return merged(ours, self.properties)
