"""The file: opened by one process, migrated, written through one connection, checkpointed off the hot path."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from orchestrator.model.errors import DataFolderInUse

FILE_NAME: Final = "orchestrator.db"
LOCK_NAME: Final = "orchestrator.lock"

_log = logging.getLogger(__name__)

_BUSY_MS: Final = 10_000
_WRITER_CACHE_KIB: Final = 64 * 1024
_READER_CACHE_KIB: Final = 16 * 1024
CHECKPOINT_CHANGES: Final = 5_000
"""Rows changed between two checkpoints of the write-ahead log: some ten megabytes of it, copied in milliseconds. The
file itself keeps its size, for to grow it again costs more at every flush than to write over it."""
CHECKPOINT_BYTES: Final = 32 * 1024 * 1024
"""Payload bytes written between two checkpoints: where payloads are large, few rows make a long log."""


class Database:
    """One writer and one reader connection to a file, or a single connection to memory.

    ``synchronous=FULL``: a commit that was answered survives a loss of power, not only of the process; with group
    commit the flush is shared by all that arrived meanwhile, so the price is small.
    """

    def __init__(self, folder: Path | None) -> None:
        """Open the database in ``folder``, made if missing; None keeps everything in memory.

        Raises:
            DataFolderInUse: another process has it.
        """
        self.incarnation = secrets.token_bytes(32)
        """See `ports.store.Store.incarnation`."""
        self._stack = contextlib.ExitStack()
        self._copied = 0
        self._bytes = 0
        self._checkpoint: asyncio.Task[None] | None = None
        with contextlib.ExitStack() as stack:
            if folder is None:
                self.path: Path | None = None
                self.writer = stack.enter_context(contextlib.closing(_connect(":memory:")))
                self.reader = self.writer
            else:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_Lock(folder))
                self.path = folder / FILE_NAME
                self.writer = stack.enter_context(contextlib.closing(_connect(str(self.path))))
                self.writer.execute("PRAGMA journal_mode=WAL")
                self.writer.execute("PRAGMA synchronous=FULL")
                self.writer.execute("PRAGMA wal_autocheckpoint=0")
                self.reader = stack.enter_context(contextlib.closing(_connect(str(self.path), _READER_CACHE_KIB)))
            _migrate(self.writer)
            if self.reader is not self.writer:
                self.reader.execute("PRAGMA query_only=1")
            self._stack = stack.pop_all()

    def sizes(self) -> dict[str, int]:
        """Give the bytes of the files, those of the write-ahead log apart."""
        if self.path is None:
            return {}
        found: dict[str, int] = {}
        for name, path in (("data", self.path), ("log", self.path.with_name(f"{self.path.name}-wal"))):
            with contextlib.suppress(OSError):
                found[name] = path.stat().st_size
        return found

    def committed(self, payload_bytes: int) -> None:
        """Note a commit; now and then, make a checkpoint of a log that has grown."""
        self._bytes += payload_bytes
        if self.path is None or self._checkpoint is not None:
            return
        changes = self.writer.total_changes
        if changes - self._copied >= CHECKPOINT_CHANGES or self._bytes >= CHECKPOINT_BYTES:
            self._copied = changes
            self._bytes = 0
            self._checkpoint = asyncio.get_running_loop().create_task(self._make_checkpoint(self.path))

    async def _make_checkpoint(self, path: Path) -> None:
        """Copy the log into the file on a thread, then the little that came meanwhile, so that the log starts anew."""
        try:
            # The second pass takes what came during the first, so that little is left for the loop.
            for _ in range(2):
                await asyncio.to_thread(_checkpoint, path)
            if not self.writer.in_transaction:
                # Another program that reads the file, such as a backup, is not waited for: the next checkpoint will do.
                self.writer.execute("PRAGMA busy_timeout=0")
                self.writer.execute("PRAGMA wal_checkpoint(RESTART)")
        except sqlite3.Error as error:
            _log.warning("a checkpoint failed, and will be made later: %s", error)
        finally:
            self.writer.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
            self._checkpoint = None

    async def close(self) -> None:
        """Finish the checkpoint that runs, close the connections, give the folder free."""
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])
        self._stack.close()


def _connect(target: str, cache_kib: int = _WRITER_CACHE_KIB) -> sqlite3.Connection:
    # One loop uses the connections; the check would only forbid closing them from the thread that outlives it.
    connection = sqlite3.connect(target, isolation_level=None, cached_statements=256, check_same_thread=False)
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
    return connection


def _checkpoint(path: Path) -> None:
    with contextlib.closing(_connect(str(path))) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to this version: each numbered file once, in its own transaction; forward only."""
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    folder = resources.files("orchestrator.adapters.sqlite") / "migrations"
    files = {int(entry.name[:4]): entry for entry in folder.iterdir() if entry.name.endswith(".sql")}
    if current > max(files):
        raise sqlite3.DatabaseError(
            f"the data folder was written by a newer version (schema {current}, this one knows {max(files)})"
        )
    for number in sorted(number for number in files if number > current):
        script = files[number].read_text(encoding="utf-8")
        connection.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")


class _Lock:
    """An exclusive lock on the data folder, gone with its process however that ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME

    def __enter__(self) -> Self:
        self._file = self._path.open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise DataFolderInUse(
                f"the data folder {self._path.parent.resolve()} is in use by another orchestrator (process {holder}). "
                "Stop that one, or start this one with another --data folder."
            ) from None
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
