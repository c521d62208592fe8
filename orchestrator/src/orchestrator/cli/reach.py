"""The doctor looks at what the settings name: whether the database and the brokers can be reached from here."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.cli.finding import Check

if TYPE_CHECKING:
    from orchestrator.settings import Settings

REACH_SECONDS: Final = 5.0
"""How long a part may take to answer."""


def check_parts(config: Path | None) -> list[Check]:
    """Make the checks of what a server here would be told to use; none where it needs nothing."""
    from orchestrator.settings import SettingsError, load_settings

    try:
        settings = load_settings({}, os.environ, config)
    except SettingsError as error:
        return [Check("settings", "FAIL", str(error), "docs/configuration.md lists what there is")]
    checks: list[Check] = []
    if settings.database:
        checks.append(_database(settings))
    if settings.kafka:
        checks.append(_kafka(settings))
    return checks


def _database(settings: Settings) -> Check:
    from orchestrator.adapters.postgres.connect import connect
    from orchestrator.model.errors import StoreNotUsable

    async def look() -> None:
        connection = await connect(settings.database, REACH_SECONDS)
        await connection.close()

    try:
        asyncio.run(look())
    except StoreNotUsable as error:
        fix = "look at `database`, and whether the server is up and lets this user in"
        return Check("database", "FAIL", f"{settings.place}: {error}", fix)
    return Check("database", "OK", settings.place)


def _kafka(settings: Settings) -> Check:
    from msgspec.structs import replace

    from orchestrator.adapters.kafka.topics import find_missing
    from orchestrator.bootstrap import kafka_config
    from orchestrator.model.errors import Unavailable

    try:
        missing = find_missing(kafka_config(replace(settings, start_seconds=REACH_SECONDS)))
    except Unavailable as error:
        return Check("kafka", "FAIL", str(error), "look at `kafka` and its properties, and whether the brokers are up")
    if not missing:
        return Check("kafka", "OK", f"{settings.kafka} has all topics")
    found = f"{settings.kafka} has no topic {', '.join(missing)}"
    if settings.topics == "auto":
        return Check("kafka", "OK", f"{found} yet: the server makes them")
    return Check("kafka", "FAIL", found, "make them, or start with --topics auto")
