"""The doctor's checks. Each gives what it found, and what to do about it; none changes anything."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from orchestrator.cli.failure import Failure, NoAnswer
from orchestrator.cli.finding import Check
from orchestrator.cli.reach import check_parts
from orchestrator.cli.rest import Answer, Orchestrator
from orchestrator.model.limits import MIB

PYTHON_MIN: Final = (3, 11)
SQLITE_MIN: Final = (3, 35, 0)
"""RETURNING and upserts as the store writes them."""
DISTRIBUTION: Final = "workflow-orchestrator"
DISK_BYTES_FAIL: Final = 64 * MIB
DISK_BYTES_WARN: Final = 1024 * MIB
DESCRIPTORS_WARN: Final = 4_096
CLOCK_SECONDS_WARN: Final = 5.0
CLOCK_SECONDS_FAIL: Final = 60.0
ANSWER_SECONDS: Final = 3.0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked."""

    url: str
    url_is_chosen: bool
    port: int
    data: Path
    config: Path | None = None
    """The settings file of the server that would be started here."""


def check_all(place: Place) -> list[Check]:
    """Make every check."""
    server = Orchestrator(place.url, seconds=ANSWER_SECONDS)
    ready, answer = _ready(server, place)
    checks = [
        _python(),
        _packages(),
        _sqlite(),
        _descriptors(),
        _folder(place.data),
        _lock(place.data),
        _disk(place.data),
    ]
    checks += [*check_parts(place.config), _port(place.port), ready]
    if answer is not None:
        checks += [_clock(answer), _workers(server)]
    return checks


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < PYTHON_MIN:
        return Check("python", "FAIL", found, f"use Python {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer")
    return Check("python", "OK", found)


def _packages() -> Check:
    """See whether everything that this package asks for is installed."""
    asked = [
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        for requirement in metadata.requires(DISTRIBUTION) or []
    ]
    versions, missing = [], []
    for name in (DISTRIBUTION, *asked):
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "FAIL", f"missing: {', '.join(missing)}", "install again: `make setup`")
    return Check("packages", "OK", ", ".join(versions))


def _sqlite() -> Check:
    import sqlite3

    if sqlite3.sqlite_version_info < SQLITE_MIN:
        least = ".".join(map(str, SQLITE_MIN))
        return Check(
            "sqlite", "FAIL", sqlite3.sqlite_version, f"use a Python that was built with SQLite {least} or newer"
        )
    return Check("sqlite", "OK", sqlite3.sqlite_version)


def _descriptors() -> Check:
    try:
        import resource
    except ImportError:
        return Check("open files", "OK", "no limit known on this system")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"at most {soft:,}"
    if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS_WARN:
        fix = f"each worker and each waiting client needs one: `ulimit -n {DESCRIPTORS_WARN * 4}` before the start"
        return Check("open files", "WARN", found, fix)
    return Check("open files", "OK", found)


def _folder(data: Path) -> Check:
    """See whether the folder, or the one it would be made in, can be written to."""
    import os

    place = _existing(data)
    if not place.is_dir():
        return Check("data folder", "FAIL", f"{place} is not a folder", "choose another one with --data")
    if not os.access(place, os.W_OK | os.X_OK):
        return Check("data folder", "FAIL", f"{place} cannot be written to", "change its rights, or choose another one")
    return Check("data folder", "OK", f"{data.resolve()}" + ("" if data.exists() else " (will be made)"))


def _lock(data: Path) -> Check:
    """See who holds the folder. That is no problem as long as nobody wants to start a second one."""
    import fcntl

    from orchestrator.adapters.sqlite.database import LOCK_NAME

    try:
        with (data / LOCK_NAME).open("r", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = lock.read().strip() or "unknown"
                fix = "to start another one here, stop that first: `orchestrator stop`"
                return Check("data in use", "OK", f"by process {holder}; {fix}")
    except OSError:
        pass
    return Check("data in use", "OK", "by nobody")


def _disk(data: Path) -> Check:
    free = shutil.disk_usage(_existing(data)).free
    found = f"{free / MIB:,.0f} MiB free"
    fix = "make room, or choose a folder on another disk with --data"
    if free < DISK_BYTES_FAIL:
        return Check("disk", "FAIL", found, fix)
    return Check("disk", "WARN", found, fix) if free < DISK_BYTES_WARN else Check("disk", "OK", found)


def _existing(path: Path) -> Path:
    path = path.resolve()
    return next(place for place in (path, *path.parents) if place.exists())


def _port(port: int) -> Check:
    from orchestrator.demo.children import port_is_free

    name = f"port {port}"
    if port_is_free(port):
        return Check(name, "OK", "free")
    try:
        Orchestrator(f"http://127.0.0.1:{port}", seconds=ANSWER_SECONDS).get("/health/live")
    except Failure:
        fix = f"start with another one: `orchestrator server --port {port + 1}`"
        return Check(name, "WARN", "taken by something that is no orchestrator", fix)
    return Check(name, "OK", "an orchestrator answers there")


def _ready(server: Orchestrator, place: Place) -> tuple[Check, Answer | None]:
    try:
        answer = server.get("/health/ready")
    except NoAnswer as error:
        state: Literal["WARN", "FAIL"] = "FAIL" if place.url_is_chosen else "WARN"
        return Check("server", state, f"{error.what}: {error.why}", error.mend), None
    except Failure as error:
        found = f"{server.url} is there but not ready: {error.why or error.what}"
        return Check("server", "FAIL", found, "see its log for the reason"), None
    return Check("server", "OK", f"{server.url} is ready"), answer


def _clock(answer: Answer) -> Check:
    """Compare with the time in the answer; a Date header has whole seconds, so a second apart is no difference."""
    try:
        told = answer.value.get("time")
        theirs = datetime.fromisoformat(told) if told else parsedate_to_datetime(answer.headers["date"])
    except (KeyError, ValueError):
        return Check("clock", "OK", "the server does not tell its time")
    apart = max(0.0, abs((datetime.now(UTC) - theirs).total_seconds()) - 1)
    found = f"{apart:.0f} s from the server's"
    fix = "let a time service set the clocks of both machines"
    if apart > CLOCK_SECONDS_FAIL:
        return Check("clock", "FAIL", found, fix)
    return Check("clock", "WARN", found, fix) if apart > CLOCK_SECONDS_WARN else Check("clock", "OK", found)


def _workers(server: Orchestrator) -> Check:
    """See who is connected, and whether every action of every workflow has somebody to do it."""
    try:
        workers: list[dict[str, Any]] = [msgspec.json.decode(entry) for entry in server.all("/workers")]
        workflows: list[dict[str, Any]] = [msgspec.json.decode(entry) for entry in server.all("/workflow/")]
    except Failure as error:
        return Check("workers", "FAIL", f"the list cannot be read: {error.what}", error.mend)
    there = [worker for worker in workers if worker["status"] == "CONNECTED"]
    known = {action for worker in there for action in worker["actions"]}
    orphans = sorted({step["action"] for workflow in workflows for step in workflow["steps"]} - known)
    found = f"{len(there)} connected"
    if orphans:
        shown = ", ".join(orphans[:5]) + (" …" if len(orphans) > 5 else "")
        return Check("workers", "WARN", f"{found}; nobody does {shown}", "start a worker that registers these actions")
    return Check("workers", "OK", found)
