"""What the environment says about the stack of this checkout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.kafka import Kafka
from stack.postgres import Postgres
from stack.redis import Redis
from stack.service import StackError

CHECKOUT = Path(__file__).parent.parent
FOLDER = CHECKOUT / ".stack"
PORTS = {"KAFKA_PORT": 19_092, "POSTGRES_PORT": 15_432, "REDIS_PORT": 16_379, "PORT": 8_080}
"""The ports' variables and defaults: none is the service's usual one, which may be taken."""


@dataclass(frozen=True)
class Settings:
    """Where the services of this checkout are, and whether Docker may run them."""

    ports: dict[str, int]
    native: bool
    """Whether Docker is left alone even where it answers."""

    def services(self) -> tuple[Kafka, Postgres, Redis]:
        """Give the three, started or not."""
        return (
            Kafka(FOLDER / "kafka", self.ports["KAFKA_PORT"]),
            Postgres(FOLDER / "postgres", self.ports["POSTGRES_PORT"]),
            Redis(FOLDER / "redis", self.ports["REDIS_PORT"]),
        )

    def server_flags(self) -> list[str]:
        """Give the flags with which `orchestrator server` uses the three."""
        kafka, postgres, redis = self.services()
        return ["--database", postgres.url, "--kafka", kafka.url, "--redis", redis.url]

    def environment(self) -> dict[str, str]:
        """Give the variables that docker-compose.yaml reads, with those of this process."""
        return {**os.environ, **{name: str(port) for name, port in self.ports.items()}}


def read(environment: Mapping[str, str]) -> Settings:
    """Read the environment. Raises StackError when a value makes no sense."""
    chosen = environment.get("STACK", "")
    if chosen not in ("", "native"):
        raise StackError(f"STACK={chosen}: only STACK=native has a meaning")
    return Settings({name: _port(environment, name, default) for name, default in PORTS.items()}, chosen == "native")


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "") or str(default)
    if not text.isdecimal() or not 0 < int(text) <= 65_535:
        raise StackError(f"{name}={text}: a port is a number from 1 to 65535")
    return int(text)
