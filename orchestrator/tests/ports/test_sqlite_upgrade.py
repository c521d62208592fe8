"""A data folder of an earlier version is brought to this one with all that is in it."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

import pytest

from orchestrator.adapters.sqlite.database import FILE_NAME, Database

MIGRATIONS = sorted(
    (entry for entry in (resources.files("orchestrator.adapters.sqlite") / "migrations").iterdir()),
    key=lambda entry: entry.name,
)
RUNS = [
    (1, "r-1", "flow", 1, "RUNNING", 0, 10, None, 99, None, None),
    (2, "r-2", "flow", 1, "WAITING", 1, 11, None, None, None, None),
    (3, "r-3", "flow", 1, "COMPLETED", 1, 12, 20, None, 1, None),
    (4, "r-4", "flow", 2, "FAILED", 0, 13, 21, None, None, b"{}"),
    (5, "r-5", "flow", 2, "CANCELLED", 0, 14, 22, None, None, b"{}"),
    (6, "r-6", "flow", 2, "TIMED_OUT", 0, 15, 23, None, None, b"{}"),
]
JOBS = [
    (1, 0, 1, "pack", "pending", None, 0, None, None, None, None),
    (1, 1, 1, "ship", "leased", 0, 0, 50, "w-1", 40, b"7"),
    (2, 1, 2, "ship", "backoff", 0, 1, 60, None, None, b'"x"'),
]
HISTORY = [(1, 1, -1, 10, b"[]", b'"in"'), (2, 3, 1, 20, b"[]", b'"out"'), (3, 4, None, 21, b"[]", None)]


def written_by(version: int, path: Path) -> None:
    """Make the file as a version of the schema made it, with something of everything in it."""
    connection = sqlite3.connect(path)
    for entry in MIGRATIONS[:version]:
        connection.executescript(entry.read_text(encoding="utf-8"))
    connection.execute(f"PRAGMA user_version={version}")
    for table, rows in (("runs", RUNS), ("jobs", JOBS), ("history", HISTORY)):
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    connection.commit()
    connection.close()


def schema_of(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {(name, sql) for name, sql in found}


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
async def test_what_an_earlier_version_has_written_is_there_after_the_upgrade(version: int, tmp_path: Path) -> None:
    written_by(version, tmp_path / FILE_NAME)
    upgraded, new = Database(tmp_path), Database(tmp_path / "new")
    try:
        reader = upgraded.reader
        assert reader.execute("SELECT * FROM runs ORDER BY seq").fetchall() == RUNS
        assert reader.execute("SELECT * FROM jobs ORDER BY run_seq, step").fetchall() == JOBS
        assert reader.execute("SELECT * FROM history ORDER BY id").fetchall() == HISTORY
        assert schema_of(reader) == schema_of(new.reader)
    finally:
        await upgraded.close()
        await new.close()


@pytest.mark.parametrize(
    "wrong",
    [
        "INSERT INTO runs VALUES (9, 'r', 'flow', 1, 'DONE', 0, 1, NULL, NULL, NULL, NULL)",
        "INSERT INTO runs VALUES (9, 'r', 'flow', 1, 'RUNNING', 0, 1, 2, NULL, NULL, NULL)",
        "INSERT INTO runs VALUES (9, 'r', 'flow', 1, 'COMPLETED', 0, 1, 2, NULL, NULL, NULL)",
        "INSERT INTO runs VALUES (9, 'r', 'flow', 1, 'FAILED', 0, 1, 2, NULL, 0, NULL)",
        "INSERT INTO jobs VALUES (9, 0, 1, 'a', 'pending', NULL, 0, 5, NULL, NULL, NULL)",
        "INSERT INTO jobs VALUES (9, 0, 1, 'a', 'leased', NULL, 0, NULL, NULL, NULL, NULL)",
        "INSERT INTO jobs VALUES (9, 0, 1, 'a', 'lost', NULL, 0, 5, NULL, NULL, NULL)",
    ],
)
async def test_a_row_that_makes_no_sense_is_refused(wrong: str) -> None:
    database = Database(None)
    try:
        with pytest.raises(sqlite3.IntegrityError):
            database.writer.execute(wrong)
    finally:
        await database.close()
