"""The topics: made where they are missing, or looked for, at the start."""

from __future__ import annotations

import itertools
import logging
from time import monotonic
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.properties import without_secrets
from orchestrator.model.errors import Unavailable

_log = logging.getLogger(__name__)

_FIRST_SECONDS: Final = (1.0, 2.0, 5.0)
"""The first questions are short, so that a refusal is known soon."""
_REFUSED: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 - their names
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_RETENTION_MS: Final = {"jobs": 7 * _DAY_MS, "results": 7 * _DAY_MS, "dead_letters": 30 * _DAY_MS}
"""How long records are kept in topics that are made here; an hour in the others. A topic's own configuration says
otherwise: one that is there is left as it is."""


def prepare(config: KafkaConfig) -> dict[str, int]:
    """Make or check the topics; give the number of partitions of each. Blocks: call it on a thread.

    Raises:
        Unavailable: the cluster does not answer, a topic is missing, or may not be made.
    """
    refusals: list[KafkaError] = []
    admin = AdminClient(config.client("admin", {"error_cb": refusals.append}))
    kinds = _kinds(config)
    found = _wait_for(admin, config, refusals)
    missing = {name: kind for name, kind in kinds.items() if name not in found}
    if missing and config.mode == "check":
        raise Unavailable(f"Kafka has no topic {', '.join(missing)}; make it, or start with --topics auto")
    if missing and config.mode == "auto":
        _make(admin, config, missing)
        found = _wait_for(admin, config, refusals, set(kinds))
    return found


def find_missing(config: KafkaConfig) -> list[str]:
    """Name the topics that are not there, and make none. Blocks: call it on a thread.

    Raises:
        Unavailable: the cluster does not answer within ``start_seconds``, or refuses this client, or the client does
            not take its properties.
    """
    refusals: list[KafkaError] = []
    try:
        admin = AdminClient(config.client("admin", {"error_cb": refusals.append}))
    except (KafkaException, TypeError, ValueError) as error:
        first = error.args[0] if error.args else error
        reason = first.str() if isinstance(first, KafkaError) else str(first)
        raise Unavailable(
            f"Kafka's client does not take its properties: {without_secrets(reason, config.properties)}"
        ) from None
    found = _wait_for(admin, config, refusals)
    return [name for name in _kinds(config) if name not in found]


def _kinds(config: KafkaConfig) -> dict[str, str]:
    """Give the names of all topics, and what each is for."""
    kinds = {name: kind for kind, name in msgspec.structs.asdict(config.topics).items()}
    return kinds | dict.fromkeys(config.routes.values(), "jobs")


def _wait_for(
    admin: AdminClient,
    config: KafkaConfig,
    refusals: list[KafkaError],
    wanted: set[str] | None = None,
) -> dict[str, int]:
    """Wait until the cluster answers, and has what is wanted. One that refuses us is not asked again."""
    deadline = monotonic() + config.start_seconds
    reason = ""
    waits = False
    for seconds in itertools.chain(_FIRST_SECONDS, itertools.repeat(config.call_seconds)):
        try:
            listed = admin.list_topics(timeout=seconds)
        except KafkaException as error:
            reason = error.args[0].str()
            admin.poll(0)
            for refusal in refusals:
                reason = without_secrets(refusal.str(), config.properties)
                if refusal.code() in _REFUSED:
                    raise Unavailable(f"Kafka at {config.servers} refuses this client: {reason}") from None
            if not waits:
                _log.warning("waiting up to %g s for Kafka at %s: %s", config.start_seconds, config.servers, reason)
            waits = True
        else:
            found = {name: len(topic.partitions) for name, topic in listed.topics.items() if topic.partitions}
            if wanted is None or wanted <= found.keys():
                return found
        if monotonic() >= deadline:
            break
    raise Unavailable(f"Kafka at {config.servers} does not answer within {config.start_seconds:g} s: {reason}")


def _make(admin: AdminClient, config: KafkaConfig, missing: dict[str, str]) -> None:
    topics = [
        NewTopic(
            name,
            num_partitions=1 if kind == "control" else config.partitions,
            replication_factor=config.replication,
            config={
                "retention.ms": str(_RETENTION_MS.get(kind, _HOUR_MS)),
                "max.message.bytes": str(config.record_bytes_max),
            },
        )
        for name, kind in missing.items()
    ]
    # The client lives as long as its futures do: collected earlier, they would fail.
    for name, future in admin.create_topics(topics, request_timeout=config.call_seconds).items():
        try:
            future.result()
            _log.info("kafka: made topic %s", name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise Unavailable(f"Kafka topic {name} could not be made: {error.args[0].str()}") from None
