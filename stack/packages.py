"""The programs that the services need, from Debian's packages where we may install them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import postgres
from stack.kafka_libs import LIBS
from stack.service import NotInstalled, StackError

NO_MAIN_CLUSTER = Path("/etc/postgresql-common/createcluster.d/orchestrator.conf")
"""Tells Debian's package not to make a cluster of its own: nobody would use it, and it would take memory and a port."""

NO_START = Path("/usr/sbin/policy-rc.d")
"""While it exits with 101, Debian's packages start no service when they are installed."""


def of_services() -> dict[str, bool]:
    """Give the Debian packages of what the services need, and whether their programs are there."""
    return {
        "postgresql": postgres.programs() is not None,
        "redis-server": shutil.which("redis-server") is not None,
        "default-jre-headless": shutil.which("java") is not None,
        "maven": LIBS.are_copied() or shutil.which("mvn") is not None,
    }


def of_java() -> dict[str, bool]:
    """Give the Debian packages of what the SDK for Java is built with, and whether their programs are there."""
    return {
        "default-jdk-headless": shutil.which("javac") is not None,
        "maven": shutil.which("mvn") is not None,
    }


def missing(wanted: Callable[[], dict[str, bool]] = of_services) -> list[str]:
    """Give the Debian packages of programs that are not there."""
    return [name for name, there in wanted().items() if not there]


def install(wanted: Callable[[], dict[str, bool]] = of_services) -> None:
    """Install what is missing.

    Raises:
        NotInstalled: it takes another user or another system; the message says what to type
        StackError: the installation failed
    """
    names = missing(wanted)
    if not names:
        return
    apt = shutil.which("apt-get")
    if apt is None:
        raise NotInstalled(
            "PostgreSQL 15, Redis 7, Java 17 and Maven are needed, or for the first three a running Docker; "
            f"not found: what Debian has in {', '.join(names)}"
        )
    if os.geteuid() != 0:
        raise NotInstalled(f"some programs are missing. Install them, or start Docker:\n  {by_hand(names)}")
    print(f"installing {', '.join(names)} ...", flush=True)
    with services_left_alone():
        _run(apt, "update", "-q")
        _run(apt, "install", "-q", "-y", "--no-install-recommends", *names)
    if missing(wanted):
        raise StackError(f"installed, and still not found: {', '.join(missing(wanted))}")


def by_hand(names: list[str]) -> str:
    """Give the command that installs packages."""
    return f"sudo apt-get update && sudo apt-get install --no-install-recommends {' '.join(names)}"


@contextmanager
def services_left_alone() -> Iterator[None]:
    """Keep packages from starting services while they are installed; the rule against a main cluster stays."""
    if postgres.programs() is None:
        NO_MAIN_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_MAIN_CLUSTER.write_text("create_main_cluster = false\n")
    ours = not NO_START.exists()
    if ours:
        NO_START.write_text("#!/bin/sh\nexit 101\n")
        NO_START.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            NO_START.unlink()


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise StackError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
