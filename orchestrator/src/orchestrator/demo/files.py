"""Finding files, and writing them so that a reader sees either nothing or all of it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SKIPPED_FOLDERS: Final = frozenset(
    {
        "__pycache__",
        "build",
        "demo-output",
        "dist",
        "env",
        "node_modules",
        "orchestrator-data",
        "target",
        "vendor",
        "venv",
    }
)
"""Folders that a walk does not enter; nor does it enter hidden ones."""

READ_BYTES: Final = 256 * 1024
GIT_SECONDS_MAX: Final = 10


def enclosing_checkout(folder: Path) -> Path | None:
    """Find the git checkout that a folder is in."""
    folder = folder.resolve()
    return next((place for place in (folder, *folder.parents) if (place / ".git").exists()), None)


def find_files(folder: Path, excluded: list[Path]) -> Iterator[Path]:
    """Give the regular files of a folder that this process can read, by name; links are not followed.

    In a checkout these are the files that git knows or would add; elsewhere all but hidden and made ones.
    """
    for path in _listed_by_git(folder) or _walk(folder):
        if path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK):
            continue
        if not any(path.is_relative_to(place) for place in excluded):
            yield path


def _listed_by_git(folder: Path) -> list[Path]:
    """Ask git; an empty list when it does not know the folder, or is not there."""
    git = shutil.which("git")
    if git is None or enclosing_checkout(folder) is None:
        return []
    command = [git, "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=GIT_SECONDS_MAX)  # noqa: S603 - no shell
    except (OSError, subprocess.SubprocessError):
        return []
    names = sorted(set(done.stdout.split(b"\0")) - {b""})
    return [folder / os.fsdecode(name) for name in names]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED_FOLDERS)
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def digest(path: Path) -> str:
    """Give a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole: a process that is killed here leaves the old one, or none."""
    temporary = temporary_name(path)
    temporary.write_bytes(content)
    temporary.replace(path)


def temporary_name(path: Path) -> Path:
    """Name a file beside another that no other attempt writes to."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.tmp")


def write_json(path: Path, value: Any) -> None:
    """Write a manifest."""
    replace_file(path, json.dumps(value, indent=1).encode())


def read_json(path: Path) -> Any:
    """Read a manifest."""
    return json.loads(path.read_bytes())
