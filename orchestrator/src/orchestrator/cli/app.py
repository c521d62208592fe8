"""All commands under one name."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import demo, dev, dlq, doctor, runs, server, stop, worker, workflow
from orchestrator.cli.conformance import command as conformance
from orchestrator.cli.failure import Failure, show

app = typer.Typer(
    name="orchestrator",
    help="A workflow orchestrator: define workflows, run them on your workers, and see what happens.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options of the command line itself."""


_START = "Start here"
_USE = "Workflows and runs"
_WORKERS = "For authors of workers"

app.command(rich_help_panel=_START)(demo.demo)
app.command(rich_help_panel=_START)(dev.dev)
app.command(rich_help_panel=_START)(server.server)
app.command(rich_help_panel=_START)(stop.stop)
app.command(rich_help_panel=_START)(doctor.doctor)
app.command(rich_help_panel=_WORKERS)(conformance.conformance)
app.add_typer(workflow.app, name="workflow", rich_help_panel=_USE)
app.add_typer(runs.app, name="run", rich_help_panel=_USE)
app.add_typer(dlq.app, name="dlq", rich_help_panel=_USE)
app.add_typer(worker.app, name="worker", rich_help_panel=_USE)


def run(arguments: list[str]) -> int:
    """Run one command and give its exit code."""
    try:
        app(arguments, prog_name="orchestrator")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except Failure as failure:
        show(failure)
        return failure.code
    return 0
