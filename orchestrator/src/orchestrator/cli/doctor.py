"""``orchestrator doctor``: what could keep the orchestrator from working here, and how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from orchestrator.cli import output
from orchestrator.cli.address import DEFAULT_URL
from orchestrator.cli.failure import ExitCode
from orchestrator.cli.options import DEFAULT_DATA, Json, Url


def doctor(
    context: typer.Context,
    url: Url = DEFAULT_URL,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port a server would listen on.")] = 8080,
    data: Annotated[Path, typer.Option(envvar="ORCHESTRATOR_DATA", help="The data folder.")] = DEFAULT_DATA,
    config: Annotated[
        Path | None, typer.Option(help="The TOML file with the settings of a server here.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Check this machine, what its settings name, and the orchestrator at --url. Exits with 7 on a problem."""
    from orchestrator.cli.checks import Place, check_all

    source = context.get_parameter_source("url")
    is_chosen = source is not None and source.name != "DEFAULT"
    checks = check_all(Place(url=url, url_is_chosen=is_chosen, port=port, data=data, config=config))
    if as_json:
        output.write_json(msgspec.json.encode(checks))
    else:
        output.write_table(("check", "state", "found"), [(c.name, c.state, c.found) for c in checks])
        for check in checks:
            if check.fix:
                output.say(f"{check.state} {check.name}: {check.found}")
                output.say(f"  fix: {check.fix}")
    if any(check.state == "FAIL" for check in checks):
        raise typer.Exit(ExitCode.PROBLEMS)
