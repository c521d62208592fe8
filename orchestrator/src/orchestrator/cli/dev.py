"""``orchestrator dev``: a server to develop against, and a worker that is started again when its file changes."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli import output
from orchestrator.cli.options import DEFAULT_DATA

if TYPE_CHECKING:
    from orchestrator.demo.children import Child

LOOK_SECONDS: Final = 0.3
FILES_WATCHED_MAX: Final = 2_000


def dev(
    worker: Annotated[
        str,
        typer.Argument(metavar="[MODULE_OR_FILE]", help="A Python file or module with a `worker`.", show_default=False),
    ] = "",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The first port to try.")] = 8080,
    data: Annotated[Path, typer.Option(envvar="ORCHESTRATOR_DATA", help="The data folder.")] = DEFAULT_DATA,
    memory: Annotated[bool, typer.Option("--memory", help="Keep nothing.")] = False,
) -> None:
    """Run a server, and your worker with it: change the worker's file and it is started again."""
    from orchestrator.cli.children import child_failure, interruptible
    from orchestrator.demo.stage import StageBroken

    try:
        with interruptible():
            _run(worker, port, None if memory else data)
    except StageBroken as error:
        raise child_failure(error, "see its output above") from None
    except KeyboardInterrupt:
        output.say("\nstopped")


def _run(target: str, port: int, data: Path | None) -> None:
    from orchestrator.cli.record import recorded
    from orchestrator.demo.children import Child
    from orchestrator.demo.stage import ServerProcess

    folder = _folder_of(target) if target else None
    server = ServerProcess(port=port, data=data, log=None)
    if server.port != port:
        output.say(f"port {port} is taken; using {server.port}")
    command = ["-m", "orchestrator.cli.dev_worker", target, server.url]
    worker = Child("worker", command, environ={"WORKFLOW_URL": server.url})
    try:
        server.child.start()
        server.wait_until_ready()
        with recorded(data, "dev server", server.url):
            if folder is None:
                output.say("start a worker with it: orchestrator dev my_worker.py")
            _watch(server.child, worker, folder)
    finally:
        worker.stop()
        server.child.stop()


def _watch(server: Child, worker: Child, folder: Path | None) -> None:
    """Keep both going until the server ends."""
    from orchestrator.demo.stage import StageBroken

    seen: dict[Path, int] = {}
    told = False
    while not (how := server.ended()):
        if folder is not None:
            now = dict(islice(_sources(folder), FILES_WATCHED_MAX))
            if now != seen:
                if seen:
                    output.say("a file has changed: starting the worker again")
                worker.stop()
                worker.start()
                seen, told = now, False
            elif not told and (end := worker.ended()):
                output.say(f"the worker {end}; it is started again when a file in {folder} changes")
                told = True
        time.sleep(LOOK_SECONDS)
    raise StageBroken(f"the server {how}")


def _folder_of(target: str) -> Path:
    """Find the folder whose sources make up the worker."""
    from orchestrator.cli.failure import ExitCode, Failure

    place = target.partition(":")[0]
    path = Path(place)
    if path.is_file():
        return path.resolve().parent
    try:
        found = None if path.suffix == ".py" else importlib.util.find_spec(place.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    here = Path.cwd() / Path(*place.split("."))
    if path.suffix != ".py" and (here.is_dir() or here.with_suffix(".py").is_file()):
        return here if here.is_dir() else here.parent
    if found is None or found.origin is None:
        mend = "pass a Python file or a module: orchestrator dev my_worker.py"
        raise Failure(f"{place} is neither a file nor a module", mend=mend, code=ExitCode.USAGE)
    return Path(found.origin).parent


def _sources(folder: Path) -> Iterator[tuple[Path, int]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_WATCHED)
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(place, name)
                try:
                    yield path, path.stat().st_mtime_ns
                except OSError:
                    continue


_NOT_WATCHED: Final = frozenset({"__pycache__", "node_modules", "venv", "site-packages"})
