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

PORTS_FILE = "ports"


@dataclass(frozen=True)
class Settings:
    """Where the services of this checkout are, and whether Docker may run them."""

    folder: Path
    """What they keep, each in a folder of its own."""
    ports: dict[str, int]
    native: bool
    """Whether Docker is left alone even where it answers."""

    def services(self) -> tuple[Kafka, Postgres, Redis]:
        """Give the three, started or not."""
        return (
            Kafka(self.folder / "kafka", self.ports["KAFKA_PORT"]),
            Postgres(self.folder / "postgres", self.ports["POSTGRES_PORT"]),
            Redis(self.folder / "redis", self.ports["REDIS_PORT"]),
        )

    def remember(self) -> None:
        """Let later commands use the same ports unless they are told others."""
        (self.folder / PORTS_FILE).write_text("".join(f"{name}={port}\n" for name, port in self.ports.items()))

    def forget(self) -> None:
        """Go back to the default ports."""
        (self.folder / PORTS_FILE).unlink(missing_ok=True)

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
    folder = Path(environment.get("STACK_FOLDER", "") or FOLDER)
    known = {**PORTS, **_remembered(folder)}
    return Settings(folder, {name: _port(environment, name, known[name]) for name in PORTS}, native=chosen == "native")


def _remembered(folder: Path) -> dict[str, int]:
    try:
        pairs = [line.partition("=") for line in (folder / PORTS_FILE).read_text().splitlines()]
    except FileNotFoundError:
        return {}
    return {name: int(port) for name, _, port in pairs if port.isdecimal()}


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "") or str(default)
    if not text.isdecimal() or not 0 < int(text) <= 65_535:
        raise StackError(f"{name}={text}: a port is a number from 1 to 65535")
    return int(text)
