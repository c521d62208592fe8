"""A million runs: every statement follows an index, and touches no more of the tables than it shows or changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Final

import asyncpg
import msgspec
import pytest

from orchestrator.adapters.postgres import database as postgres_database
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.outbox import PostgresOutbox
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.roster import PostgresRoster
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Duration, Time
from orchestrator.model.worker import About, Transport
from orchestrator.ports.broker import Sent
from orchestrator.ports.outbox import Beat
from orchestrator.ports.queries import LetterFilter, RunFilter
from orchestrator.ports.roster import Presence
from orchestrator.ports.store import IdempotencyRecord, PayloadRef
from tests.ports import postgres_server
from tests.ports.places import PostgresDatabase
from tests.ports.scribe import NOW, Scribe, make_version

RUNS: Final = int(os.environ.get("PLANS_RUNS", "1000000"))
"""Made in about fifteen seconds; ``PLANS_RUNS`` asks for fewer."""
LAST: Final = Time(RUNS * 1_000)
BUFFERS_MAX: Final = 1_500
"""Pages of 8 KiB that a statement may touch: a small part of the tables here, whatever their size."""

FILL: Final = f"""
    SET synchronous_commit = off;
    SET maintenance_work_mem = '512MB';
    SET max_parallel_maintenance_workers = 0;
    CREATE TEMPORARY TABLE indexes AS SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND indexname LIKE ANY (ARRAY['runs_by%', 'history_by%']);
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexname FROM indexes LOOP EXECUTE 'DROP INDEX ' || name; END LOOP; END $$;
    INSERT INTO runs (seq, run_id, workflow_id, version, status, current_step, started_at, ended_at, deadline,
        output_of, state)
    SELECT n, 'run-' || lpad(n::text, 7, '0'), 'flow-' || n % 10, 1, status, 0, n * 1000,
        CASE WHEN status NOT IN ('RUNNING', 'WAITING') THEN n * 1000 + 500 END,
        CASE WHEN n % 3 = 0 THEN n * 1000 + 60000000 END, CASE WHEN status = 'COMPLETED' THEN 0 END, '\\x00'
    FROM (SELECT n, (ARRAY['COMPLETED', 'RUNNING', 'FAILED', 'WAITING', 'CANCELLED'])[
        CASE WHEN n % 20 < 16 THEN 1 ELSE n % 20 - 14 END] AS status
        FROM generate_series(1, {RUNS}) AS n) AS numbers;
    INSERT INTO history (run_seq, step, at, events, payload)
    SELECT n, -1, n, '[]', '1' FROM generate_series(1, {RUNS}) AS n;
    INSERT INTO jobs (run_seq, step, attempt, action, state, alone, due_at)
    SELECT n, 0, 1, 'a', CASE n % 20 WHEN 18 THEN 'backoff' WHEN 16 THEN 'pending' ELSE 'leased' END, false,
        CASE WHEN n % 20 <> 16 THEN n * 1000 END
    FROM generate_series(1, {RUNS}) AS n WHERE n % 20 IN (16, 18) OR n % 10000 = 1;
    INSERT INTO idempotency SELECT 'key-' || n, '\\x00', 'run-' || n, n * 1000 FROM generate_series(1, 200000) AS n;
    INSERT INTO dead_letters (id, run_id, workflow_id, step, action, attempt, attempts, failure, payload, created_at,
        state, settled_at)
    SELECT 'run-' || lpad(n::text, 7, '0') || ':0:1', 'run-' || lpad(n::text, 7, '0'), 'flow-' || n % 10, 0,
        'a' || n % 7, 1, 1, '["Broke"]', '1', n, state, CASE WHEN state <> 'OPEN' THEN n END
    FROM (SELECT n, CASE WHEN n % 40 = 17 THEN 'OPEN' ELSE 'DISCARDED' END AS state
        FROM generate_series(1, {RUNS}) AS n WHERE n % 20 = 17) AS numbers;
    DO $$ DECLARE definition text; BEGIN
        FOR definition IN SELECT indexdef FROM indexes LOOP EXECUTE definition; END LOOP; END $$;
    SELECT nextval('run_blocks') FROM generate_series(1, {RUNS // 1_000} + 1);
    ANALYZE;
"""
"""Indexes are made after the rows: a quarter of the time."""

SMALL: Final = frozenset({"definitions"})
"""Tables that are read from end to end, for all of it is shown."""


@pytest.fixture(scope="module")
def large(postgres_template: str) -> Iterator[PostgresDatabase]:
    """A database with many runs."""
    with postgres_server.database(postgres_template) as name:
        url = postgres_server.url_of(name)
        asyncio.run(postgres_server.execute(FILL, url=url))
        place = PostgresDatabase(url)
        asyncio.run(_define(place))
        yield place


async def _define(place: PostgresDatabase) -> None:
    async with place.open() as opened:
        await Scribe(make_version("flow-0")).define(opened.store)


class Overheard:
    """Takes down the statements that the store gives to its connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: dict[str, tuple[Any, ...]] = {}
        fetch = asyncpg.Connection.fetch

        async def overhear(connection: Any, sql: str, *arguments: Any, **more: Any) -> Any:
            self.statements.setdefault(sql, arguments)
            return await fetch(connection, sql, *arguments, **more)

        monkeypatch.setattr(asyncpg.Connection, "fetch", overhear)
        self._fetch = fetch

    async def plans(self, url: str) -> dict[str, dict[str, Any]]:
        """Run each again as the server does for the store, with its generic plan; nothing of it stays.

        What inserts cannot be run twice: of that the plan alone is told.
        """
        found: dict[str, dict[str, Any]] = {}
        connection = await asyncpg.connect(url, server_settings=postgres_database._SESSION)
        for sql, arguments in self.statements.items():
            types = [kind.name for kind in (await connection.prepare(sql)).get_parameters()]
            await connection.execute("BEGIN")
            await connection.execute(f"PREPARE overheard{in_brackets(', '.join(types))} AS {sql}")
            values = ", ".join(f"{literal(value, kind)}::{kind}" for value, kind in zip(arguments, types, strict=True))
            options = "FORMAT JSON" if "INSERT" in sql else "ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON"
            execute = f"EXECUTE overheard{in_brackets(values)}"
            explained = await self._fetch(connection, f"EXPLAIN ({options}) {execute}")
            await connection.execute("ROLLBACK")
            await connection.execute("DEALLOCATE overheard")
            found[sql] = msgspec.json.decode(explained[0][0])[0]["Plan"]
        await connection.close()
        return found


def in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def literal(value: Any, kind: str = "") -> str:
    """Write a value down in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return f"ARRAY[{', '.join(literal(one, kind) for one in value)}]"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    # A number of a transaction is cast from text only.
    return str(value) if isinstance(value, int) and not kind.startswith("xid") else f"'{value}'"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def check(plans: dict[str, dict[str, Any]], sorted_max: int) -> None:
    """No table is read from end to end, no more is sorted than is shown, and few pages are touched."""
    for sql, plan in plans.items():
        for node in nodes(plan):
            if node["Node Type"] == "Seq Scan":
                assert node["Relation Name"] in SMALL, sql
            if "Sort" in node["Node Type"]:
                assert node.get("Actual Rows", 0) <= sorted_max, sql
            assert node.get("Rows Removed by Filter", 0) <= BUFFERS_MAX, sql
        buffers = plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
        assert buffers <= BUFFERS_MAX, f"{buffers} pages: {sql}"


FILTERS: Final = [
    RunFilter(),
    RunFilter(statuses=(RunStatus.RUNNING,)),
    RunFilter(statuses=(RunStatus.RUNNING, RunStatus.FAILED, RunStatus.TIMED_OUT)),
    RunFilter(workflow_id="flow-3"),
    RunFilter(workflow_id="flow-8", statuses=(RunStatus.FAILED, RunStatus.WAITING)),
    RunFilter(started_from=Time(3_000_000), started_to=Time(200_000_000)),
    RunFilter(workflow_id="flow-3", started_from=Time(3_000_000)),
    RunFilter(workflow_id="flow-7", statuses=(RunStatus.FAILED,), started_to=Time(200_000_000)),
    RunFilter(workflow_id="nobody", statuses=(RunStatus.COMPLETED,)),
]


@pytest.mark.timeout(180)
async def test_lists_of_runs(large: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    async with large.open() as opened:
        overheard = Overheard(monkeypatch)
        for which in FILTERS:
            for after in (None, (100_000_000, 100_000)):
                for payload_bytes_max in (None, 1_000_000):
                    await opened.queries.runs(which, 100, after, payload_bytes_max=payload_bytes_max)
    plans = await overheard.plans(large.url)
    assert len(plans) >= 2 * len(FILTERS)
    check(plans, 606)


@pytest.mark.timeout(180)
async def test_every_other_read(large: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.open(large.url)
    overheard = Overheard(monkeypatch)
    store, queries = PostgresStore(database), PostgresQueries(database)
    run_id = RunId("run-0100017")
    assert len((await store.due(LAST, 100)).retries) == 100
    assert len((await store.due(LAST, 100)).runs) == 100
    assert len((await store.pending((0, 0), 100))[0]) == 100
    assert len((await store.pending((100_000, 1), 100))[0]) == 100
    assert len(await store.leased()) == RUNS // 10_000
    assert len(await store.payloads([PayloadRef(run_id, None), PayloadRef(run_id, 0)])) == 1
    await store.definition("flow-0", 1)
    assert await queries.run(run_id) is not None
    await queries.history(run_id)
    await queries.results([run_id, RunId("run-0000001")])
    await queries.details(run_id)
    await queries.versions("flow-0")
    await queries.workflows()
    counts = await queries.count(Limits().metrics_rows_max)
    assert sum(counts.jobs.values()) == sum(counts.runs.values()) == Limits().metrics_rows_max
    assert counts.dead_letters == min(RUNS // 40, Limits().metrics_rows_max)
    assert counts.oldest_pending is not None
    assert await queries.dead_letter(f"{run_id}:0:1") is not None
    for workflow_id in (None, "flow-7"):
        for action in (None, "a3"):
            for after in (None, f"{run_id}:0:1"):
                assert (await queries.dead_letters(LetterFilter(workflow_id=workflow_id, action=action), 20, after))[0]
    group = LetterFilter(workflow_id="flow-7", action="a3", error_type="")
    assert (await queries.dead_letter_ids(group, 20, None))[0]
    assert (await queries.dead_letters(LetterFilter(state=DeadLetterState.DISCARDED), 20, None))[0]
    assert (await queries.dead_letter_groups(group, 20))[0]
    roster = PostgresRoster(database)
    about = About(transport=Transport.HTTP, actions=())
    now = Duration(0)
    word = Presence(worker_id="", about=about, registered_ago=now, seen_ago=now, good_for=Duration(1))
    await roster.tell([msgspec.structs.replace(word, worker_id=f"w{number}") for number in range(1_000)])
    assert len(await roster.known(Duration(60_000_000), 100)) == 100
    assert await roster.find("w7", Duration(60_000_000)) is not None
    assert await roster.in_hand(100) == await roster.in_hand(100, "w7") == []
    await roster.drain("w7")
    await roster.forget(Duration(60_000_000), 100)
    await database.close()
    plans = await overheard.plans(large.url)
    assert len(plans) >= 26
    check(plans, 2)


@pytest.mark.timeout(180)
async def test_what_is_removed_is_found_by_an_index(large: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    async with large.open() as opened:
        overheard = Overheard(monkeypatch)
        assert await opened.store.forget(LAST, 100) == 100
        assert await opened.store.retain(LAST, 100) == 100
    plans = await overheard.plans(large.url)
    assert len(plans) == 2
    check({sql: plan for sql, plan in plans.items() if "idempotency" in sql}, 0)
    # A run that goes is read, locked and taken out of each of its tables: a few dozen pages for each.
    (retain,) = (plan for sql, plan in plans.items() if "idempotency" not in sql)
    assert all(node["Node Type"] not in ("Seq Scan", "Sort") for node in nodes(retain))
    assert retain["Shared Hit Blocks"] + retain["Shared Read Blocks"] < 100 * 30


@pytest.mark.timeout(180)
async def test_transactions(large: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.open(large.url)
    overheard = Overheard(monkeypatch)
    store = PostgresStore(database)
    scribe = Scribe(make_version("flow-0", max_retries=3))
    async with store.transaction() as tx:
        await tx.definitions(["flow-0", "nobody"])
        await tx.idempotency(["key-9", "nobody"], NOW)
        await tx.remember([IdempotencyRecord("new", b"", RunId("r"), NOW)], NOW)
        await tx.dead_letters(["run-0100017:0:1"])
        await tx.settle_dead_letter("run-0100017:0:1", DeadLetterState.DISCARDED, NOW)
        await tx.save([scribe.start() for _ in range(3)])
        ids = list(scribe.states)
        await tx.save([scribe.take(ids[0]), scribe.complete(ids[1]), scribe.fail(ids[2])])
        await tx.save([scribe.cancel(run_id) for run_id in ids])
        await tx.payloads([PayloadRef(ids[0], None)])
    async with store.transaction() as tx:
        assert await tx.runs(ids) == scribe.states
    await database.close()
    plans = await overheard.plans(large.url)
    assert len(plans) >= 11
    check(plans, 3)


@pytest.mark.timeout(180)
async def test_many_jobs_on_their_way_cost_a_look_each(
    large: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row is looked for once: a loop over all of them for each one would hold the locks of their runs for long."""
    database = await Database.open(large.url)
    overheard = Overheard(monkeypatch)
    outbox = PostgresOutbox(database)
    ids = [RunId(f"run-{number:07}") for number in range(1, 301)]
    assert await outbox.note_sent([Sent(run_id, 0, 1, 0, 0) for run_id in ids]) == set(ids)
    await outbox.renew([Beat(run_id, 0, 1, "w", Duration(1)) for run_id in ids], NOW)
    await database.close()
    plans = await overheard.plans(large.url)
    assert len(plans) == 2
    for sql, plan in plans.items():
        for node in nodes(plan):
            assert node["Actual Rows"] * node["Actual Loops"] <= len(ids) * 10, sql


@pytest.fixture
def empty(postgres_template: str) -> Iterator[str]:
    """A database with nothing in it."""
    with postgres_server.database(postgres_template) as name:
        yield postgres_server.url_of(name)


async def test_a_plan_that_is_made_while_tables_are_empty_serves_when_they_are_full(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a quiet night no index looks too short to be walked from end to end, again and again."""
    database = await Database.open(empty)
    store, outbox = PostgresStore(database), PostgresOutbox(database)
    scribe = Scribe(make_version("flow-0", max_retries=3))
    await scribe.define(store)
    overheard = Overheard(monkeypatch)
    async with store.transaction() as tx:
        await tx.save([scribe.start() for _ in range(4)])
        ids = list(scribe.states)
        await tx.save([scribe.take(ids[0]), scribe.complete(ids[1]), scribe.fail(ids[2]), scribe.complete(ids[3])])
        await tx.runs(ids)
        await tx.payloads([PayloadRef(ids[0], None)])
    async with store.transaction() as tx:
        await tx.save([scribe.cancel(run_id) for run_id in ids[:3]])
    places = [Sent(ids[3], 0, 1, 0, 0)]
    await outbox.note_sent(places)
    await outbox.renew([Beat(ids[3], 0, 1, "w", Duration(1))], NOW)
    await outbox.send_again(places, NOW)
    await outbox.unsent(NOW, NOW, 100)
    await outbox.misplaced({"a": "elsewhere"}, NOW, 100)
    await store.retain(NOW, 100)
    await database.close()
    await postgres_server.execute("TRUNCATE runs, history, jobs, dead_letters", url=empty)
    await postgres_server.execute("VACUUM ANALYZE", url=empty)
    plans = await overheard.plans(empty)
    assert len(plans) >= 11
    for sql, plan in plans.items():
        for node in nodes(plan):
            assert "Join Filter" not in node, sql
            if node["Node Type"].startswith("Index"):
                # The pages of a partial index of what is open are walked in order, and never further than its limit.
                assert "Index Cond" in node or node["Index Name"] in ("jobs_sent", "dead_letters_unpublished"), sql
