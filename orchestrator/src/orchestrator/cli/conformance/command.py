"""``orchestrator conformance``."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli import output
from orchestrator.cli.failure import ExitCode, Failure

if TYPE_CHECKING:
    from orchestrator.cli.conformance.site import Transport

RESTART_SECONDS_MAX: Final = 120.0


def conformance(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND...", help="Starts the worker.", show_default=False)
    ] = None,
    worker: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COMMAND", help="Another way to say it; may be repeated.", show_default=False),
    ] = None,
    database: Annotated[str, typer.Option(help="A PostgreSQL for the scenarios over Kafka.")] = "",
    kafka: Annotated[str, typer.Option(help="Brokers: host:port. Without, only HTTP is played.")] = "",
    transport: Annotated[str, typer.Option(help="Play this one only: http or kafka.")] = "",
    only: Annotated[list[str] | None, typer.Option(help="Play these scenarios only; may have *.")] = None,
    restart_broker: Annotated[str, typer.Option(help="A command that kills the broker and starts it again.")] = "",
    logs: Annotated[Path | None, typer.Option(help="A folder for logs and journals.", show_default=False)] = None,
    scenarios: Annotated[bool, typer.Option("--scenarios", help="List the scenarios, and play none.")] = False,
) -> None:
    """Find out whether a worker keeps to the protocol; protocol/conformance.md says what it has to do for that."""
    from orchestrator.cli.conformance.play import chosen, play_all
    from orchestrator.cli.conformance.report import show, tell
    from orchestrator.cli.conformance.scenarios import SCENARIOS

    if scenarios:
        for name, scenario in SCENARIOS.items():
            output.say(f"{name:20} {(scenario.__doc__ or '').strip()}")
        return
    names = chosen(only or [])
    workers = _workers(command or [], worker or [])
    with tempfile.TemporaryDirectory(prefix="conformance-") as temporary:
        matrix = play_all(
            workers,
            _transports(transport, database, kafka),
            names,
            logs or Path(temporary),
            database=database,
            kafka=kafka,
            restart_broker=_restart(restart_broker),
            tell=tell,
        )
    if show(matrix):
        raise typer.Exit(ExitCode.PROBLEMS)


def _workers(command: list[str], named: list[str]) -> dict[str, list[str]]:
    workers: dict[str, list[str]] = {}
    for one in named:
        name, equals, text = one.partition("=")
        if not (name and equals and text.strip()):
            raise Failure(f"{one!r} is not NAME=COMMAND", code=ExitCode.USAGE)
        workers[name] = shlex.split(text)
    if command:
        workers["worker"] = command
    if not workers:
        mend = "orchestrator conformance -- python my_worker.py"
        raise Failure("say how the worker is started", mend=mend, code=ExitCode.USAGE)
    return workers


def _transports(wanted: str, database: str, kafka: str) -> list[Transport]:
    if wanted not in {"", "http", "kafka"}:
        raise Failure(f"{wanted!r} is no transport", mend="http or kafka", code=ExitCode.USAGE)
    if bool(database) != bool(kafka) or (wanted == "kafka" and not kafka):
        mend = "pass --database and --kafka, or none of them; `make stack` starts both"
        raise Failure("Kafka needs a database beside it", mend=mend, code=ExitCode.USAGE)
    both: tuple[Transport, ...] = ("http", "kafka") if kafka else ("http",)
    return [one for one in both if wanted in {"", one}]


def _restart(command: str) -> Callable[[], None] | None:
    if not command:
        return None

    def restart() -> None:
        try:
            subprocess.run(  # noqa: S603 - what the caller has said
                shlex.split(command), check=True, capture_output=True, timeout=RESTART_SECONDS_MAX
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Failure("the broker could not be restarted", why=str(error)) from None

    return restart
