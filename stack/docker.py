"""The same services in containers, where a Docker engine answers: see docker-compose.yaml."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from stack.service import StackError

COMPOSE = Path(__file__).parent.parent / "docker-compose.yaml"
ANSWER_SECONDS_MAX = 10.0
INFRASTRUCTURE = ("kafka", "postgres", "redis")
WAIT_SECONDS_MAX = 300
"""How long containers may take until they are healthy, images that are there not counted."""


def answers() -> bool:
    """Whether there is an engine, not only its client, and compose."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    try:
        for words in (["info"], ["compose", "version"]):
            subprocess.run([docker, *words], check=True, capture_output=True, timeout=ANSWER_SECONDS_MAX)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def compose(*words: str, environment: dict[str, str]) -> None:
    """Run a command of `docker compose` on our file. Raises StackError when it fails."""
    command = ["docker", "compose", "--file", str(COMPOSE), *words]
    if subprocess.run(command, check=False, env=environment).returncode != 0:
        raise StackError(f"{' '.join(command)} failed")


def up(*profile: str, environment: dict[str, str]) -> None:
    """Start the infrastructure, or a profile with all that it needs; wait until all are healthy."""
    waiting = ("up", "--detach", "--build", "--wait", "--wait-timeout", str(WAIT_SECONDS_MAX))
    if profile:
        compose("--profile", *profile, *waiting, environment=environment)
    else:
        compose(*waiting, *INFRASTRUCTURE, environment=environment)


def down(*, wipe: bool, environment: dict[str, str]) -> None:
    """Stop all containers of all profiles; with `wipe`, drop their data too."""
    compose("--profile", "all", "down", *(("--volumes",) if wipe else ()), environment=environment)
