from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.app import run
from tests.cli.fake import Fake


def loaded(arguments: list[str]) -> set[str]:
    """Run a command in a process of its own, and give the modules that it has loaded."""
    program = (
        "import sys; from orchestrator.cli import main; sys.argv[1:] = sys.argv[2:]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('modules:', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, "-", *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("modules:")[2].split())


def test_the_version_loads_next_to_nothing() -> None:
    modules = loaded(["--version"])
    assert not modules & {"typer", "rich", "msgspec", "workersdk", "asyncio"}


def test_a_client_command_does_not_load_the_server(fake: Fake) -> None:
    fake.on("GET", "/workflow/runs", [])
    modules = loaded(["run", "list", "--url", fake.url])
    assert not modules & {"granian", "falcon", "jinja2", "sqlite3", "asyncio", "workersdk", "orchestrator.bootstrap"}


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"orchestrator {orchestrator.__version__}\n"


@pytest.mark.parametrize("command", ["", "run", "workflow", "dlq", "worker"])
def test_a_group_alone_shows_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command.split()) in (0, 2)
    shown = capsys.readouterr()
    assert f"Usage: orchestrator {command}".strip() in shown.out + shown.err


@pytest.mark.parametrize("command", ["demo", "dev", "server", "stop", "doctor", "run start", "run list", "dlq redrive"])
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command.split(), "-h"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.startswith("orchestrator ")
