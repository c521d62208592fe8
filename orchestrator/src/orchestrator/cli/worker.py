"""``orchestrator worker``: who is there to do the jobs."""

from __future__ import annotations

import msgspec
import typer

from orchestrator.cli import output
from orchestrator.cli.address import DEFAULT_URL
from orchestrator.cli.options import Json, Url, WorkerArgument
from orchestrator.cli.rest import Orchestrator, segment

app = typer.Typer(help="See the workers, and ask one to go.", no_args_is_help=True)


@app.command("list")
def list_(url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """List the workers and what they have in hand."""
    entries = Orchestrator(url).all("/workers")
    if as_json:
        output.write_json(output.join_json(entries))
        return
    rows = [
        (
            w["workerId"],
            w["status"],
            w["transport"],
            f"{len(w['inHand'])} of {w['concurrency']}" if w.get("concurrency") else len(w["inHand"]),
            output.moment(w["lastSeenAt"]),
            " ".join(str(part) for part in (w.get("sdk"), w.get("version")) if part),
            ":".join(str(part) for part in (w.get("host"), w.get("pid")) if part),
            ", ".join(w["actions"]),
        )
        for w in map(msgspec.json.decode, entries)
    ]
    columns = ("worker", "status", "over", "jobs", "seen", "sdk", "process", "actions")
    output.write_table(columns, rows, empty="no workers yet; docs/worker-protocol.md shows the shortest one")


@app.command()
def drain(worker: WorkerArgument, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Ask a worker to finish what it has, take nothing more, and go."""
    answer = Orchestrator(url).post(f"/workers/{segment(worker)}/drain")
    if as_json:
        output.write_json(answer.raw or b"null")
    else:
        output.say(f"{output.clean(worker)} finishes what it has and goes; see `orchestrator worker list`")
