"""What only SQLite shows: its lock, its plans, its failing disk, and what a killed process leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from time import perf_counter
from typing import IO

import pytest

from orchestrator.adapters.sqlite.database import FILE_NAME, Database
from orchestrator.app.plans import Plans
from orchestrator.engine import run as engine
from orchestrator.model.errors import DataFolderInUse, NotWritable, Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.ports.queries import LetterFilter, RunFilter
from orchestrator.ports.store import PayloadRef
from tests.ports.places import Opened, SqliteFile, opened_over
from tests.ports.scribe import NOW, Scribe, at, make_version

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from orchestrator.adapters.sqlite.database import Database
database = Database(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run Python over the source of this project; killed when the block ends."""
    started = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert started.stdout is not None
    with started:
        try:
            yield started, started.stdout
        finally:
            started.kill()


@asynccontextmanager
async def database_in(folder: Path) -> AsyncIterator[Database]:
    """Open a database; closed when the block ends."""
    database = Database(folder)
    try:
        yield database
    finally:
        await database.close()


# --- one process at a time -----------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    with process("-c", HOLD, str(tmp_path)) as (holder, said):
        assert said.readline() == "held\n"
        with pytest.raises(DataFolderInUse) as refused:
            Database(tmp_path)
    assert str(holder.pid) in str(refused.value)
    assert str(tmp_path.resolve()) in str(refused.value)


def test_the_same_process_is_refused_a_second_time(tmp_path: Path) -> None:
    first = Database(tmp_path)
    with pytest.raises(DataFolderInUse):
        Database(tmp_path)
    first._stack.close()
    Database(tmp_path)._stack.close()


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    with process("-c", HOLD, str(tmp_path)) as (holder, said):
        assert said.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        Database(tmp_path)._stack.close()


def test_a_folder_written_by_a_newer_version_is_refused(tmp_path: Path) -> None:
    Database(tmp_path)._stack.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version={version + 1}")
    connection.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer version"):
        Database(tmp_path)


def test_older_dead_letters_are_known_by_their_error_after_a_migration(tmp_path: Path) -> None:
    scripts = resources.files("orchestrator.adapters.sqlite") / "migrations"
    failures = {"a": b'["CardDeclined","no",""]', "b": b'["%s","",""]' % (b"x" * 300), "c": b"nonsense"}
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        for number in (1, 2, 3):
            connection.executescript((scripts / f"{number:04}.sql").read_text("utf-8"))
        connection.executemany(
            """INSERT INTO dead_letters (id, run_id, workflow_id, step, action, attempt, attempts, failure, payload,
                created_at, state) VALUES (?1, ?1, 'flow', 0, 'act', 1, 1, ?2, '1', 1, 'OPEN')""",
            list(failures.items()),
        )
        connection.execute("PRAGMA user_version=3")
    connection.close()
    database = Database(tmp_path)
    found = dict(database.reader.execute("SELECT id, error_type FROM dead_letters"))
    database._stack.close()
    assert found == {"a": "CardDeclined", "b": "x" * 200, "c": ""}


def test_a_refused_folder_is_free_for_others(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"this is no database, and long enough to be looked at" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Database(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    Database(tmp_path)._stack.close()


def test_a_commit_survives_a_loss_of_power(tmp_path: Path) -> None:
    """The log is flushed at every commit, not only handed to the operating system."""
    database = Database(tmp_path)
    assert database.writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database._stack.close()


# --- plans ---------------------------------------------------------------------------------------------------------


@contextmanager
def overheard(database: Database) -> Iterator[list[str]]:
    """Take down the statements that the reader is given."""
    statements: list[str] = []
    database.reader.set_trace_callback(statements.append)
    yield statements
    database.reader.set_trace_callback(None)


def plans_of(database: Database, statements: list[str]) -> list[str]:
    """Ask SQLite how it goes about them."""
    return [
        f"{row[3]} for {' '.join(statement.split())}"
        for statement in statements
        for row in database.reader.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]


def is_bounded(step: str) -> bool:
    """An index is followed, in its order; or the step only frames others.

    What happened to one run is put in order after it was read, for all of it is wanted; so are all workflows.
    """
    if "TEMP B-TREE" in step:
        return "FROM history" in step
    if step.startswith("SCAN latest"):
        return True
    return "INDEX" in step or "PRIMARY KEY" in step or step.startswith(("SCALAR SUBQUERY", "CORRELATED SCALAR"))


async def _fill(opened: Opened) -> Scribe:
    scribe = Scribe(make_version("order", timeout=60), make_version("cake", max_retries=2))
    await scribe.define(opened.store)
    async with opened.store.transaction() as tx:
        for number in range(30):
            started = scribe.start(when=at(number), version=number % 2)
            run_id = started.state.run_id
            more = [scribe.take(run_id), scribe.fail(run_id)] if number % 3 == 0 else []
            await tx.save([started, *more])
    return scribe


FILTERS = [
    RunFilter(),
    RunFilter(statuses=(RunStatus.RUNNING,)),
    RunFilter(statuses=(RunStatus.RUNNING, RunStatus.FAILED)),
    RunFilter(workflow_id="order"),
    RunFilter(workflow_id="order", statuses=(RunStatus.FAILED, RunStatus.WAITING)),
    RunFilter(started_from=at(3), started_to=at(9)),
    RunFilter(workflow_id="order", started_from=at(3)),
    RunFilter(workflow_id="order", statuses=(RunStatus.FAILED,), started_to=at(9)),
]


@pytest.mark.parametrize("which", FILTERS, ids=str)
@pytest.mark.parametrize("after", [None, (at(20), 21)], ids=["first page", "next page"])
async def test_no_list_of_runs_sorts_or_reads_what_it_does_not_show(
    tmp_path: Path, which: RunFilter, after: tuple[int, int] | None
) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        await _fill(opened)
        with overheard(database) as statements:
            await opened.queries.runs(which, 5, after, payload_bytes_max=1_000)
        steps = plans_of(database, statements)
        assert [step for step in steps if not is_bounded(step)] == []


async def test_every_other_read_follows_an_index(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = await _fill(opened)
        store, queries = opened.store, opened.queries
        run_id = next(iter(scribe.states))
        letter = (await queries.dead_letters(LetterFilter(), 1, None))[0][0].id
        with overheard(database) as statements:
            await store.due(at(99), 10)
            await store.pending((0, 0), 10)
            await store.pending((3, 1), 10)
            await store.payloads([PayloadRef(run_id, None), PayloadRef(run_id, 0)])
            await store.definition("order", 1)
            await queries.run(run_id)
            await queries.history(run_id)
            await queries.results([run_id])
            await queries.details(run_id)
            await queries.versions("order")
            await queries.workflows()
            await queries.dead_letter(letter)
            for workflow_id in (None, "order"):
                for action in (None, "a0"):
                    for after in (None, letter):
                        await queries.dead_letters(LetterFilter(workflow_id=workflow_id, action=action), 5, after)
        steps = plans_of(database, statements)
        assert len(statements) > 20
        assert [step for step in steps if not is_bounded(step)] == []


# --- a killed process ----------------------------------------------------------------------------------------------


async def _check_whole(opened: Opened, run_id: RunId, number: bytes, *, ended: bool) -> None:
    record = await opened.queries.run(run_id)
    assert record is not None
    assert record.input.startswith(b'"%s ' % number)
    assert record.status is (RunStatus.COMPLETED if ended else RunStatus.RUNNING)
    history = await opened.queries.history(run_id)
    version = await opened.store.definition(record.workflow_id, record.version)
    assert version is not None
    state = engine.fold(run_id, Plans().of(version), history.events)
    assert (state.status, state.completed) == (record.status, 2 if ended else 1)
    assert len(history.results) == state.completed


@pytest.mark.parametrize("acknowledged", [1, 40])
async def test_a_killed_process_leaves_every_acknowledged_run_whole_and_no_half_one(
    tmp_path: Path, acknowledged: int
) -> None:
    committed: list[str] = []
    for life in ("first", "second"):
        with process("-m", "tests.ports.endless_writer", str(tmp_path), life) as (writer, said):
            lines = [said.readline() for _ in range(acknowledged)]
            writer.send_signal(signal.SIGKILL)
            lines += said.read().splitlines(keepends=True)
        committed += [line for line in lines if line.endswith("\n")]
    assert len(committed) >= 2 * acknowledged
    async with SqliteFile(tmp_path).open() as opened:
        for line in committed:
            one, two = line.split()
            number = one.split("-")[1].encode()
            await _check_whole(opened, RunId(one), number, ended=False)
            await _check_whole(opened, RunId(two), number, ended=True)
        rows, _ = await opened.store.pending((0, 0), 100_000)
        records, _ = await opened.queries.runs(RunFilter(), 100_000, None, payload_bytes_max=None)
    # One transaction may have been committed and not said any more; it is whole as well.
    assert len(committed) * 2 <= len(records) <= len(committed) * 2 + 4
    assert {row.run_id for row in rows} == {record.run_id for record in records if record.ended_at is None}
    assert len(rows) * 2 == len(records)


# --- a disk that fails ---------------------------------------------------------------------------------------------


async def test_a_full_disk_is_unavailable_and_what_was_there_is_served(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = await _fill(opened)
        (pages,) = database.writer.execute("PRAGMA page_count").fetchone()
        database.writer.execute(f"PRAGMA max_page_count={pages}")
        lost = Scribe(*scribe.versions)
        writing = _save_large(opened, lost)
        with pytest.raises(NotWritable, match="full"):
            await writing
        with pytest.raises(NotWritable, match="full"):
            await opened.store.try_write()
        assert await opened.queries.run(RunId("large")) is None
        assert len((await opened.store.pending((0, 0), 100))[0]) == 20
        database.writer.execute("PRAGMA max_page_count=1000000")
        await opened.store.try_write()
        await _save_large(opened, scribe)
        record = await opened.queries.run(RunId("large"))
        assert record is not None


async def _save_large(opened: Opened, scribe: Scribe) -> None:
    async with opened.store.transaction() as tx:
        await tx.save([scribe.start(b'"' + b"x" * 1_000_000 + b'"', run_id="large")])


async def test_a_failing_commit_is_unavailable_and_leaves_no_trace(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = await _fill(opened)
        run_id = next(run_id for run_id, state in scribe.states.items() if state.is_open)
        before = scribe.states[run_id]

        def deny(action: int, what: str | None, *rest: object) -> int:
            return (
                sqlite3.SQLITE_DENY if (action, what) == (sqlite3.SQLITE_TRANSACTION, "COMMIT") else sqlite3.SQLITE_OK
            )

        database.writer.set_authorizer(deny)
        writing = _cancel(opened, scribe, run_id)
        with pytest.raises(Unavailable):
            await writing
        database.writer.set_authorizer(None)
        assert not database.writer.in_transaction
        async with opened.store.transaction() as tx:
            assert await tx.runs([run_id]) == {run_id: before}
        scribe.states[run_id] = before
        await _cancel(opened, scribe, run_id)
        async with opened.store.transaction() as tx:
            assert (await tx.runs([run_id]))[run_id].status is RunStatus.CANCELLED


async def _cancel(opened: Opened, scribe: Scribe, run_id: RunId) -> None:
    async with opened.store.transaction() as tx:
        await tx.save([scribe.cancel(run_id)])


async def test_a_file_that_another_program_has_locked_is_unavailable_until_it_lets_go(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = await _fill(opened)
        database.writer.execute("PRAGMA busy_timeout=0")
        other = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = _save_large(opened, Scribe(*scribe.versions))
        with pytest.raises(Unavailable, match="locked"):
            await writing
        other.execute("ROLLBACK")
        other.close()
        await _save_large(opened, scribe)


async def test_a_broken_connection_is_unavailable_for_every_read(tmp_path: Path) -> None:
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        await _fill(opened)
        database.reader.close()
        store, queries = opened.store, opened.queries
        for reading in (
            store.due(NOW, 1),
            store.pending((0, 0), 1),
            store.leased(),
            store.definition("order", 1),
            store.payloads([PayloadRef(RunId("run-0001"), None)]),
            queries.run(RunId("run-0001")),
            queries.runs(RunFilter(), 1, None, payload_bytes_max=None),
            queries.workflows(),
        ):
            with pytest.raises(Unavailable):
                await reading
        database.writer.close()
        with pytest.raises(Unavailable):
            await store.forget(Time(0), 1)


# --- the log -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "least"), [("CHANGES", 300), ("BYTES", 2_000_000)])
async def test_the_log_is_copied_into_the_file_while_it_is_written(
    rule: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may keep its size, but not grow with everything that is ever written, be it many rows or large ones."""
    monkeypatch.setattr(f"orchestrator.adapters.sqlite.database.CHECKPOINT_{rule}", least)
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = Scribe()
        await scribe.define(opened.store)
        log = tmp_path / f"{FILE_NAME}-wal"
        for _ in range(40):
            async with opened.store.transaction() as tx:
                await tx.save([scribe.start(b'"' + b"x" * 20_000 + b'"') for _ in range(50)])
            if database._checkpoint is not None:
                await database._checkpoint
        assert log.stat().st_size < 40 * 50 * 20_000 // 2
    async with SqliteFile(tmp_path).open() as again:
        records, _ = await again.queries.runs(RunFilter(), 10_000, None, payload_bytes_max=None)
        assert len(records) == 2_000


async def test_a_program_that_reads_the_file_for_long_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup may take minutes; the log grows meanwhile, and everything else goes on."""
    monkeypatch.setattr("orchestrator.adapters.sqlite.database.CHECKPOINT_CHANGES", 10)
    async with database_in(tmp_path) as database:
        opened = opened_over(database, 10)
        scribe = await _fill(opened)
        backup = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
        backup.execute("BEGIN")
        backup.execute("SELECT count(*) FROM runs").fetchone()
        began = perf_counter()
        for _ in range(3):
            async with opened.store.transaction() as tx:
                await tx.save([scribe.start() for _ in range(20)])
            if database._checkpoint is not None:
                await database._checkpoint
        assert perf_counter() - began < 5
        assert database.writer.execute("PRAGMA busy_timeout").fetchone()[0] > 0
        backup.close()
        async with opened.store.transaction() as tx:
            await tx.save([scribe.start() for _ in range(20)])
