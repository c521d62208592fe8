"""What PostgreSQL keeps of a run: text that it cannot hold, the state beside the row, and what a batch costs."""

from __future__ import annotations

from collections.abc import Iterable

import asyncpg
import pytest

from orchestrator.adapters.postgres import rows
from orchestrator.adapters.postgres.transaction import PostgresTransaction
from orchestrator.engine import run as engine
from orchestrator.model.event import Failure
from orchestrator.model.run import OpenStep, RunId, RunState
from orchestrator.model.status import RunStatus, StepStatus
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace
from orchestrator.ports.queries import LetterFilter, RunFilter
from orchestrator.ports.store import PayloadRef, RunChange
from tests.ports.places import PostgresDatabase
from tests.ports.postgres_processes import read, run, save
from tests.ports.scribe import NOW, Scribe, at, make_version

# --- what its text cannot hold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["\0", "run-0001\0", "\ud800", "a\udfffb"])
async def test_what_is_no_text_is_not_there_and_spoils_nothing(postgres: PostgresDatabase, odd: str) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        async with opened.store.transaction() as tx:
            assert await tx.runs([RunId(odd), run(1)]) == scribe.states
            assert list(await tx.definitions([odd, "order"])) == ["order"]
            assert await tx.idempotency([odd], NOW) == {}
            assert await tx.dead_letters([odd]) == {}
        queries = opened.queries
        assert await opened.store.definition(odd, 1) is None
        assert await queries.run(RunId(odd)) is None
        assert (await queries.history(RunId(odd))).events == []
        assert list((await queries.results([RunId(odd), run(1)])).values()) == [[], []]
        assert await queries.versions(odd) == []
        assert await queries.dead_letter(odd) is None
        assert await queries.details(RunId(odd)) == {}
        assert await queries.runs(RunFilter(workflow_id=odd), 9, None, payload_bytes_max=None) == ([], False)
        for filters in ((odd, None, None), (None, odd, None), (None, None, odd)):
            workflow_id, action, after = filters
            assert await queries.dead_letters(LetterFilter(workflow_id=workflow_id, action=action), 9, after) == (
                [],
                False,
            )


@pytest.mark.parametrize("payload", [rb'"\u0000"', rb'"\ud800"', b"1e400", b"9" * 1_000, b'"' + b"x" * 2**20 + b'"'])
async def test_any_json_is_kept_as_it_came(postgres: PostgresDatabase, payload: bytes) -> None:
    scribe = Scribe()
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start(payload), scribe.complete(run(1), payload))
        record = await opened.queries.run(run(1))
        assert record is not None
        assert record.input == payload
        refs = [PayloadRef(run(1), None), PayloadRef(run(1), 0)]
        assert list((await opened.store.payloads(refs)).values()) == [payload, payload]


# --- the state of a run ----------------------------------------------------------------------------------------------


def _state(**more: object) -> RunState:
    fields = {
        "run_id": run(1),
        "workflow_id": "order",
        "version": 1,
        "status": RunStatus.RUNNING,
        "started_at": NOW,
        "open": {0: OpenStep(StepStatus.QUEUED, 1)},
        "joins": {},
        "halted": {},
    }
    return RunState(**{**fields, **more})  # type: ignore[arg-type]


def _round_trip(state: RunState) -> RunState:
    failure = None if state.failure is None else rows.encode(state.failure)
    return rows.state(
        (
            *(1, state.run_id, state.workflow_id, state.version, str(state.status), state.started_at),
            *(state.deadline, state.current_step, state.ended_at, failure, rows.encode_state(state)),
        )
    )


def _states() -> Iterable[RunState]:
    broke = Failure("Broke", "ä\0", "x.py:1")
    suspect = OpenStep(StepStatus.BACKING_OFF, 7, 2, 1, at(9), broke, alone=True)
    yield _state()
    yield _state(done=2**1_000 - 1)
    yield _state(done=1 << 999, open={2**31 - 1: suspect, 5: OpenStep(StepStatus.RUNNING, 2)}, joins={7: 2, 900: 1})
    yield _state(status=RunStatus.FAILED, open={}, halted={3: suspect}, failure=broke, ended_at=at(1))
    yield _state(deadline=at(60), current_step=999, open={})
    yield _state(trace=Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))


@pytest.mark.parametrize("state", list(_states()))
def test_a_state_comes_back_as_it_was_written(state: RunState) -> None:
    assert _round_trip(state) == state


def test_what_earlier_versions_wrote_is_still_read() -> None:
    """Frozen: the state of runs that were open when the version changed."""
    written = bytes.fromhex(
        "94 81 03 97 ab4241434b494e475f4f4646 02 01 00 cf0006651728e4cb40 93a542726f6b65 a27e7e a0 c3"
        "81 05 02 80 c4 02 0702"
    )
    row = (1, "r", "w", 1, "WAITING", NOW, None, 3, None, None, written)
    state = rows.state(row)
    assert state.open == {
        3: OpenStep(StepStatus.BACKING_OFF, 2, 1, 0, Time(0x00066517_28E4CB40), Failure("Broke", "~~"), alone=True)
    }
    assert (state.joins, state.halted, state.done, state.trace) == ({5: 2}, {}, 0x0207, None)


async def test_a_run_of_a_thousand_steps_is_its_history(postgres: PostgresDatabase) -> None:
    scribe = Scribe(make_version(steps=1_000))
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, scribe.start())
        for _ in range(20):
            await save(opened.store, *(scribe.complete(run(1), b'"done"') for _ in range(49)))
            assert await read(opened.store, run(1)) == scribe.states
        history = await opened.queries.history(run(1))
        assert engine.fold(run(1), scribe.plan_of(run(1)), history.events) == scribe.states[run(1)]
        assert scribe.states[run(1)].completed == 980


# --- what a batch costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 300])
async def test_a_batch_of_results_is_one_round_trip_whatever_its_size(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    scribe = Scribe(make_version(steps=3, max_retries=1))
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(size)))
        trips: list[str] = []
        for name in ("fetch", "execute"):
            _overhear(monkeypatch, name, trips)
        async with opened.store.transaction() as tx:
            await tx.runs(scribe.states)
            await tx.save([change for run_id in list(scribe.states) for change in _take_and(scribe, run_id)])
        assert [trip.split(maxsplit=1)[0] for trip in trips] == ["WITH"]
        monkeypatch.undo()
        assert await read(opened.store, *scribe.states) == scribe.states


def _overhear(monkeypatch: pytest.MonkeyPatch, name: str, trips: list[str]) -> None:
    real = getattr(asyncpg.Connection, name)

    async def call(connection: object, sql: str, *arguments: object, **more: object) -> object:
        trips.append(sql)
        return await real(connection, sql, *arguments, **more)

    monkeypatch.setattr(asyncpg.Connection, name, call)


def _take_and(scribe: Scribe, run_id: RunId) -> list[RunChange]:
    return [scribe.take(run_id), scribe.fail(run_id) if run_id.endswith("3") else scribe.complete(run_id)]


async def test_a_step_writes_no_index_of_its_run(postgres: PostgresDatabase) -> None:
    """Although every run of a page moves on at once, and again before anything was vacuumed."""
    scribe = Scribe(make_version(steps=10))
    counts = """SELECT pg_stat_get_xact_tuples_updated('runs'::regclass),
        pg_stat_get_xact_tuples_hot_updated('runs'::regclass)"""
    async with postgres.open() as opened:
        await scribe.define(opened.store)
        await save(opened.store, *(scribe.start() for _ in range(500)))
        for _ in range(5):
            async with opened.store.transaction() as tx:
                assert isinstance(tx, PostgresTransaction)
                await tx._writing.begin()
                ((before, _),) = await tx._fetch(counts)
                await tx.runs(scribe.states)
                await tx.save([scribe.complete(run_id) for run_id in scribe.states])
                await tx.complete()
                ((updated, in_place),) = await tx._fetch(counts)
            assert updated - before == 500
            assert in_place == updated
