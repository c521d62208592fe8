"""``orchestrator dlq``: jobs that have no attempt left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

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
Error = Annotated[str, typer.Option(help="Only those with this type of error.")]
Since = Annotated[str, typer.Option(help="Only those from this time or later, as 2026-11-23T10:00:00Z.")]
Until = Annotated[str, typer.Option(help="Only those from before this time.")]
State = Annotated[str, typer.Option(help="OPEN, REDRIVEN or DISCARDED.", show_default=True)]
Every = Annotated[bool, typer.Option("--all", help="All that are open, or those the filters leave.")]
Verb = Literal["redrive", "discard"]
Letters = Annotated[
    list[str] | None, typer.Argument(metavar="ID...", show_default=False, autocompletion=complete_dead_letter)
]


@app.command("list")
def list_(
    workflow: Workflow = "",
    action: Action = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    state: State = "OPEN",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    query = {**_filters(workflow, action, error, since, until), "state": "" if state == "OPEN" else state}
    entries = list(Orchestrator(url).entries("/dead-letters", query, limit))
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
def groups(
    workflow: Workflow = "",
    action: Action = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Count open dead letters by workflow, action and type of error."""
    answer = Orchestrator(url).get("/dead-letters/groups", _filters(workflow, action, error, since, until))
    if as_json:
        output.write_json(answer.raw)
        return
    rows = [
        (
            g["count"],
            g["workflowId"],
            g["action"],
            g["errorType"],
            output.moment(g["oldest"]),
            output.moment(g["newest"]),
        )
        for g in answer.value["groups"]
    ]
    output.write_table(("count", "workflow", "action", "error", "oldest", "newest"), rows, empty="no dead letters")
    if answer.value["more"]:
        output.say("there are more groups; name a workflow, an action or a time to see them")


@app.command()
def redrive(
    letters: Letters = None,
    every: Every = False,
    workflow: Workflow = "",
    action: Action = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Run the steps again, in their own runs, with a fresh retry budget."""
    filters = _filters(workflow, action, error, since, until)
    done = _settle("redrive", letters, every, filters, url, as_json=as_json)
    if done is None:
        return
    if as_json:
        output.write_json(output.join_json(raw for _, raw in done))
    else:
        rows = [(letter, "redriven", msgspec.json.decode(raw)["runId"]) for letter, raw in done]
        output.write_table(("dead letter", "change", "run"), rows, empty="no dead letters")
    _finish(letters, done)


@app.command()
def discard(
    letters: Letters = None,
    every: Every = False,
    workflow: Workflow = "",
    action: Action = "",
    error: Error = "",
    since: Since = "",
    until: Until = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Settle dead letters without running them again; their runs stay failed."""
    filters = _filters(workflow, action, error, since, until)
    done = _settle("discard", letters, every, filters, url, as_json=as_json)
    if done is None:
        return
    if as_json:
        output.write_json(msgspec.json.encode({"discarded": [letter for letter, _ in done]}))
    else:
        output.write_table(("dead letter", "change"), [(letter, "discarded") for letter, _ in done])
    _finish(letters, done)


def _filters(workflow: str, action: str, error: str, since: str, until: str) -> dict[str, str]:
    return {"workflow": workflow, "action": action, "error": error, "from": since, "to": until}


def _is_for_many(letters: list[str] | None, every: bool, filters: dict[str, str], command: str) -> bool:
    """Tell whether all that the filters leave are meant; ids and filters together, or neither, mean nothing."""
    if bool(letters) == every or (letters and any(filters.values())):
        mend = f"`orchestrator dlq {command} ID`, or `orchestrator dlq {command} --all`, with filters or without"
        raise Failure("name dead letters, or say --all", mend=mend, code=ExitCode.USAGE)
    return every


def _settle(
    verb: Verb, letters: list[str] | None, every: bool, filters: dict[str, str], url: str, *, as_json: bool
) -> list[tuple[str, bytes]] | None:
    """Settle those that are named, and give the answers; None where all that the filters leave were meant."""
    server = Orchestrator(url)
    if _is_for_many(letters, every, filters, verb):
        _settle_many(server, verb, filters, as_json=as_json)
        return None
    if verb == "redrive":
        return _each(letters or [], lambda letter: server.post(f"/dead-letters/{segment(letter)}/redrive").raw)
    return _each(letters or [], lambda letter: server.delete(f"/dead-letters/{segment(letter)}").raw)


def _settle_many(server: Orchestrator, verb: Verb, filters: dict[str, str], *, as_json: bool) -> None:
    """Call until there are no more."""
    done = {"redrive": "redriven", "discard": "discarded"}[verb]
    settled = skipped = 0
    query = {**filters, "all": "true"}
    while True:
        answer = server.post(f"/dead-letters/{verb}", query=query).value
        settled += answer["settled"]
        skipped += answer["skipped"]
        if answer["cursor"] is None:
            break
        query["cursor"] = answer["cursor"]
    if as_json:
        output.write_json(msgspec.json.encode({done: settled, "skipped": skipped}))
        return
    output.write(f"{settled} {done}")
    if skipped:
        output.say(f"{skipped} were settled by somebody else meanwhile, or their runs cannot go on")


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


def _finish(letters: list[str] | None, done: Sequence[object]) -> None:
    asked = len(letters or ())
    if len(done) < asked:
        raise Failure(f"{asked - len(done)} of {asked} could not be settled", mend="see above")
