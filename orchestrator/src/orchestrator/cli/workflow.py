"""``orchestrator workflow``: define, look at and check workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.cli import output
from orchestrator.cli.address import DEFAULT_URL
from orchestrator.cli.definitions import Definition, read_definitions
from orchestrator.cli.failure import ExitCode, Failure, show
from orchestrator.cli.options import Json, Url, WorkflowArgument
from orchestrator.cli.rest import Orchestrator, segment

app = typer.Typer(help="Define, look at and check workflows.", no_args_is_help=True)

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...", help="JSON or YAML, one definition or a list; - is standard input.", allow_dash=True
    ),
]


@app.command()
def apply(files: Files, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Define workflows, or new versions of them. What is there already stays as it is."""
    definitions = read_definitions(files)
    server = Orchestrator(url)
    answers: list[bytes] = []
    rows: list[tuple[output.Cell, ...]] = []
    failures: list[Failure] = []
    for definition in definitions:
        try:
            answer = server.post("/workflow/", definition.raw)
        except Failure as failure:
            failure.what = f"{definition.place}: {failure.what}"
            failures.append(failure)
            continue
        answers.append(answer.raw)
        stored = answer.value
        rows.append((stored["id"], stored["version"], "defined" if answer.status == 201 else "unchanged"))
    if as_json:
        output.write_json(output.join_json(answers))
    else:
        output.write_table(("workflow", "version", "change"), rows)
    for refused in failures[:-1]:
        show(refused)
    if failures:
        raise failures[-1]


@app.command("list")
def list_(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the workflows, each in its latest version."""
    entries = Orchestrator(url).all("/workflow/")
    if as_json:
        output.write_json(output.join_json(entries))
        return
    rows = [
        (w["id"], w["version"], len(w["steps"]), output.moment(w.get("createdAt")), w.get("description") or "")
        for w in map(msgspec.json.decode, entries)
    ]
    empty = "no workflows yet; define one with `orchestrator workflow apply FILE`"
    output.write_table(("workflow", "version", "steps", "defined", "description"), rows, empty=empty)


@app.command("show")
def show_(
    workflow: WorkflowArgument,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="A version; the latest when left out.")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Show a workflow, every default filled in."""
    path = f"/workflow/{segment(workflow)}"
    answer = Orchestrator(url).get(path if version is None else f"{path}/versions/{version}")
    if as_json:
        output.write_json(answer.raw)
        return
    stored = answer.value
    output.say(f"{stored['id']} version {stored['version']}, defined {output.moment(stored.get('createdAt'))}")
    if stored.get("description"):
        output.say(stored["description"])
    if stored.get("timeout") is not None:
        output.say(f"a run may take {output.duration(stored['timeout'])}")
    columns = ("step", "action", "retries", "delay", "backoff", "timeout", "heartbeat timeout")
    output.write_table(columns, [_step_row(step) for step in stored["steps"]])


def _step_row(step: dict[str, Any]) -> tuple[output.Cell, ...]:
    retry = step["retry"]
    return (
        step["stepIndex"],
        step["action"],
        retry["maxRetries"],
        output.duration(retry["delay"]),
        retry["backoff"],
        output.duration(step["timeout"]),
        output.duration(step["heartbeatTimeout"]),
    )


@app.command()
def validate(files: Files, as_json: Json = False) -> None:
    """Check definitions without a server; every wrong field is named."""
    from orchestrator.model.definition import parse_definition
    from orchestrator.model.errors import OrchestratorError
    from orchestrator.model.limits import Limits

    wrong = 0
    results: list[dict[str, Any]] = []
    for definition in read_definitions(files):
        try:
            parsed = parse_definition(definition.raw, Limits())
        except OrchestratorError as error:
            wrong += 1
            results.append(_wrong(definition, error))
        else:
            results.append({"place": definition.place, "id": parsed.id, "valid": True, "errors": []})
    if as_json:
        output.write_json(msgspec.json.encode(results))
    else:
        for result in results:
            _write_result(result)
    if wrong:
        raise typer.Exit(ExitCode.ERROR)


def _wrong(definition: Definition, error: Any) -> dict[str, Any]:
    fields = [{"field": field.field, "reason": field.reason, "mend": field.mend} for field in error.errors]
    fields = fields or [{"field": "body", "reason": str(error), "mend": ""}]
    return {"place": definition.place, "id": definition.id, "valid": False, "errors": fields}


def _write_result(result: dict[str, Any]) -> None:
    if result["valid"]:
        output.write(f"{result['place']}: valid ({result['id']})")
        return
    count = len(result["errors"])
    output.write(f"{result['place']}: {count} {'field is' if count == 1 else 'fields are'} wrong")
    for entry in result["errors"]:
        mend = f"; {entry['mend']}" if entry["mend"] else ""
        output.write(f"  {entry['field']}: {entry['reason']}{mend}")
