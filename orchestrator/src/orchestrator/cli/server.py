"""``orchestrator server``."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli import output
from orchestrator.cli.failure import Failure

if TYPE_CHECKING:
    from orchestrator.settings import Settings

Host = Annotated[str | None, typer.Option(help="The address to listen on.  [default: 127.0.0.1]", show_default=False)]
Port = Annotated[
    int | None, typer.Option(min=1, max=65_535, help="The port to listen on.  [default: 8080]", show_default=False)
]
Data = Annotated[
    Path | None,
    typer.Option(help="The folder that keeps everything.  [default: ./orchestrator-data]", show_default=False),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="PostgreSQL in place of the folder: postgresql://user:password@host/db", show_default=False),
]
Kafka = Annotated[
    str | None,
    typer.Option(help="Kafka brokers for jobs and results: host:port, with commas.", show_default=False),
]
Redis = Annotated[
    str | None,
    typer.Option(help="Redis for speed: redis://user:password@host:port/0, or rediss://.", show_default=False),
]
Topics = Annotated[
    str | None,
    typer.Option(help="Missing Kafka topics: auto makes them, check refuses, off trusts.", show_default=False),
]
Roles = Annotated[
    str | None,
    typer.Option(
        help="What this process does, with commas: api, engine, timers.  [default: all of them]", show_default=False
    ),
]
Memory = Annotated[bool, typer.Option("--memory", help="Keep nothing: what ran is gone with the process.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with settings.", show_default=False)]
Hosts = Annotated[
    str | None,
    typer.Option(
        help="Further names under which the server may be called, with commas; * takes any.", show_default=False
    ),
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error.  [default: info]", show_default=False)
]


def server(  # noqa: PLR0913, PLR0917 - one parameter an option
    host: Host = None,
    port: Port = None,
    data: Data = None,
    database: DatabaseUrl = None,
    kafka: Kafka = None,
    redis: Redis = None,
    topics: Topics = None,
    roles: Roles = None,
    memory: Memory = False,
    hosts: Hosts = None,
    config: Config = None,
    log_level: LogLevel = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Run the orchestrator until Ctrl-C or SIGTERM.

    Each option can also be an environment variable (ORCHESTRATOR_PORT) or stand in the TOML file (port = 8080).
    """
    from orchestrator.settings import SettingsError, load_settings

    if child:
        from orchestrator.demo.lifeline import stop_with_parent

        stop_with_parent()
    flags = given(
        host=host,
        port=port,
        data=data,
        database=database,
        kafka=kafka,
        redis=redis,
        topics=topics,
        roles=roles,
        memory=memory or None,
        hosts=hosts,
        log_level=log_level,
    )
    try:
        settings = load_settings(flags, os.environ, config)
    except SettingsError as error:
        raise Failure("the settings are not valid", why=str(error), mend="`orchestrator server --help`") from None
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if settings.log_level != "debug":
        # What it says at info, that it starts and stops, is said here already.
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _serve(settings, child=child)


def _serve(settings: Settings, *, child: bool) -> None:
    import sqlite3

    from orchestrator import bootstrap
    from orchestrator.model.errors import DataFolderInUse, StoreNotUsable, Unavailable

    with contextlib.ExitStack() as stack:

        def on_ready(url: str) -> None:
            if not child:
                from orchestrator.cli.record import recorded

                stack.enter_context(
                    recorded(None if settings.memory or settings.database else settings.data, "server", url)
                )
            kept = "nothing is kept" if settings.memory else f"data in {settings.place}"
            output.say(f"orchestrator is ready at {url} ({kept}); Ctrl-C stops it")
            if not settings.is_local:
                output.say(
                    f"warning: everyone who reaches {settings.host} can do everything: this version knows no users"
                )

        try:
            bootstrap.run_server(settings, on_ready)
        except DataFolderInUse as error:
            mend = "stop it with `orchestrator stop`, or choose another folder with --data"
            raise Failure("the data folder is in use", why=str(error), mend=mend) from None
        except (StoreNotUsable, Unavailable) as error:
            mend = "look at --database and --kafka, and whether both are up"
            raise Failure("the server cannot start", why=str(error), mend=mend) from None
        except bootstrap.ServiceFailed as error:
            mend = "start it again: it goes on from what was recorded"
            raise Failure("the server has failed", why=str(error), mend=mend) from None
        except bootstrap.PortInUse as error:
            mend = "choose another one with --port; `orchestrator doctor` tells who is there"
            raise Failure(f"port {settings.port} is taken", why=str(error), mend=mend) from None
        except (OSError, sqlite3.DatabaseError) as error:
            # An address that is not this machine's, a folder that cannot be written, a file of another program.
            mend = "look at --host and --data; `orchestrator doctor` checks this machine"
            raise Failure("the server cannot start", why=str(error), mend=mend) from None


def given(**flags: Any) -> dict[str, object]:
    """Leave out the options that were not given, so that the environment and the file can speak."""
    return {name: value for name, value in flags.items() if value is not None}
