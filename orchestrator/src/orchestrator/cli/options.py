"""Options that many commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from orchestrator.cli.address import URL_VARIABLE
from orchestrator.cli.complete import complete_dead_letter, complete_run, complete_worker, complete_workflow

DEFAULT_DATA: Final = Path("orchestrator-data")

Url = Annotated[str, typer.Option("--url", envvar=URL_VARIABLE, help="The orchestrator's address.", show_default=True)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to standard output.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False, autocompletion=complete_run)
]
WorkflowArgument = Annotated[
    str,
    typer.Argument(metavar="WORKFLOW", help="The workflow's id.", show_default=False, autocompletion=complete_workflow),
]
WorkerArgument = Annotated[
    str, typer.Argument(metavar="WORKER", help="The worker's id.", show_default=False, autocompletion=complete_worker)
]
DeadLetterArgument = Annotated[
    str,
    typer.Argument(metavar="ID", help="The dead letter's id.", show_default=False, autocompletion=complete_dead_letter),
]
