"""The contract of `ports.queries`, against a naive model that keeps everything in a list."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.engine.command import StartAttempt
from orchestrator.model.dead_letter import DeadLetterState
from orchestrator.model.event import RunStarted, StepQueued
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import Time
from orchestrator.ports.queries import LetterFilter, RunFilter, RunRecord
from orchestrator.ports.store import RunChange
from tests.ports.places import Opened, Place, PostgresDatabase, SqliteMemory
from tests.ports.postgres_server import execute
from tests.ports.scribe import BROKE, NOW, Scribe, at, make_version

ENDS = ("RUNNING", "WAITING", "COMPLETED", "FAILED", "CANCELLED")


def run(number: int) -> RunId:
    return RunId(f"run-{number:04}")


def bring_to(scribe: Scribe, run_id: RunId, end: str, when: Time) -> list[RunChange]:
    """Bring a run that has just started to a status."""
    if end == "WAITING":
        return [scribe.take(run_id, when), scribe.fail(run_id, when)]
    if end == "COMPLETED":
        return [scribe.complete(run_id, b'"first"', when), scribe.complete(run_id, b'"last"', when)]
    if end == "FAILED":
        return [scribe.fail(run_id, when), scribe.retry(run_id, at(1_000)), scribe.fail(run_id, when)]
    return [scribe.cancel(run_id, when)] if end == "CANCELLED" else []


@asynccontextmanager
async def filled(place: Place, ends: Sequence[tuple[str, int, int]]) -> AsyncIterator[tuple[Opened, Scribe]]:
    """Open a place with runs: how they ended, the second of their start, which workflow."""
    scribe = Scribe(make_version("order", max_retries=1), make_version("cake", max_retries=1))
    async with place.open() as opened:
        await scribe.define(opened.store)
        async with opened.store.transaction() as tx:
            for end, second, version in ends:
                started = scribe.start(b'"%d"' % second, when=at(second), version=version)
                await tx.save([started, *bring_to(scribe, started.state.run_id, end, at(second))])
        yield opened, scribe


# --- one run --------------------------------------------------------------------------------------------------------


async def test_a_run_that_is_not_there_is_none(place: Place) -> None:
    async with filled(place, []) as (opened, _):
        assert await opened.queries.run(run(1)) is None
        assert await opened.queries.dead_letter("nobody") is None
        history = await opened.queries.history(run(1))
        assert (history.events, history.results) == ([], [])
        assert await opened.queries.details(run(1)) == {}


async def test_of_several_runs_those_that_have_ended_are_told_apart(place: Place) -> None:
    async with filled(place, [(end, second, 0) for second, end in enumerate(ENDS)]) as (opened, _):
        runs = [run(number) for number in range(1, len(ENDS) + 1)]
        nobody = [RunId("nobody"), RunId(""), RunId("n\0body")]
        found = await opened.queries.ended([*nobody, *runs])
        assert sorted(found) == [run_id for run_id, end in zip(runs, ENDS, strict=True) if end not in ENDS[:2]]
        assert await opened.queries.ended(nobody) == []


@pytest.mark.parametrize("end", ENDS)
async def test_a_run_is_shown_as_it_is(place: Place, end: str) -> None:
    async with filled(place, [(end, 3, 0)]) as (opened, scribe):
        state = scribe.states[run(1)]
        record = await opened.queries.run(run(1))
        assert record is not None
        assert record == RunRecord(
            run_id=run(1),
            workflow_id="order",
            version=1,
            status=RunStatus(end),
            current_step=state.current_step,
            started_at=at(3),
            ended_at=state.ended_at,
            input=scribe.inputs[run(1)],
            output=scribe.results[run(1)][1] if end == "COMPLETED" else None,
            failure=BROKE if end == "FAILED" else None,
            place=record.place,
        )


async def test_a_redriven_run_has_no_end_and_no_failure(place: Place) -> None:
    async with filled(place, [("FAILED", 0, 0)]) as (opened, scribe):
        async with opened.store.transaction() as tx:
            await tx.save([scribe.redrive(run(1))])
        record = await opened.queries.run(run(1))
        assert record is not None
        assert (record.status, record.ended_at, record.failure) == (RunStatus.RUNNING, None, None)


async def test_a_history_has_its_events_and_results_in_order(place: Place) -> None:
    async with filled(place, [("COMPLETED", 0, 0)]) as (opened, scribe):
        history = await opened.queries.history(run(1))
        assert history.events == scribe.histories[run(1)]
        assert [type(event) for event in history.events[:2]] == [RunStarted, StepQueued]
        assert [(one.step, one.result, one.at) for one in history.results] == [
            (0, b'"first"', NOW),
            (1, b'"last"', NOW),
        ]


# --- lists ----------------------------------------------------------------------------------------------------------


def naive(scribe: Scribe, which: RunFilter) -> list[RunId]:
    """List the runs that a filter asks for, newest first; of those that began together the one written last."""
    found = [
        (state.started_at, number, run_id)
        for number, (run_id, state) in enumerate(scribe.states.items())
        if (not which.statuses or state.status in which.statuses)
        and which.workflow_id in (None, state.workflow_id)
        and (which.started_from is None or state.started_at >= which.started_from)
        and (which.started_to is None or state.started_at < which.started_to)
    ]
    return [run_id for *_, run_id in sorted(found, reverse=True)]


async def all_pages(opened: Opened, which: RunFilter, limit: int) -> list[RunId]:
    found: list[RunId] = []
    after: tuple[int, int] | None = None
    while True:
        page, more = await opened.queries.runs(which, limit, after, payload_bytes_max=None)
        assert len(page) <= limit
        found += [record.run_id for record in page]
        if not more:
            return found
        assert page, "a page is never empty when there are more"
        after = page[-1].place


_second = st.integers(0, 6)
_filters = st.builds(
    RunFilter,
    statuses=st.lists(st.sampled_from(RunStatus), max_size=4, unique=True).map(tuple),
    workflow_id=st.none() | st.sampled_from(["order", "cake", "nothing"]),
    started_from=st.none() | _second.map(at),
    started_to=st.none() | _second.map(at),
)


def _searches(most: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Draw runs, filters and the length of a page, so many times."""

    def wrap(test: Callable[..., None]) -> Callable[..., None]:
        drawn = given(
            ends=st.lists(st.tuples(st.sampled_from(ENDS), _second, st.integers(0, 1)), max_size=14),
            filters=st.lists(_filters, min_size=1, max_size=6),
            limit=st.integers(1, 6),
        )
        # A database is emptied before each example.
        return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])(drawn(test))

    return wrap


async def search(place: Place, ends: list[tuple[str, int, int]], filters: list[RunFilter], limit: int) -> None:
    async with filled(place, ends) as (opened, scribe):
        for which in filters:
            assert await all_pages(opened, which, limit) == naive(scribe, which)


@_searches(100)
def test_every_filter_finds_what_a_naive_search_finds(
    ends: list[tuple[str, int, int]], filters: list[RunFilter], limit: int
) -> None:
    asyncio.run(search(SqliteMemory(), ends, filters, limit))


@_searches(30)
def test_every_filter_finds_what_a_naive_search_finds_on_postgres(
    postgres: PostgresDatabase, ends: list[tuple[str, int, int]], filters: list[RunFilter], limit: int
) -> None:
    async def search_anew() -> None:
        await execute("TRUNCATE runs, history, jobs, dead_letters, definitions", url=postgres.url)
        await search(postgres, ends, filters, limit)

    asyncio.run(search_anew())


async def test_a_list_can_be_paged_through_while_runs_arrive(place: Place) -> None:
    async with filled(place, [("RUNNING", second, 0) for second in (0, 1, 1, 1, 2)]) as (opened, scribe):
        expected = naive(scribe, RunFilter())
        first, more = await opened.queries.runs(RunFilter(), 2, None, payload_bytes_max=None)
        assert more
        async with opened.store.transaction() as tx:
            await tx.save([scribe.start(when=at(9)), scribe.start(when=at(2))])
        second, more = await opened.queries.runs(RunFilter(), 10, first[-1].place, payload_bytes_max=None)
        assert [record.run_id for record in [*first, *second]] == expected
        assert not more


async def test_a_page_ends_when_its_payloads_are_too_large(place: Place) -> None:
    async with filled(place, []) as (opened, scribe):
        sizes = [10, 50, 10, 10]
        async with opened.store.transaction() as tx:
            for second, size in enumerate(reversed(sizes)):
                await tx.save([scribe.start(b'"' + b"x" * (size - 2) + b'"', when=at(second))])
        pages: list[int] = []
        after: tuple[int, int] | None = None
        more = True
        while more:
            page, more = await opened.queries.runs(RunFilter(), 10, after, payload_bytes_max=25)
            pages.append(len(page))
            after = page[-1].place
        assert pages == [2, 2]
        page, more = await opened.queries.runs(RunFilter(), 10, None, payload_bytes_max=1)
        assert (len(page), more) == (1, True)


async def test_outputs_count_as_payload_too(place: Place) -> None:
    async with filled(place, [("COMPLETED", 0, 0), ("COMPLETED", 1, 0), ("COMPLETED", 2, 0)]) as (opened, _):
        page, more = await opened.queries.runs(RunFilter(), 10, None, payload_bytes_max=len(b'"1""last"') - 1)
        assert (len(page), more) == (1, True)
        page, more = await opened.queries.runs(RunFilter(), 10, None, payload_bytes_max=len(b'"1""last"') * 3)
        assert (len(page), more) == (3, False)


async def test_a_list_without_payloads_reads_none(place: Place) -> None:
    async with filled(place, [("COMPLETED", 0, 0)]) as (opened, _):
        ((record,), _) = await opened.queries.runs(RunFilter(), 10, None, payload_bytes_max=None)
        assert (record.input, record.output) == (b"null", None)
        ((record,), _) = await opened.queries.runs(RunFilter(), 10, None, payload_bytes_max=1_000)
        assert (record.input, record.output) == (b'"0"', b'"last"')


async def test_the_results_of_several_runs_are_read_together(place: Place) -> None:
    async with filled(place, [("COMPLETED", 0, 0), ("RUNNING", 0, 0), ("COMPLETED", 5, 1)]) as (opened, _):
        found = await opened.queries.results([run(1), run(2), run(3)])
        assert {run_id: [(one.step, one.at) for one in results] for run_id, results in found.items()} == {
            run(1): [(0, NOW), (1, NOW)],
            run(2): [],
            run(3): [(0, at(5)), (1, at(5))],
        }


async def test_workflows_are_listed_by_id_with_their_latest_version(place: Place) -> None:
    versions = [make_version(name, number) for name, number in (("b", 1), ("a", 1), ("b", 2), ("c", 1), ("b", 10))]
    async with place.open() as opened:
        assert await opened.queries.workflows() == []
        await Scribe(*versions).define(opened.store)
        latest = [(one.definition.id, one.version) for one in await opened.queries.workflows()]
        assert latest == [("a", 1), ("b", 10), ("c", 1)]
        assert [one.version for one in await opened.queries.versions("b")] == [10, 2, 1]
        assert await opened.queries.versions("d") == []


# --- dead letters ---------------------------------------------------------------------------------------------------


async def test_open_dead_letters_are_listed_newest_first(place: Place) -> None:
    async with filled(place, [("FAILED", 9 - number, number % 2) for number in range(6)]) as (opened, scribe):
        ids = [f"{run_id}:0:2" for run_id in scribe.states]
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(ids[1], DeadLetterState.DISCARDED, NOW)
            await tx.settle_dead_letter(ids[4], DeadLetterState.REDRIVEN, NOW)
        letters, more = await opened.queries.dead_letters(LetterFilter(), 10, None)
        assert ([letter.id for letter in letters], more) == ([ids[5], ids[3], ids[2], ids[0]], False)
        for workflow_id, action, expected in (
            ("order", None, [ids[2], ids[0]]),
            ("cake", None, [ids[5], ids[3]]),
            (None, "a0", [ids[5], ids[3], ids[2], ids[0]]),
            ("cake", "a0", [ids[5], ids[3]]),
            ("cake", "a1", []),
            ("nothing", None, []),
        ):
            letters, _ = await opened.queries.dead_letters(
                LetterFilter(workflow_id=workflow_id, action=action), 10, None
            )
            assert [letter.id for letter in letters] == expected
        settled = await opened.queries.dead_letter(ids[1])
        assert settled is not None
        assert (settled.state, settled.settled_at) == (DeadLetterState.DISCARDED, NOW)


@pytest.mark.parametrize("limit", [1, 2, 5, 9])
async def test_dead_letters_are_paged_through_while_some_are_settled(place: Place, limit: int) -> None:
    async with filled(place, [("FAILED", 0, 0)] * 5) as (opened, scribe):
        expected = [f"{run_id}:0:2" for run_id in reversed(scribe.states)]
        found: list[str] = []
        more = True
        while more:
            page, more = await opened.queries.dead_letters(LetterFilter(), limit, found[-1] if found else None)
            found += [letter.id for letter in page]
            async with opened.store.transaction() as tx:
                await tx.settle_dead_letter(found[-1], DeadLetterState.DISCARDED, NOW)
        assert found == expected


# --- details, and what is not committed -----------------------------------------------------------------------------


async def test_details_are_read_by_step(place: Place) -> None:
    async with filled(place, [("RUNNING", 0, 0), ("RUNNING", 0, 0)]) as (opened, scribe):
        command = StartAttempt(0, 1, "w-1", NOW)
        async with opened.store.transaction() as tx:
            await tx.save([scribe.do(run(1), command, details=b'{"done": 0.50}')])
        assert await opened.queries.details(run(1)) == {0: b'{"done": 0.50}'}
        assert await opened.queries.details(run(2)) == {}


@pytest.mark.parametrize("place", ["sqlite file", "postgres"], indirect=True)
async def test_what_is_not_committed_is_not_shown(place: Place) -> None:
    """In memory there is one connection, which sees what it writes; nothing is read while it does."""
    async with filled(place, [("RUNNING", 0, 0)]) as (opened, scribe):
        async with opened.store.transaction() as tx:
            await tx.save([scribe.cancel(run(1)), scribe.start()])
            record = await opened.queries.run(run(1))
            assert record is not None
            assert record.status is RunStatus.RUNNING
            assert await opened.queries.run(run(2)) is None
            assert len((await opened.store.pending((0, 0), 10))[0]) == 1
        assert await opened.queries.run(run(2)) is not None


async def test_dead_letters_are_filtered_by_state_error_and_time(place: Place) -> None:
    async with filled(place, [("FAILED", 9 - number, 0) for number in range(4)]) as (opened, scribe):
        ids = [f"{run_id}:0:2" for run_id in scribe.states]
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(ids[0], DeadLetterState.DISCARDED, NOW)
        letters = {id_: await opened.queries.dead_letter(id_) for id_ in ids}
        moments = [letter.created_at for letter in letters.values() if letter is not None]
        kind = next(letter.error_type for letter in letters.values() if letter is not None)
        least, most = min(moments), max(moments)
        for which, expected in (
            (LetterFilter(state=DeadLetterState.DISCARDED), [ids[0]]),
            (LetterFilter(state=DeadLetterState.REDRIVEN), []),
            (LetterFilter(error_type=kind), [ids[3], ids[2], ids[1]]),
            (LetterFilter(error_type="Nothing"), []),
            (LetterFilter(created_from=least, created_to=Time(most + 1)), [ids[3], ids[2], ids[1]]),
            (LetterFilter(created_from=Time(most + 1)), []),
            (LetterFilter(created_to=least), []),
        ):
            found, _ = await opened.queries.dead_letters(which, 10, None)
            assert [letter.id for letter in found] == expected
            assert await opened.queries.dead_letter_ids(which, 10, None) == (expected, False)
        assert await opened.queries.dead_letter_ids(LetterFilter(), 2, None) == ([ids[3], ids[2]], True)
        assert await opened.queries.dead_letter_ids(LetterFilter(), 2, ids[2]) == ([ids[1]], False)


async def test_dead_letters_are_counted_by_workflow_action_and_error(place: Place) -> None:
    async with filled(place, [("FAILED", 9 - number, number % 3 % 2) for number in range(7)]) as (opened, scribe):
        ids = [f"{run_id}:0:2" for run_id in scribe.states]
        async with opened.store.transaction() as tx:
            await tx.settle_dead_letter(ids[0], DeadLetterState.DISCARDED, NOW)
        found = [letter for id_ in ids[1:] if (letter := await opened.queries.dead_letter(id_)) is not None]
        groups, more = await opened.queries.dead_letter_groups(LetterFilter(), 10)
        assert not more
        assert {(group.workflow_id, group.action, group.error_type): group.count for group in groups} == Counter(
            (letter.workflow_id, letter.action, letter.error_type) for letter in found
        )
        assert [group.count for group in groups] == sorted((group.count for group in groups), reverse=True)
        for group in groups:
            moments = [letter.created_at for letter in found if letter.workflow_id == group.workflow_id]
            assert (group.oldest, group.newest) == (min(moments), max(moments))
        assert await opened.queries.dead_letter_groups(LetterFilter(), 1) == (groups[:1], True)
        which = LetterFilter(workflow_id=groups[1].workflow_id)
        assert await opened.queries.dead_letter_groups(which, 10) == (groups[1:], False)
