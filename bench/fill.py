"""Fills a data folder with finished runs: the rows of the one real run that is there, copied with ids of their own."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

_RUNS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO runs (seq, run_id, workflow_id, version, status, current_step, started_at, ended_at, output_of)
SELECT :base + n, printf('%08x-%04x-7%03x-8000-%012x', (:base + n) / 65536, (:base + n) % 65536, n % 4096, :base + n),
    workflow_id, version, status, current_step,
    started_at - (:count - n) * 1000, ended_at - (:count - n) * 1000, output_of
FROM numbers, (SELECT * FROM runs WHERE seq = :base)"""
_HISTORY = """
INSERT INTO history (run_seq, step, at, events, payload)
SELECT runs.seq, history.step, history.at, history.events, history.payload
FROM runs CROSS JOIN history ON history.run_seq = :base WHERE runs.seq > :base AND runs.seq <= :base + :count"""


def fill(folder: Path, count: int) -> None:
    """Copy the newest run ``count`` times; the server must not run meanwhile."""
    connection = sqlite3.connect(folder / "orchestrator.db")
    try:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-262144")
        (base,) = connection.execute("SELECT max(seq) FROM runs WHERE status = 'COMPLETED'").fetchone()
        with connection:
            connection.execute(_RUNS, {"base": base, "count": count})
            connection.execute(_HISTORY, {"base": base, "count": count})
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA optimize")
    finally:
        connection.close()
    # What the kernel still has to write would be measured with what comes after.
    os.sync()
