"""The commands that start processes, against the real server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.record import read_record
from orchestrator.cli.rest import Orchestrator
from orchestrator.cli.watch import Watched, follow
from orchestrator.demo import workflow
from orchestrator.demo.stage import Stage
from stack.ports import free_port

COMMAND = [sys.executable, "-m", "orchestrator"]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "input"
    made.mkdir()
    for number in range(20):
        (made / f"file-{number}.txt").write_text("content " * 100)
    return made


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )


@contextmanager
def started(folder: Path, *arguments: str, until: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command while the block runs, from the moment that it has said ``until`` on standard error."""
    command = [*COMMAND, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            read_until(process, until)
            yield process
        finally:
            process.terminate()
            process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"the process has ended without saying {text!r}: {said}")


def is_answering(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def test_the_demo_completes_once(tmp_path: Path, folder: Path, port: int) -> None:
    done = call(tmp_path, "demo", "--once", "--json", "--input", str(folder), "--port", str(port))
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = json.loads(done.stdout)
    assert run["status"] == "COMPLETED"
    assert run["finalOutput"]["files"] == 20
    assert Path(run["finalOutput"]["report"]).is_relative_to(tmp_path / "demo-output" / run["runId"])
    verify = run["steps"][3]
    assert [attempt["status"] for attempt in verify["attempts"]] == ["FAILED", "COMPLETED"]
    assert verify["attempts"][0]["error"]["type"] == "ArchiveNotSettled"
    assert not is_answering(port)
    assert read_record(tmp_path / "orchestrator-data") is None


def test_a_demo_without_files_fails_on_the_next_port(tmp_path: Path, port: int) -> None:
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", port)):
        done = call(tmp_path, "demo", "--once", "--memory", "--input", "empty", "--port", str(port))
    assert f"port {port} is taken; using " in done.stderr
    assert done.returncode == 4
    assert "NoFiles" in done.stderr
    assert not (tmp_path / "orchestrator-data").exists()


def test_a_run_survives_the_death_of_the_worker_and_of_the_server(tmp_path: Path, folder: Path, port: int) -> None:
    said: list[str] = []
    with Stage(port=port, data=tmp_path / "data", logs=tmp_path, tell=said.append) as stage:
        server = Orchestrator(stage.server.url)
        server.post("/workflow/", json.dumps(workflow.DEFINITION).encode())
        body = {"input": workflow.run_input(folder, tmp_path, 0.8, [])}
        started = server.post(f"/workflow/{workflow.WORKFLOW_ID}/trigger", json.dumps(body).encode())
        watched = Watched(server, started.value["runId"])
        victims = [stage.worker.pid, stage.server.child.pid]

        def kill_then_mend() -> None:
            done = sum(step["status"] == "COMPLETED" for step in watched.run["steps"])
            if victims and done >= 3 - len(victims):
                os.kill(victims.pop(0), signal.SIGKILL)
            stage.mend()

        follow(watched, quiet=True, timeout=40, look_seconds=0.02, tick=kill_then_mend)
        assert watched.run["status"] == "COMPLETED"
        assert not victims
    assert [line.split(" was ")[0] for line in said] == ["the worker", "the server"]
    assert not is_answering(port)


class Enough(Exception):
    """The test has seen what it wanted."""


def test_how_far_a_step_is_can_be_seen_while_it_works(tmp_path: Path, folder: Path, port: int) -> None:
    with Stage(port=port, data=None, logs=tmp_path, tell=lambda _: None) as stage:
        server = Orchestrator(stage.server.url)
        server.post("/workflow/", json.dumps(workflow.DEFINITION).encode())
        body = {"input": workflow.run_input(folder, tmp_path, 1.5, [])}
        started = server.post(f"/workflow/{workflow.WORKFLOW_ID}/trigger", json.dumps(body).encode())
        watched = Watched(server, started.value["runId"])
        said: list[Any] = []

        def note_details() -> None:
            first = watched.run["steps"][0]
            said.append(first.get("details"))
            if first["status"] == "COMPLETED" or len(first["attempts"]) > 1:
                raise Enough

        with pytest.raises(Enough):
            follow(watched, quiet=True, timeout=20, look_seconds=0.02, tick=note_details)
        assert len(watched.run["steps"][0]["attempts"]) == 1, (tmp_path / "worker.log").read_text()
        assert any(details and details["of"] == 20 for details in said)


def test_an_unfinished_run_goes_on_in_the_next_demo(tmp_path: Path, folder: Path, port: int) -> None:
    data = tmp_path / "orchestrator-data"
    with Stage(port=port, data=data, logs=tmp_path, tell=lambda _: None) as stage:
        server = Orchestrator(stage.server.url)
        stage.worker.stop()
        server.post("/workflow/", json.dumps(workflow.DEFINITION).encode())
        body = {"input": workflow.run_input(folder, tmp_path, 0.0, [])}
        run_id = server.post(f"/workflow/{workflow.WORKFLOW_ID}/trigger", json.dumps(body).encode()).value["runId"]
    done = call(tmp_path, "demo", "--once", "--json", "--port", str(port))
    assert done.returncode == 0, done.stderr
    assert f"continuing run {run_id}" in done.stderr
    assert json.loads(done.stdout)["runId"] == run_id


def test_server_and_stop(tmp_path: Path, port: int) -> None:
    with started(tmp_path, "server", "--port", str(port), until="is ready at") as process:
        assert is_answering(port)
        again = call(tmp_path, "server", "--port", str(free_port()))
        assert again.returncode == 1
        assert "the data folder is in use" in again.stderr
        taken = call(tmp_path, "server", "--port", str(port), "--memory")
        assert taken.returncode == 1
        assert f"port {port} is taken" in taken.stderr
        demo = call(tmp_path, "demo", "--once", "--port", str(port))
        assert demo.returncode == 1
        assert f"at http://127.0.0.1:{port}" in demo.stderr
        stopped = call(tmp_path, "stop")
        assert stopped.returncode == 0, stopped.stderr
        assert process.wait() == 0
    assert not is_answering(port)


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("port = 0\n")
    done = call(tmp_path, "server", "--config", "settings.toml")
    assert done.returncode == 1
    assert "the settings are not valid" in done.stderr
    assert "port" in done.stderr


def test_dev_starts_the_worker_again_when_its_file_changes(tmp_path: Path, port: int) -> None:
    file = tmp_path / "my_worker.py"
    text = "from workersdk import Worker\n\nworker = Worker()\nworker.register('greet', lambda name: f'{} {name}')\n"
    file.write_text(text.replace("{}", "Hello"))
    arguments = ["dev", "my_worker.py", "--port", str(port), "--memory"]
    with started(tmp_path, *arguments, until="connected to") as process:
        server = Orchestrator(f"http://127.0.0.1:{port}")
        server.post("/workflow/", json.dumps({"id": "greet", "steps": [{"action": "greet"}]}).encode())

        def greet() -> Any:
            return server.post("/workflow/greet/trigger", b'{"input":"World"}', {"wait": "20s"}).value["finalOutput"]

        assert greet() == "Hello World"
        file.write_text(text.replace("{}", "Good morning"))
        os.utime(file, (time.time() + 2, time.time() + 2))
        assert "a file has changed" in read_until(process, "connected to")
        assert greet() == "Good morning World"
    assert not is_answering(port)


@pytest.mark.parametrize("target", ["none.py", "no_such_module_anywhere"])
def test_dev_wants_something_that_is_there(target: str, tmp_path: Path) -> None:
    done = call(tmp_path, "dev", target)
    assert done.returncode == 2
    assert "is neither a file nor a module" in done.stderr
