"""`python -m stack COMMAND`: what the Makefile's targets do."""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import docker, kafka, packages
from stack.application import ExampleWorker, Orchestrator
from stack.examples import EXAMPLES, LANGUAGES
from stack.service import Service, StackError
from stack.settings import CHECKOUT, Settings, read


def install(settings: Settings) -> None:
    """Install programs and jars, and start nothing."""
    packages.install()
    kafka.install()


def install_java(settings: Settings) -> None:
    """Install what the SDK for Java is built with."""
    packages.install(packages.of_java)


def up(settings: Settings) -> None:
    """Start the three, in containers if Docker answers, and say where they are."""
    settings.remember()
    if in_containers(settings):
        docker.up(environment=settings.environment())
    else:
        install(settings)
        for service in settings.services():
            started(service)
    describe(settings)


def python(settings: Settings) -> None:
    """Start the three, an orchestrator that uses them, and the examples in Python."""
    with_examples(settings, "python")


def node(settings: Settings) -> None:
    """Start the three, an orchestrator that uses them, and the examples in Node.js."""
    with_examples(settings, "node")


def java(settings: Settings) -> None:
    """Start the three, an orchestrator that uses them, and the examples in Java."""
    with_examples(settings, "java")


def with_examples(settings: Settings, language: str) -> None:
    """Start everything for the examples in a language, and the examples."""
    server, *workers = applications(settings)
    if in_containers(settings):
        settings.remember()
        docker.up(language, environment=settings.environment())
    else:
        up(settings)
        started(server)
        for worker in workers:
            if worker.language == language:
                started(worker)
    print(f"\nThe orchestrator is at {server.url}/workflow/runs; `make stop` stops everything.")


def down(settings: Settings) -> None:
    """Stop all that runs, however it was started; data stays."""
    for service in reversed([*settings.services(), *applications(settings)]):
        if service.pid is not None:
            service.stop()
            print(f"{service.name} is stopped")
    if in_containers(settings):
        docker.down(wipe=False, environment=settings.environment())


def wipe(settings: Settings) -> None:
    """Stop all that runs, and drop its data; programs and jars stay."""
    down(settings)
    for service in (*settings.services(), *applications(settings)):
        shutil.rmtree(service.folder, ignore_errors=True)
    settings.forget()
    if in_containers(settings):
        docker.down(wipe=True, environment=settings.environment())


def status(settings: Settings) -> None:
    """Say what runs, and fail unless the three answer."""
    services = settings.services()
    for service in services:
        place = "" if service.pid is None else f", process {service.pid}"
        print(f"{service.name:10} {'answers' if service.answers() else 'does not answer'} at {service.url}{place}")
    if not all(service.answers() for service in services):
        raise StackError("start what is missing: make stack")


COMMANDS = {
    "install": install,
    "install-java": install_java,
    "up": up,
    "python": python,
    "node": node,
    "java": java,
    "down": down,
    "wipe": wipe,
    "status": status,
}


def in_containers(settings: Settings) -> bool:
    """Whether Docker runs the services."""
    return not settings.native and docker.answers()


def started(service: Service) -> None:
    """Start a service and say how long it took."""
    before = time.monotonic()
    service.start()
    print(f"{service.name:15} answers at {service.url} after {time.monotonic() - before:.1f} s", flush=True)


def applications(settings: Settings) -> tuple[Orchestrator, *tuple[ExampleWorker, ...]]:
    """Give the orchestrator and the examples in all languages, started or not."""
    server = Orchestrator(settings.folder / "orchestrator", settings.ports["PORT"], settings.server_flags())
    kafka = settings.services()[0].url
    pairs = [(language, example) for language in LANGUAGES for example in EXAMPLES]
    return server, *(ExampleWorker(settings.folder, *pair, server, kafka) for pair in pairs)


def describe(settings: Settings) -> None:
    """Print the command that starts a server on the three."""
    server = (CHECKOUT / "orchestrator/.venv/bin/orchestrator").relative_to(CHECKOUT)
    print("\nA server that uses them:")
    print(f"  {shlex.join([str(server), 'server', *settings.server_flags()])}")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other command works on the stack in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Do what the command line says; give the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m stack", description="Kafka, PostgreSQL and Redis for this checkout"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        commands.add_parser(name, help=function.__doc__)
    chosen = parser.parse_args().command
    try:
        settings = read(os.environ)
        with alone(settings.folder):
            COMMANDS[chosen](settings)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
