"""What a person sees of the demo, from the first line to the last."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from orchestrator.cli import output
from orchestrator.cli.children import child_failure, interruptible
from orchestrator.cli.failure import ExitCode, Failure
from orchestrator.cli.record import read_record, recorded
from orchestrator.cli.rest import Orchestrator
from orchestrator.cli.watch import Watched, follow
from orchestrator.demo import workflow
from orchestrator.demo.stage import Stage, StageBroken

ONCE_SECONDS_MAX: Final = 60.0
"""How long ``--once`` waits for its run."""
LOOK_SECONDS: Final = 0.1
ONCE_LOOK_SECONDS: Final = 0.05
MEND_SECONDS: Final = 0.2
"""How often the processes are looked after once the run has ended."""


class Show:
    """One performance of the demo."""

    def __init__(
        self, *, chosen: Path | None, once: bool, port: int, data: Path | None, browser: bool, as_json: bool
    ) -> None:
        self._chosen = chosen.expanduser() if chosen else None
        self._once = once
        self._port = port
        self._data = data
        self._as_json = as_json
        self._is_interactive = not once and not as_json and output.is_terminal()
        self._browser = browser and self._is_interactive
        self._logs = Path(workflow.OUTPUT_FOLDER).resolve()

    def play(self) -> None:
        """Play it to its end.

        Raises:
            Failure: the demo could not be started, or with ``--once`` its run did not complete.
        """
        self._check()
        try:
            stage = Stage(port=self._port, data=self._data, logs=self._logs, tell=self._tell)
            with interruptible(), stage, recorded(self._data, "demo", stage.server.url):
                self._tell_port(stage)
                self._run(stage)
        except StageBroken as error:
            mend = f"the logs are in {self._logs}; `orchestrator doctor` may know more"
            raise child_failure(error, mend) from None
        except KeyboardInterrupt:
            self._tell("\nstopped; `make demo` or `orchestrator demo` goes on with the same data")

    def _check(self) -> None:
        if self._chosen is not None and not self._chosen.is_dir():
            mend = "pass a folder: --input FOLDER (make demo INPUT=FOLDER)"
            raise Failure(f"{self._chosen} is not a folder", mend=mend, code=ExitCode.USAGE)
        if self._data is not None and (record := read_record(self._data)):
            raise Failure(
                f"a {record.command} runs on {self._data} already, at {record.url}",
                why=f"it is process {record.pid}; two may not write to one folder",
                mend=f"open {record.url}, or stop it with `make stop` (`orchestrator stop --data {self._data}`)",
            )

    def _run(self, stage: Stage) -> None:
        server = Orchestrator(stage.server.url)
        server.post("/workflow/", msgspec.json.encode(workflow.DEFINITION))
        run_id = self._unfinished(server) or self._trigger(server, workflow.PACE_SECONDS)
        while True:
            watched = self._watch(stage, server, run_id)
            if self._once or self._as_json:
                self._finish_once(watched)
                return
            self._write_panel(stage, watched.run)
            if not self._wait_for_enter(stage):
                return
            run_id = self._trigger(server, workflow.SLOW_PACE_SECONDS)
            self._write_slow_note(stage)

    def _unfinished(self, server: Orchestrator) -> str:
        """Find a run that an earlier demo left behind; it goes on by itself."""
        query = {"workflow": workflow.WORKFLOW_ID, "status": "RUNNING,WAITING"}
        runs = [msgspec.json.decode(entry) for entry in server.entries("/workflow/runs", query)]
        wanted = str(self._chosen.resolve()) if self._chosen else None
        for run in runs:
            if wanted is None or run["input"]["folder"] == wanted:
                self._tell(f"continuing run {run['runId']}, which an earlier demo left unfinished")
                return str(run["runId"])
        return ""

    def _trigger(self, server: Orchestrator, pace: float) -> str:
        excluded = [] if self._data is None else [self._data]
        body = workflow.run_input(self._chosen, Path.cwd(), pace if self._is_interactive else 0.0, excluded)
        self._tell(f"archiving {body['folder']}")
        answer = server.post(f"/workflow/{workflow.WORKFLOW_ID}/trigger", msgspec.json.encode({"input": body}))
        return str(answer.value["runId"])

    def _watch(self, stage: Stage, server: Orchestrator, run_id: str) -> Watched:
        page = server.page(f"/workflow/run/{run_id}")
        self._tell(f"{'opening' if self._open(page) else 'page:'} {page}\n")
        watched = Watched(server, run_id)
        follow(
            watched,
            as_json=self._as_json,
            quiet=self._as_json,
            timeout=ONCE_SECONDS_MAX if self._once else None,
            look_seconds=LOOK_SECONDS if self._is_interactive else ONCE_LOOK_SECONDS,
            tick=stage.mend,
        )
        return watched

    def _open(self, page: str) -> bool:
        """Open a page where there is a browser to see it."""
        if not self._browser or not _has_desktop():
            return False
        import webbrowser

        try:
            return webbrowser.open(page)
        except webbrowser.Error:
            return False

    def _finish_once(self, watched: Watched) -> None:
        run = watched.run
        if self._as_json:
            output.write_json(watched.raw)
        if run["status"] != "COMPLETED":
            error = run.get("error") or {}
            why = f"{error.get('type', '')}: {error.get('message', '')}"
            raise Failure(f"the run is {run['status']}", why=why, code=ExitCode.RUN_FAILED)
        if not self._as_json:
            taken = output.duration(output.seconds_between(run["startTime"], run["endTime"]))
            output.say(f"completed in {taken}: {run['finalOutput']['report']}")

    def _wait_for_enter(self, stage: Stage) -> bool:
        """Look after the processes until Ctrl-C; True when a person asks for another run."""
        while True:
            stage.mend()
            if not (sys.stdin and sys.stdin.isatty()):
                time.sleep(MEND_SECONDS)
            elif select.select([sys.stdin], [], [], MEND_SECONDS)[0]:
                return bool(sys.stdin.readline())

    def _write_panel(self, stage: Stage, run: dict[str, Any]) -> None:
        from rich.panel import Panel
        from rich.text import Text

        output.console().print(Panel(Text.from_markup("\n".join(_closing_words(stage, run, self._data))), expand=False))

    def _write_slow_note(self, stage: Stage) -> None:
        self._tell("this one is slow; meanwhile, in another terminal:")
        self._tell(f"  kill -9 {stage.worker.pid}   the worker: its step is lost, noticed, and done again")
        self._tell(f"  kill -9 {stage.server.child.pid}   the server: it comes back with everything it had answered\n")

    def _tell_port(self, stage: Stage) -> None:
        if stage.server.port != self._port:
            self._tell(f"port {self._port} is taken; using {stage.server.port}")
        kept = "nothing is kept" if self._data is None else f"data in {self._data}"
        self._tell(f"server: process {stage.server.child.pid} at {stage.server.url} ({kept})")
        self._tell(f"worker: process {stage.worker.pid}, over HTTP")

    def _tell(self, text: str) -> None:
        output.say(text)


def _closing_words(stage: Stage, run: dict[str, Any], data: Path | None) -> Iterator[str]:
    from rich.markup import escape

    result = run.get("finalOutput") or {}
    taken = output.duration(output.seconds_between(run["startTime"], run["endTime"]))
    if run["status"] == "COMPLETED":
        yield f"[bold green]The run completed in {taken}[/]: {result['files']:,} files, with one deliberate failure."
        yield f"Report     {escape(Path(result['report']).as_uri())}"
        yield f"Archive    {escape(result['archive'])}"
    else:
        yield f"[bold red]The run is {run['status']}[/] after {taken}."
    yield ""
    yield f"This run   {stage.server.url}/workflow/run/{run['runId']}"
    yield f"All runs   {stage.server.url}/workflow/runs"
    yield f"Workflows  {stage.server.url}/workflow/"
    yield ""
    yield "[bold]Now break it.[/] Press Enter for a slow run, and while it goes:"
    yield f"  kill -9 {stage.worker.pid}   the worker"
    yield f"  kill -9 {stage.server.child.pid}   the server"
    yield "The run goes on where it was."
    if data is not None:
        yield f"So it does when you end this with Ctrl-C and start the demo again: all is kept in {escape(str(data))}."
    yield ""
    yield "Ctrl-C stops everything."


def _has_desktop() -> bool:
    """Whether a browser could show a page to the person at this terminal."""
    if sys.platform in ("darwin", "win32"):
        return not os.environ.get("SSH_CONNECTION")
    is_wsl = "WSL_DISTRO_NAME" in os.environ
    return is_wsl or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
