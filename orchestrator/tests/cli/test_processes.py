from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.app import run
from orchestrator.cli.record import Record, read_record, recorded
from orchestrator.demo.children import Child, free_port, port_is_free

SLEEPER = ["-c", "import sys; print('orchestrator'); sys.stdin.read()"]


def test_the_note_is_there_while_the_process_runs(tmp_path: Path) -> None:
    with recorded(tmp_path, "server", "http://here"):
        assert read_record(tmp_path) == Record(os.getpid(), "server", "http://here")
    assert not list(tmp_path.iterdir())
    with recorded(None, "server", "http://here"):
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1, "command": "server", "url": "http://here"}']
)
def test_a_note_that_means_nobody(text: str, tmp_path: Path) -> None:
    (tmp_path / "process.json").write_text(text)
    assert read_record(tmp_path) is None


def test_stop_waits_until_the_process_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other process says when its note is there by closing its output."""
    program = """
import os, signal, sys
from pathlib import Path
from orchestrator.cli.children import interruptible
from orchestrator.cli.record import recorded
with interruptible(), recorded(Path(sys.argv[1]), "server", "http://here"):
    os.close(1)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.read() == b""
        assert run(["stop", "--data", str(tmp_path)]) == 0
        assert other.wait() == 0
    assert f"stopped the server (process {other.pid}) at http://here" in capsys.readouterr().err


def test_stop_finds_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stop", "--data", str(tmp_path)]) == 0
    assert "nothing runs" in capsys.readouterr().err


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free(port)
        assert free_port(port) > port


def test_a_child_says_how_it_ended(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEPER, tmp_path / "log")
    child.start()
    assert child.ended() == ""
    os.kill(child.pid, signal.SIGKILL)
    child._process.wait()  # type: ignore[union-attr]
    assert child.ended() == "was ended by SIGKILL"
    child.start()
    child.stop()
    assert child.ended() in ("was ended by SIGTERM", "ended with exit code 0")


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """The parent is killed in a way that lets it do nothing; its child prints its id first and then waits."""
    program = """
import os, signal, sys
from pathlib import Path
from orchestrator.demo.children import Child
child = Child("x", ["-c", "import sys, orchestrator.demo.lifeline as l, signal; l.stop_with_parent(); signal.pause()"])
child.start()
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        # The child holds the other end of this pipe, so that its end is the end of the file.
        pid = int(parent.stdout.readline())
        assert pid > 0
        assert parent.stdout.read() == ""


def test_a_folder_that_somebody_runs_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with recorded(tmp_path, "server", "http://127.0.0.1:8080"):
        assert run(["demo", "--once", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "a server runs on" in told
    assert "http://127.0.0.1:8080" in told
