"""``orchestrator demo``: a server, a worker and a run of real work, in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import DEFAULT_DATA, Json


def demo(
    input_: Annotated[
        Path | None,
        typer.Option(
            "--input", metavar="FOLDER", help="The folder to archive.  [default: this checkout, or this folder]"
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Exit as soon as the run has ended; for scripts and CI.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The first port to try.")] = 8080,
    data: Annotated[
        Path, typer.Option(envvar="ORCHESTRATOR_DATA", help="The folder that keeps the runs.")
    ] = DEFAULT_DATA,
    memory: Annotated[bool, typer.Option("--memory", help="Keep nothing after the end.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no page by itself.")] = False,
    as_json: Json = False,
) -> None:
    """Start a server and a worker, and run a workflow of five steps on real files.

    It lists, hashes, compresses and verifies the files of a folder and writes a report. One step fails once on purpose.
    """
    from orchestrator.cli.demo_show import Show

    show = Show(
        chosen=input_, once=once, port=port, data=None if memory else data, browser=not no_browser, as_json=as_json
    )
    show.play()
