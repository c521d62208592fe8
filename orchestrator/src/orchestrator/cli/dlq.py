"""``orchestrator dlq``: jobs that have no attempt left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
import typer

from orchestrator.cli import output
from orchestrator.cli.address import DEFAULT_URL
from orchestrator.cli.complete import complete_dead_letter
from orchestrator.cli.failure import ExitCode, Failure, show
from orchestrator.cli.options import DeadLetterArgument, Json, Url
from orchestrator.cli.rest import Orchestrator, segment

app = typer.Typer(help="Look at dead letters, run them again, or discard them.", no_args_is_help=True)

Workflow = Annotated[str, typer.Option(help="Only those of this workflow.")]
Action = Annotated[str, typer.Option(help="Only those of this action.")]


@app.command("list")
def list_(
    workflow: Workflow = "",
    action: Action = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    entries = list(Orchestrator(url).entries("/dead-letters", {"workflow": workflow, "action": action}, limit))
    if as_json:
        output.write_json(output.join_json(entries))
        return
    rows = [
        (
            d["id"],
            d["workflowId"],
            d["action"],
            d["attempts"],
            output.moment(d["createdAt"]),
            d["state"],
            f"{d['error']['type']}: {d['error']['message']}",
        )
        for d in map(msgspec.json.decode, entries)
    ]
    columns = ("dead letter", "workflow", "action", "attempts", "since", "state", "error")
    output.write_table(columns, rows, empty="no dead letters")


@app.command("show")
def show_(letter: DeadLetterArgument, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show a dead letter with its payload and its error."""
    answer = Orchestrator(url).get(f"/dead-letters/{segment(letter)}")
    if as_json:
        output.write_json(answer.raw)
        return
    d = answer.value
    rows: list[tuple[str, output.Cell]] = [
        ("dead letter", d["id"]),
        ("state", d["state"]),
        ("run", d["runId"]),
        ("workflow", d["workflowId"]),
        ("step", f"{d['stepIndex']} ({d['action']})"),
        ("attempts", d["attempts"]),
        ("since", output.moment(d["createdAt"])),
        ("worker", d.get("worker")),
        ("error", f"{d['error']['type']}: {d['error']['message']}"),
        ("payload", output.compact(d["payload"], 400)),
    ]
    output.write_table(("field", "value"), rows)
    if d["error"].get("stack"):
        output.write(output.clean(d["error"]["stack"], keep_lines=True))
    if output.is_terminal():
        output.say(f"run it again: orchestrator dlq redrive {d['id']}")


@app.command()
def redrive(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="ID...", show_default=False, autocompletion=complete_dead_letter)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are open, or those the filters leave.")] = False,
    workflow: Workflow = "",
    action: Action = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Run the steps again, in their own runs, with a fresh retry budget."""
    server = Orchestrator(url)
    if bool(letters) == every:
        mend = "`orchestrator dlq redrive ID`, or `orchestrator dlq redrive --all`"
        raise Failure("name dead letters, or say --all", mend=mend, code=ExitCode.USAGE)
    chosen = letters or _open_letters(server, workflow, action)
    runs = _each(chosen, lambda letter: server.post(f"/dead-letters/{segment(letter)}/redrive").raw)
    if as_json:
        output.write_json(output.join_json(raw for _, raw in runs))
    else:
        rows = [(letter, "redriven", msgspec.json.decode(raw)["runId"]) for letter, raw in runs]
        output.write_table(("dead letter", "change", "run"), rows, empty="no dead letters")
    _finish(len(chosen), len(runs))


@app.command()
def discard(
    letters: Annotated[list[str], typer.Argument(metavar="ID...", autocompletion=complete_dead_letter)],
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Settle dead letters without running them again; their runs stay failed."""
    server = Orchestrator(url)
    done = _each(letters, lambda letter: server.delete(f"/dead-letters/{segment(letter)}").raw)
    if as_json:
        output.write_json(msgspec.json.encode({"discarded": [letter for letter, _ in done]}))
    else:
        output.write_table(("dead letter", "change"), [(letter, "discarded") for letter, _ in done])
    _finish(len(letters), len(done))


def _open_letters(server: Orchestrator, workflow: str, action: str) -> list[str]:
    entries = server.entries("/dead-letters", {"workflow": workflow, "action": action})
    return [letter["id"] for letter in map(msgspec.json.decode, entries) if not letter.get("settledAt")]


def _each(letters: Sequence[str], call: Callable[[str], bytes]) -> list[tuple[str, bytes]]:
    """Make a call for each; what fails is said, and the others go on."""
    done = []
    for letter in letters:
        try:
            done.append((letter, call(letter)))
        except Failure as failure:
            if len(letters) == 1:
                raise
            failure.what = f"{letter}: {failure.what}"
            show(failure)
    return done


def _finish(asked: int, done: int) -> None:
    if done < asked:
        raise Failure(f"{asked - done} of {asked} could not be settled", mend="see above")
