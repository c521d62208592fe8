"""What a worker says of itself."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Transport(StrEnum):
    """How a worker gets its jobs."""

    HTTP = "http"
    KAFKA = "kafka"


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in its own words: shown to people, but for the actions.

    Kept in the database while the worker lives: fields are only ever added, with a default.
    """

    transport: Transport
    actions: tuple[str, ...]
    sdk: str | None = None
    version: str | None = None
    host: str | None = None
    pid: int | None = None
    concurrency: int | None = None
    """How many jobs it runs at once."""
