from __future__ import annotations

import json
import shutil
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.cli.app import run
from stack.ports import free_port
from tests.cli.fake import Fake


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = run(["doctor", "--json", *arguments])
    return code, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_a_machine_on_which_nothing_runs_yet_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ORCHESTRATOR_URL", raising=False)
    monkeypatch.setattr("orchestrator.cli.address.DEFAULT_URL", "http://127.0.0.1:1")
    port = free_port()
    code, found = findings(capsys, "--data", str(tmp_path / "data"), "--port", str(port))
    assert code == 0
    assert found[f"port {port}"]["state"] == "OK"
    assert found["python"]["state"] == found["packages"]["state"] == found["sqlite"]["state"] == "OK"
    assert not (tmp_path / "data").exists()


def test_a_server_that_was_named_and_is_not_there_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, found = findings(capsys, "--data", str(tmp_path), "--url", url)
    assert code == 7
    assert found["server"]["state"] == "FAIL"
    assert "orchestrator server" in found["server"]["fix"]


def test_actions_that_nobody_does_are_named(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/health/ready", {"status": "ok"})
    fake.on("GET", "/health/live", {"status": "ok"})
    fake.on("GET", "/workers", [{"status": "CONNECTED", "actions": ["a"]}, {"status": "GONE", "actions": ["b"]}])
    fake.on("GET", "/workflow/", [{"steps": [{"action": "a"}, {"action": "b"}]}])
    code, found = findings(capsys, "--data", str(tmp_path), "--port", fake.url.rpartition(":")[2])
    assert code == 0
    assert found["workers"]["state"] == "WARN"
    assert found["workers"]["found"] == "1 connected; nobody does b"
    assert next(check for name, check in found.items() if name.startswith("port"))["found"].startswith(
        "an orchestrator"
    )


def test_a_server_that_is_not_ready_is_a_problem(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.problem("GET", "/health/ready", 503, "unavailable", detail="the disk is full")
    code, found = findings(capsys, "--data", str(tmp_path))
    assert code == 7
    assert "the disk is full" in found["server"]["found"]


def test_a_clock_that_is_far_off_is_a_problem(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.cli import checks
    from orchestrator.cli.rest import Answer

    past = formatdate(0, usegmt=True)
    assert checks._clock(Answer(200, {"date": past}, b"{}")).state == "FAIL"
    assert checks._clock(Answer(200, {"date": past}, b'{"time":"2026-01-01T00:00:00.000000Z"}')).state == "FAIL"
    assert checks._clock(Answer(200, {"date": formatdate(usegmt=True)}, b"{}")).state == "OK"
    assert checks._clock(Answer(200, {}, b"{}")).state == "OK"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize(("free", "state"), [(1, "FAIL"), (200 * 2**20, "WARN"), (2**40, "OK")])
def test_the_disk(free: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.cli import checks

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 0, free))
    assert checks._disk(tmp_path).state == state


def test_a_data_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").write_text("")
    code, found = findings(capsys, "--data", str(tmp_path / "data"))
    assert code == 7
    assert found["data folder"]["state"] == "FAIL"


def test_who_holds_the_data_folder(tmp_path: Path) -> None:
    from orchestrator.adapters.sqlite.database import _Lock
    from orchestrator.cli import checks

    assert checks._lock(tmp_path).found == "by nobody"
    with _Lock(tmp_path):
        assert checks._lock(tmp_path).found.startswith("by process ")
    assert checks._lock(tmp_path).found == "by nobody"


def test_people_see_the_fix(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake.problem("GET", "/health/ready", 503, "unavailable", detail="the disk is full")
    assert run(["doctor", "--data", str(tmp_path)]) == 7
    told = capsys.readouterr()
    assert "\tFAIL\t" in told.out
    assert "fix: see its log" in told.err
