"""``orchestrator run``: start, look at, watch and cancel runs."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from orchestrator.cli import output
from orchestrator.cli.address import DEFAULT_URL
from orchestrator.cli.complete import complete_workflow
from orchestrator.cli.failure import ExitCode, Failure
from orchestrator.cli.options import Json, RunArgument, Url, WorkflowArgument
from orchestrator.cli.rest import Orchestrator, segment
from orchestrator.cli.watch import Watched, follow, not_in_time
from orchestrator.model import times

app = typer.Typer(help="Start, look at, watch and cancel runs.", no_args_is_help=True)

WAIT_SECONDS: float = 20.0
"""How long one call waits for a run; a longer wait is several calls."""

Timeout = Annotated[str, typer.Option(metavar="DURATION", help='Wait no longer than this, "30s" or "5m" for example.')]


@app.command()
def start(
    workflow: WorkflowArgument,
    input_: Annotated[
        str, typer.Option("-i", "--input", metavar="JSON|@FILE|-", help="The input: JSON, a file, or standard input.")
    ] = "null",
    key: Annotated[str | None, typer.Option(help="An Idempotency-Key: the same key starts no second run.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended and print its output.")] = False,
    watch_: Annotated[bool, typer.Option("--watch", help="Show its steps until it has ended.")] = False,
    timeout: Timeout = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Start a run and print its id."""
    limit = _seconds(timeout)
    body = b'{"input":' + _read_input(input_) + b"}"
    server = Orchestrator(url)
    answer = server.post(f"/workflow/{segment(workflow)}/trigger", body, key=key)
    run_id = str(answer.value["runId"])
    before = " (started before with this key)" if answer.status == 200 else ""
    if watch_ or wait:
        output.say(f"run {run_id}{before}: {server.page(f'/workflow/run/{run_id}')}")
        watched = Watched(server, run_id)
        _follow(watched, as_json=as_json, timeout=limit) if watch_ else _wait(watched, limit)
        _write_end(watched, as_json=as_json and not watch_)
    elif as_json:
        output.write_json(answer.raw)
    else:
        output.write(run_id)
        if output.is_terminal():
            output.say(f"{server.page(f'/workflow/run/{run_id}')}{before}")
            output.say(f"watch it: orchestrator run watch {run_id}")


@app.command("list")
def list_(
    status: Annotated[list[str] | None, typer.Option(help="RUNNING, FAILED, …; may be given again.")] = None,
    workflow: Annotated[str, typer.Option(help="A workflow's id.", autocompletion=complete_workflow)] = "",
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help='Started at or after; "1h" means ago.')] = "",
    to: Annotated[str, typer.Option("--to", metavar="TIME", help="Started before.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """List runs, newest first."""
    query: dict[str, Any] = {
        "status": ",".join(part.strip().upper() for part in status or []),
        "workflow": workflow,
        "from": _moment(from_, "--from"),
        "to": _moment(to, "--to"),
    }
    if not as_json:
        query["view"] = "summary"
    entries = list(Orchestrator(url).entries("/workflow/runs", query, limit))
    if as_json:
        output.write_json(output.join_json(entries))
        return
    rows = [
        (
            r["runId"],
            r["workflowId"],
            r["workflowVersion"],
            r["status"],
            output.moment(r["startTime"]),
            output.duration(output.seconds_between(r["startTime"], r["endTime"])),
            f"{r['error']['type']}: {r['error']['message']}" if r.get("error") else "",
        )
        for r in map(msgspec.json.decode, entries)
    ]
    empty = "no runs; start one with `orchestrator run start WORKFLOW`"
    output.write_table(("run", "workflow", "version", "status", "started", "took", "error"), rows, empty=empty)


@app.command("show")
def show_(run: RunArgument, url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show a run with its steps and attempts."""
    watched = Watched(Orchestrator(url), run)
    watched.look()
    if as_json:
        output.write_json(watched.raw)
    elif output.is_terminal():
        from orchestrator.cli.tree import render

        output.console().print(render(watched.run, height=1_000))
        _write_notes(watched.run)
    else:
        output.write_table(
            ("step", "action", "status", "attempt", "attempt status", "started", "finished", "worker", "error"),
            [row for step in watched.run["steps"] for row in _attempt_rows(step)],
        )


@app.command()
def watch(run: RunArgument, timeout: Timeout = "", url: Url = DEFAULT_URL, as_json: Json = False) -> None:
    """Show a run's steps until it has ended. Ctrl-C stops the watching, not the run."""
    watched = Watched(Orchestrator(url), run)
    _follow(watched, as_json=as_json, timeout=_seconds(timeout))
    _write_end(watched, as_json=False, quiet=as_json)


@app.command()
def cancel(
    run: RunArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the run's history.")] = "",
    url: Url = DEFAULT_URL,
    as_json: Json = False,
) -> None:
    """Cancel a run: no further step starts, and jobs in hand are called back."""
    body = msgspec.json.encode({"reason": reason} if reason else {})
    answer = Orchestrator(url).post(f"/workflow/run/{segment(run)}/cancel", body)
    if as_json:
        output.write_json(answer.raw)
    else:
        output.write_table(("run", "status"), [(answer.value["runId"], answer.value["status"])])


def _follow(watched: Watched, *, as_json: bool, timeout: float | None) -> None:
    try:
        follow(watched, as_json=as_json, timeout=timeout)
    except KeyboardInterrupt:
        run_id = watched.run.get("runId", "")
        output.say(f"stopped watching; run {run_id} goes on")
        output.say(f"  watch again: orchestrator run watch {run_id}")
        output.say(f"  cancel it:   orchestrator run cancel {run_id}")
        raise typer.Exit(130) from None


def _wait(watched: Watched, timeout: float | None) -> None:
    """Wait in calls that the server holds open, so that the end is known at once."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = WAIT_SECONDS if until is None else min(WAIT_SECONDS, max(0.0, until - time.monotonic()))
        watched.raw = watched.server.get(watched.path, {"wait": f"{left:.3f}s"}).raw
        watched.run = msgspec.json.decode(watched.raw)
        if watched.has_ended:
            return
        if until is not None and time.monotonic() >= until:
            raise not_in_time(watched.run, timeout)


class _Output(msgspec.Struct, rename="camel"):
    final_output: msgspec.Raw = msgspec.Raw(b"null")


def _write_end(watched: Watched, *, as_json: bool, quiet: bool = False) -> None:
    """Print what came of a run; its output goes to standard output."""
    run = watched.run
    if as_json:
        output.write_json(watched.raw)
    elif run["status"] == "COMPLETED" and not quiet:
        output.write_json(bytes(msgspec.json.decode(watched.raw, type=_Output).final_output))
    if run["status"] != "COMPLETED":
        error = run.get("error") or {}
        why = output.clean(f"{error['type']}: {error['message']}") if error else str(run.get("waitingFor") or "")
        mend = f"`orchestrator run show {run['runId']}`"
        if run["status"] == "FAILED":
            mend += "; its job is kept: `orchestrator dlq list`"
        raise Failure(f"run {run['runId']} is {run['status']}", why=why, mend=mend, code=ExitCode.RUN_FAILED)


def _write_notes(run: dict[str, Any]) -> None:
    if run.get("waitingFor"):
        output.say(f"waiting for {output.clean(run['waitingFor'])}")
    output.say(f"input   {output.clean(output.compact(run['input'], 200))}")
    if run["status"] == "COMPLETED":
        output.say(f"output  {output.clean(output.compact(run['finalOutput'], 200))}")
    if run.get("error"):
        output.say(f"error   {output.clean(run['error']['type'] + ': ' + run['error']['message'])}")


def _attempt_rows(step: dict[str, Any]) -> list[tuple[output.Cell, ...]]:
    head = (step["stepIndex"], step["action"], step["status"])
    if not step["attempts"]:
        return [(*head, "", "", "", "", "", "")]
    return [
        (
            *head,
            attempt["attempt"],
            attempt["status"],
            attempt["startedAt"],
            attempt["finishedAt"],
            attempt["worker"],
            f"{attempt['error']['type']}: {attempt['error']['message']}" if attempt.get("error") else "",
        )
        for attempt in step["attempts"]
    ]


def _read_input(text: str) -> bytes:
    """Read the input and leave it as it was written, to the last digit."""
    try:
        if text == "-":
            raw = sys.stdin.buffer.read()
        elif text.startswith("@"):
            raw = Path(text[1:]).read_bytes()
        else:
            raw = text.encode("utf-8", "surrogateescape")
        msgspec.json.decode(raw, type=msgspec.Raw)
    except OSError as error:
        raise Failure(f"{text[1:]} cannot be read", why=error.strerror or str(error), code=ExitCode.USAGE) from None
    except (msgspec.DecodeError, RecursionError) as error:
        mend = """a text needs its quotes: -i '"Hello World"'"""
        raise Failure("the input is not JSON", why=str(error), mend=mend, code=ExitCode.USAGE) from None
    return raw


def _seconds(text: str) -> float | None:
    if not text:
        return None
    try:
        return times.seconds(times.parse_duration(text))
    except ValueError as error:
        raise Failure(f"--timeout {text!r} is not a duration", why=str(error), code=ExitCode.USAGE) from None


def _moment(text: str, option: str) -> str:
    """Read a time, or how long ago it was."""
    if not text:
        return ""
    try:
        return (datetime.now(UTC) - timedelta(microseconds=times.parse_duration(text))).isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        return times.iso(times.parse_time(text))
    except ValueError:
        mend = 'use "2026-11-23T10:00:00Z", or "2h" for two hours ago'
        raise Failure(f"{option} {text!r} is not a time", mend=mend, code=ExitCode.USAGE) from None
