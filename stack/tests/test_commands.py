"""`python -m stack`, as the Makefile calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack import packages
from stack.ports import free_port
from stack.service import StackError
from stack.settings import CHECKOUT, PORTS, read


class Shell:
    """Runs commands on a stack of its own."""

    def __init__(self, folder: Path) -> None:
        ports = {name: str(free_port()) for name in PORTS}
        self.environment = {**os.environ, "STACK": "native", "STACK_FOLDER": str(folder), **ports}

    def forget_ports(self) -> None:
        """From now on, name no port."""
        self.environment = {name: value for name, value in self.environment.items() if name not in PORTS}

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "stack", command]
        return subprocess.run(words, check=False, capture_output=True, text=True, cwd=CHECKOUT, env=self.environment)


def test_up_twice_status_down_and_wipe(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    shell = Shell(folder)
    try:
        up = shell.run("up")
        assert up.returncode == 0, up.stderr
        ports = read(shell.environment).ports
        line = (
            f"server --database postgresql://orchestrator:orchestrator@127.0.0.1:{ports['POSTGRES_PORT']}/orchestrator "
            f"--kafka 127.0.0.1:{ports['KAFKA_PORT']} --redis redis://127.0.0.1:{ports['REDIS_PORT']}/0"
        )
        assert line in up.stdout
        shell.forget_ports()
        assert shell.run("up").stdout.count(" answers at ") == 3
        status = shell.run("status")
        assert status.returncode == 0
        assert status.stdout.count(" answers at ") == 3
        assert str(ports["KAFKA_PORT"]) in status.stdout
    finally:
        down = shell.run("down")
    assert down.stdout.count("is stopped") == 3
    assert (folder / "postgres" / "data" / "PG_VERSION").exists()
    status = shell.run("status")
    assert status.returncode == 1
    assert "make stack" in status.stderr
    assert shell.run("wipe").returncode == 0
    assert not (folder / "postgres").exists()


def test_settings_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="KAFKA_PORT=x"):
        read({"KAFKA_PORT": "x"})
    with pytest.raises(StackError, match="STACK=dcoker"):
        read({"STACK": "dcoker"})
    assert read({"STACK_FOLDER": str(tmp_path)}).ports == PORTS


def test_everything_is_installed_and_else_a_command_is_named() -> None:
    assert packages.missing() == []
    assert packages.by_hand(["postgresql"]).endswith("apt-get install --no-install-recommends postgresql")
