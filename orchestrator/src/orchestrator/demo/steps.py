"""The five handlers. Each may be killed at any line and run again from its start: it writes whole files only.

Between the steps goes a small object: where things are, how many, and how long each step took. The lists themselves are
manifests in the run's folder, because a payload is kept for ever and has a maximum size.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from workersdk import Context, NonRetryableError

from orchestrator.demo.files import READ_BYTES, digest, find_files, read_json, replace_file, temporary_name, write_json
from orchestrator.demo.report import render_report
from orchestrator.demo.workflow import ACTIONS

Payload = dict[str, Any]

FILES: Final = "files.json"
HASHES: Final = "hashes.json"
DEMONSTRATION: Final = "first-verify.json"
"""Kept by the first attempt to verify, so that the report can tell of it."""
ARCHIVE: Final = "archive.tar.gz"
REPORT: Final = "report.html"

TELL_EVERY_SECONDS: Final = 0.1
COMPRESS_LEVEL: Final = 6


class NoFiles(NonRetryableError):
    """The folder is gone, or holds nothing that could be archived."""


class Unwanted(NonRetryableError):
    """The run was cancelled, or another attempt has begun."""


class ArchiveNotSettled(Exception):
    """The deliberate failure of the first attempt to verify: it shows what a retry looks like."""


class ArchiveDiffers(Exception):
    """A file in the archive is not the one that was hashed."""


class Progress:
    """Tells people how far a step is, and makes it last long enough to be seen."""

    def __init__(self, context: Context, total: int, seconds: float) -> None:
        self._context = context
        self._total = total
        self._seconds = seconds
        self._done = 0
        self._started = self._told = time.monotonic()

    def advance(self) -> None:
        """Count one file as done."""
        self._done += 1
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_SECONDS or self._done == self._total:
            self._told = now
            self._context.heartbeat({"done": self._done, "of": self._total})
        if self._context.cancelled:
            raise Unwanted("nobody waits for this attempt any more")
        time.sleep(max(0.0, self._started + self._seconds * self._done / max(self._total, 1) - now))


def list_files(payload: Payload, context: Context) -> Payload:
    """Find the files and their sizes."""
    folder = Path(payload["folder"])
    if not folder.is_dir():
        raise NoFiles(f"{folder} is not a folder on the worker's machine")
    place = Path(payload["output"], context.run_id)
    place.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    size = left_out = 0
    for path in find_files(folder, [Path(name) for name in payload["excluded"]]):
        try:
            length = path.stat().st_size
        except OSError:
            continue
        if len(found) >= payload["filesMax"] or size + length > payload["bytesMax"]:
            left_out += 1
            continue
        found.append({"name": path.relative_to(folder).as_posix(), "size": length})
        size += length
    if not found:
        raise NoFiles(f"{folder} has no file that could be archived")
    progress = Progress(context, len(found), payload["pace"])
    for _ in found:
        progress.advance()
    write_json(place / FILES, found)
    return {
        "folder": str(folder),
        "place": str(place),
        "pace": payload["pace"],
        "files": len(found),
        "bytes": size,
        "leftOut": left_out,
    }


def hash_files(payload: Payload, context: Context) -> Payload:
    """Take the SHA-256 of each file; one that is gone meanwhile is left out."""
    place, folder = Path(payload["place"]), Path(payload["folder"])
    files = read_json(place / FILES)
    progress = Progress(context, len(files), payload["pace"])
    hashes = []
    for file in files:
        with contextlib.suppress(OSError):
            hashes.append({**file, "sha256": digest(folder / file["name"])})
        progress.advance()
    write_json(place / HASHES, hashes)
    return {**payload, "files": len(hashes), "leftOut": payload["leftOut"] + len(files) - len(hashes)}


def compress_files(payload: Payload, context: Context) -> Payload:
    """Make an archive that is the same to the last byte whenever the files are."""
    place, folder = Path(payload["place"]), Path(payload["folder"])
    hashes = read_json(place / HASHES)
    progress = Progress(context, len(hashes), payload["pace"])
    temporary = temporary_name(place / ARCHIVE)
    kept = []
    with (
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESS_LEVEL, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in hashes:
            if _add(archive, folder / file["name"], file):
                kept.append(file)
            progress.advance()
    temporary.replace(place / ARCHIVE)
    write_json(place / HASHES, kept)
    return {
        **payload,
        "files": len(kept),
        "bytes": sum(file["size"] for file in kept),
        "leftOut": payload["leftOut"] + len(hashes) - len(kept),
        "archive": str(place / ARCHIVE),
        "archiveBytes": (place / ARCHIVE).stat().st_size,
        "archiveSha256": digest(place / ARCHIVE),
    }


def _add(archive: tarfile.TarFile, path: Path, file: dict[str, Any]) -> bool:
    """Add a file, unless somebody has changed it since it was hashed."""
    try:
        if digest(path) != file["sha256"]:
            return False
        entry = tarfile.TarInfo(file["name"])
        entry.size = file["size"]
        with path.open("rb") as content:
            archive.addfile(entry, content)
    except FileNotFoundError:
        return False
    return True


def verify_archive(payload: Payload, context: Context) -> Payload:
    """Read the archive back and compare every file with its hash. The first attempt fails on purpose."""
    place = Path(payload["place"])
    if context.attempt == 1:
        write_json(place / DEMONSTRATION, {"error": ArchiveNotSettled.__name__})
        raise ArchiveNotSettled("this first attempt fails on purpose, so that you can see a retry; nothing is wrong")
    expected = {file["name"]: file["sha256"] for file in read_json(place / HASHES)}
    progress = Progress(context, len(expected), payload["pace"])
    with tarfile.open(payload["archive"], "r:gz") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            if content is None or _digest_of(content) != expected.pop(entry.name, ""):
                raise ArchiveDiffers(f"{entry.name} in the archive is not the file that was hashed")
            progress.advance()
    if expected:
        raise ArchiveDiffers(f"{len(expected)} files are missing from the archive, {min(expected)} among them")
    return {**payload, "verifyAttempts": context.attempt}


def _digest_of(content: IO[bytes]) -> str:
    sha256 = hashlib.sha256()
    while block := content.read(READ_BYTES):
        sha256.update(block)
    return sha256.hexdigest()


def write_report(payload: Payload, context: Context) -> Payload:
    """Write a page that says what was done, and give its path and the totals."""
    place = Path(payload["place"])
    progress = Progress(context, 1, payload["pace"])
    progress.advance()
    hashes = read_json(place / HASHES)
    told = read_json(place / DEMONSTRATION) if (place / DEMONSTRATION).exists() else None
    page = render_report(context.run_id, payload, hashes, told)
    replace_file(place / REPORT, page.encode("utf-8", "replace"))
    return {
        "report": str(place / REPORT),
        "archive": payload["archive"],
        "archiveSha256": payload["archiveSha256"],
        "files": payload["files"],
        "bytes": payload["bytes"],
        "archiveBytes": payload["archiveBytes"],
        "seconds": payload["seconds"],
    }


def _timed(action: str, handler: Callable[[Payload, Context], Payload]) -> Callable[[Payload, Context], Payload]:
    """Add to the result how long the step took."""

    def handle(payload: Payload, context: Context) -> Payload:
        started = time.monotonic()
        result = handler(payload, context)
        seconds = {**payload.get("seconds", {}), action: round(time.monotonic() - started, 3)}
        return {**result, "seconds": seconds}

    return handle


HANDLERS: Final = {
    f"demo.{action}": _timed(action, handler)
    for action, handler in zip(
        ACTIONS, (list_files, hash_files, compress_files, verify_archive, write_report), strict=True
    )
}
"""Handler by action."""
