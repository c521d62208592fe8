from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.app import run
from tests.cli.fake import Fake

ORDER: dict[str, Any] = {"id": "order", "steps": [{"action": "reserve"}, {"action": "charge"}]}
STEP: dict[str, Any] = {
    "action": "reserve",
    "stepIndex": 0,
    "retry": {"maxRetries": 3, "delay": 1, "backoff": "fixed", "maxDelay": None, "jitter": 0.0, "nonRetryable": []},
    "timeout": 20,
    "heartbeatTimeout": None,
}
STORED: dict[str, Any] = {
    "id": "order",
    "version": 2,
    "description": "takes orders",
    "createdAt": "2026-11-23T10:00:00.000000Z",
    "timeout": 3600,
    "steps": [STEP],
}


def write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_apply_says_what_changed(fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("POST", "/workflow/", STORED, status=201)
    assert run(["workflow", "apply", write(tmp_path / "a.json", ORDER)]) == 0
    assert capsys.readouterr().out == "order\t2\tdefined\n"
    assert json.loads(fake.calls[0].body) == ORDER


def test_apply_takes_lists_documents_yaml_and_standard_input(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on("POST", "/workflow/", STORED)
    listed = write(tmp_path / "a.json", [ORDER, {**ORDER, "id": "b"}])
    documents = write(
        tmp_path / "b.yaml", "id: c\nsteps: [{action: x}]\n---\nid: d\nsteps: [{action: y, timeout: 5m}]\n"
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps({**ORDER, "id": "e"}).encode())))
    assert run(["workflow", "apply", listed, documents, "-"]) == 0
    assert [json.loads(call.body)["id"] for call in fake.calls] == ["order", "b", "c", "d", "e"]
    assert capsys.readouterr().out == "order\t2\tunchanged\n" * 5


def test_apply_goes_on_after_a_definition_that_is_refused(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"field": "steps[0].action", "reason": "it is empty", "mend": "name it"}
    fake.problem("POST", "/workflow/", 422, "definition-invalid", errors=[error])
    fake.on("POST", "/workflow/", STORED, status=201)
    file = write(tmp_path / "a.json", [ORDER, ORDER])
    assert run(["workflow", "apply", file]) == 1
    told = capsys.readouterr()
    assert told.out == "order\t2\tdefined\n"
    assert f"error: {file} [0]: The title of definition-invalid" in told.err
    assert "  steps[0].action: it is empty (name it)" in told.err


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", "{,}", "is not JSON"),
        ("a.json", '{"timeout": NaN}', "is not JSON"),
        ("a.yaml", "a: [", "is not YAML"),
        ("a.yaml", "a: &a [*a]", "nested without end"),
        ("a.yaml", "", "holds no definition"),
        ("a.json", "[]", "holds no definition"),
    ],
)
def test_a_file_that_cannot_be_used(
    name: str, content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["workflow", "validate", write(tmp_path / name, content)]) == 1
    assert says in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["workflow", "apply", "/no/such/file.json"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_validate_needs_no_server_and_names_every_wrong_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://127.0.0.1:1")
    good = write(tmp_path / "good.json", ORDER)
    twice = [{"action": "a", "stepIndex": 0}, {"action": "", "stepIndex": 0}]
    bad = write(tmp_path / "bad.json", {"id": "order", "steps": twice})
    assert run(["workflow", "validate", good, bad]) == 1
    shown = capsys.readouterr().out
    assert f"{good}: valid (order)" in shown
    assert f"{bad}: 2 fields are wrong" in shown
    assert "  steps[1].action: it is empty; use letters" in shown
    assert "  steps[1].stepIndex: 0 is used by another step; give every step its own stepIndex" in shown


def test_validate_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.json", [ORDER, {"id": "x", "steps": [], "colour": "red"}])
    assert run(["workflow", "validate", file, "--json"]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert good == {"place": f"{file} [0]", "id": "order", "valid": True, "errors": []}
    assert bad["valid"] is False
    assert bad["errors"]


def test_list_and_show(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workflow/", [STORED])
    fake.on("GET", "/workflow/order", STORED)
    fake.on("GET", "/workflow/order/versions/1", {**STORED, "version": 1})
    assert run(["workflow", "list"]) == 0
    assert capsys.readouterr().out == "order\t2\t1\t2026-11-23T10:00:00.000000Z\ttakes orders\n"
    assert run(["workflow", "show", "order"]) == 0
    assert capsys.readouterr().out == "0\treserve\t3\t1.0 s\tfixed\t20.0 s\t\n"
    assert run(["workflow", "show", "order", "--version", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1


@pytest.mark.usefixtures("terminal")
def test_a_table_on_a_terminal_has_a_head(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.on("GET", "/workflow/", [STORED])
    assert run(["workflow", "list"]) == 0
    assert "WORKFLOW" in capsys.readouterr().out


def test_an_id_is_one_segment_of_the_path(fake: Fake) -> None:
    fake.on("GET", "/workflow/a%2Fb", STORED)
    assert run(["workflow", "show", "a/b"]) == 0
