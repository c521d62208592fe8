from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest
from workersdk import Context

from orchestrator.demo import steps, workflow
from orchestrator.demo.files import digest, find_files
from orchestrator.model.definition import parse_definition
from orchestrator.model.limits import Limits


class FakeContext:
    def __init__(self) -> None:
        self.run_id = "r-1"
        self.attempt = 1
        self.cancelled = False
        self.told: list[Any] = []

    def heartbeat(self, details: Any = None) -> None:
        self.told.append(details)


def do(action: str, payload: dict[str, Any], context: FakeContext) -> dict[str, Any]:
    return steps.HANDLERS[f"demo.{action}"](payload, cast(Context, context))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "input"
    (made / "sub").mkdir(parents=True)
    (made / "a.txt").write_text("a" * 1_000)
    (made / "sub" / "ü b.txt").write_text("<b>")
    (made / ".hidden").write_text("x")
    (made / "node_modules").mkdir()
    (made / "node_modules" / "x.js").write_text("x")
    (made / "link").symlink_to(made / "a.txt")
    return made


def input_of(folder: Path) -> dict[str, Any]:
    return workflow.run_input(folder, folder.parent, 0.0, [])


def up_to_compress(folder: Path, context: FakeContext) -> dict[str, Any]:
    payload = input_of(folder)
    for action in ("list", "hash", "compress"):
        payload = do(action, payload, context)
    return payload


def test_the_definition_is_valid() -> None:
    definition = parse_definition(json.dumps(workflow.DEFINITION).encode(), Limits())
    assert {step.action for step in definition.steps} == set(steps.HANDLERS)


def test_the_whole_workflow(folder: Path) -> None:
    context = FakeContext()
    payload = up_to_compress(folder, context)
    with pytest.raises(steps.ArchiveNotSettled, match="on purpose"):
        do("verify", payload, context)
    context.attempt = 2
    result = do("report", do("verify", payload, context), context)
    assert result["files"] == 2
    assert result["bytes"] == 1_003
    assert set(result["seconds"]) == set(workflow.ACTIONS)
    page = Path(result["report"]).read_text("utf-8")
    assert "a.txt" in page
    assert "sub/ü b.txt" in page
    assert "ArchiveNotSettled" in page
    assert "attempt 2 went through" in page
    with tarfile.open(result["archive"]) as archive:
        assert archive.getnames() == ["a.txt", "sub/ü b.txt"]
    assert context.told[-1] == {"done": 1, "of": 1}


def test_what_goes_from_step_to_step_is_small(folder: Path) -> None:
    for number in range(500):
        (folder / f"file-{number}").write_text("x")
    payload = up_to_compress(folder, FakeContext())
    assert payload["files"] == 502
    assert len(json.dumps(payload)) < 1_000


def test_the_same_files_make_the_same_archive(folder: Path) -> None:
    context = FakeContext()
    first = up_to_compress(folder, context)
    os.utime(folder / "a.txt", (1, 1))
    context.run_id = "r-2"
    second = up_to_compress(folder, context)
    assert first["archiveSha256"] == second["archiveSha256"]
    assert first["archive"] != second["archive"]


@pytest.mark.parametrize("action", ["list", "hash", "compress"])
def test_a_step_that_was_killed_can_be_done_again(action: str, folder: Path) -> None:
    context = FakeContext()
    payload = input_of(folder)
    for name in ("list", "hash", "compress"):
        before = payload
        payload = do(name, before, context)
        if name == action:
            again = do(name, before, context)
            assert {**again, "seconds": None} == {**payload, "seconds": None}
    context.attempt = 2
    assert do("verify", payload, context)["files"] == 2
    assert not [path for path in Path(payload["place"]).iterdir() if path.suffix == ".tmp"]


def test_a_file_that_changes_meanwhile_is_left_out(folder: Path) -> None:
    context = FakeContext()
    payload = do("hash", do("list", input_of(folder), context), context)
    (folder / "a.txt").write_text("changed")
    payload = do("compress", payload, context)
    assert (payload["files"], payload["leftOut"]) == (1, 1)
    context.attempt = 2
    assert "1 files were left out" in Path(do("report", do("verify", payload, context), context)["report"]).read_text()


def test_an_archive_that_differs_is_found(folder: Path) -> None:
    context = FakeContext()
    context.attempt = 2
    payload = up_to_compress(folder, context)
    hashes = Path(payload["place"], steps.HASHES)
    hashes.write_text(hashes.read_text().replace(digest(folder / "a.txt"), "0" * 64))
    with pytest.raises(steps.ArchiveDiffers, match=r"a\.txt"):
        do("verify", payload, context)


def test_a_folder_without_files_fails_for_good(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(steps.NoFiles):
            do("list", input_of(folder), FakeContext())


def test_a_cancelled_step_stops(folder: Path) -> None:
    context = FakeContext()
    context.cancelled = True
    with pytest.raises(steps.Unwanted):
        do("list", input_of(folder), context)


def test_there_is_a_most(folder: Path) -> None:
    result = do("list", {**input_of(folder), "bytesMax": 10}, FakeContext())
    assert (result["files"], result["leftOut"]) == (1, 1)


def test_in_a_checkout_git_says_what_belongs_to_it(folder: Path) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".gitignore").write_text("sub/\n")
    (folder / "node_modules" / "x.js").unlink()
    names = [path.name for path in find_files(folder, [])]
    assert names == [".gitignore", ".hidden", "a.txt"]
    assert workflow.run_input(None, folder / "sub", 0, [])["folder"] == str(folder)


def test_excluded_folders_are_left_out(folder: Path) -> None:
    assert [path.name for path in find_files(folder, [folder / "sub"])] == ["a.txt"]
