"""Native properties of the Kafka client: which people may set, what they are called elsewhere, what is secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_OFFSETS: Final = "offsets follow the commit of the database, or results would be lost"
_WHOLE: Final = "an acknowledged job must be on every copy, once"
_GROUP: Final = "all processes share one group, so that each result comes to one of them"
_WAITS: Final = "the limit kafka_delivery_seconds says it, and other waits are made of it"
_ELSEWHERE: Final = "the setting kafka says where the brokers are"

REFUSED: Final[Mapping[str, str]] = {
    "acks": _WHOLE,
    "auto.commit.enable": _OFFSETS,
    "auto.offset.reset": "a new group begins with the first result, or results would be passed over",
    "bootstrap.servers": _ELSEWHERE,
    "delivery.timeout.ms": _WAITS,
    "enable.auto.commit": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "enable.idempotence": _WHOLE,
    "enable.partition.eof": "the end of a partition is no error",
    "group.id": _GROUP,
    "message.timeout.ms": _WAITS,
    "metadata.broker.list": _ELSEWHERE,
    "request.required.acks": _WHOLE,
    "transactional.id": "the transaction is the database's",
}
"""What correctness rests on, and nobody may set; with the reason."""

VARIABLES: Final[Mapping[str, str]] = {
    "KAFKA_SECURITY_PROTOCOL": "security.protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "sasl.username",
    "KAFKA_SASL_PASSWORD": "sasl.password",
    "KAFKA_SSL_CA": "ssl.ca.location",
    "KAFKA_SSL_CERT": "ssl.certificate.location",
    "KAFKA_SSL_KEY": "ssl.key.location",
}
"""The names that other programs have for the same things, workers among them."""
PASSWORD_FILE: Final = "KAFKA_SASL_PASSWORD_FILE"  # noqa: S105 - the name of a variable
VARIABLE_PREFIX: Final = "KAFKA_PROP_"

_UNDERSCORED: Final = {"log.level": "log_level"}
"""The only native names that are not made of dots."""
_SECRET: Final = re.compile(r"password|secret|pem$|token|oauthbearer\.config")
_SHORT: Final = 3
"""A secret of so few characters would be found in any text."""
_CLASSIC: Final = frozenset({"partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"})
"""What the client does not take together with the newer protocol of groups: the broker decides it there."""


def native_name(variable: str) -> str:
    """Read the name of a property in what follows `VARIABLE_PREFIX`."""
    name = variable.lower().replace("_", ".")
    return _UNDERSCORED.get(name, name)


def refusal(name: str) -> str | None:
    """Say why a property may not be set; None when it may."""
    why = REFUSED.get(name)
    return None if why is None else f"the Kafka property {name} cannot be set: {why}"


def without_secrets(text: str, properties: Mapping[str, str]) -> str:
    """Give a text in which no secret of the properties is left."""
    for name, value in properties.items():
        if _SECRET.search(name) and len(value) > _SHORT:
            text = text.replace(value, "***")
    return text


def merged(ours: Mapping[str, object], theirs: Mapping[str, str]) -> dict[str, object]:
    """Put both together; theirs win."""
    if theirs.get("group.protocol") == "consumer":
        ours = {name: value for name, value in ours.items() if name not in _CLASSIC}
    return {**ours, **theirs}
