"""The contract of `ports.roster.Roster`: what one process tells, all processes know; and what is only PostgreSQL's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from orchestrator.adapters.embedded.roster import MemoryRoster
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.roster import PostgresRoster
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.system import SystemClock
from orchestrator.model.times import MICROS, Duration
from orchestrator.model.worker import About, Transport
from orchestrator.ports.roster import Presence, Roster
from tests.ports.places import PostgresDatabase
from tests.ports.postgres_server import execute
from tests.ports.scribe import Scribe

ABOUT = About(transport=Transport.HTTP, actions=("b", "a"), sdk="sdk", version="1.2", host="h", pid=7, concurrency=3)
KAFKA = msgspec.structs.replace(ABOUT, transport=Transport.KAFKA)
AN_HOUR = Duration(3_600 * MICROS)
MANY = 1_000


def seconds(number: float) -> Duration:
    return Duration(round(number * MICROS))


def presence(worker_id: str = "w", about: About = ABOUT, **more: Any) -> Presence:
    ages = {"registered_ago": seconds(20), "seen_ago": seconds(10), "good_for": seconds(20), **more}
    return Presence(worker_id=worker_id, about=about, **ages)


@dataclass
class Installation:
    """Two processes that share a list."""

    one: Roster
    other: Roster


@asynccontextmanager
async def in_memory() -> AsyncIterator[Installation]:
    one = MemoryRoster(SystemClock())
    yield Installation(one, MemoryRoster(SystemClock(), one.entries))


@asynccontextmanager
async def on_postgres(place: PostgresDatabase) -> AsyncIterator[Installation]:
    database = await Database.open(place.url)
    try:
        yield Installation(PostgresRoster(database), PostgresRoster(database))
    finally:
        await database.close()


Opened = Callable[[], Any]


@pytest.fixture(params=["memory", "postgres"])
def opened(request: pytest.FixtureRequest) -> Opened:
    """Opens an installation of the test's own."""
    if request.param == "memory":
        return in_memory
    place = request.getfixturevalue("postgres")
    return lambda: on_postgres(place)


def near(found: int, expected: float) -> bool:
    """Whether an age is what it was, or has grown a little: a machine may be busy."""
    return expected * MICROS - 1 <= found <= (expected + 5) * MICROS


async def test_nobody_is_known_where_nothing_was_told(opened: Opened) -> None:
    async with opened() as at:
        assert await at.one.tell([]) == []
        assert await at.one.known(AN_HOUR, MANY) == []
        assert await at.one.find("w", AN_HOUR) is None
        assert await at.one.in_hand(MANY) == []
        assert await at.one.in_hand(MANY, "w\0") == []
        assert not await at.one.drain("w")
        assert await at.one.find("w\0", AN_HOUR) is None
        assert not await at.one.drain("w\0")
        assert await at.one.forget(Duration(0), MANY) == 0


async def test_what_one_process_tells_the_others_know(opened: Opened) -> None:
    async with opened() as at:
        assert await at.one.tell([presence("w2"), presence("w1", KAFKA)]) == []
        for roster in (at.one, at.other):
            first, second = await roster.known(AN_HOUR, MANY)
            assert (first.worker_id, first.about) == ("w1", KAFKA)
            assert (second.worker_id, second.about) == ("w2", ABOUT)
            assert near(second.registered_ago, 20)
            assert near(second.seen_ago, 10)
            assert near(20 * MICROS - second.good_for, 0)
            assert (second.is_draining, second.has_left, second.is_full) == (False, False, False)
            assert second.is_ours is (roster is at.one)
            found = await roster.find("w2", AN_HOUR)
            assert found is not None
            assert found.about == ABOUT
        assert [one.worker_id for one in await at.other.known(AN_HOUR, 1)] == ["w1"]


async def test_a_newer_word_replaces_the_older_one(opened: Opened) -> None:
    async with opened() as at:
        await at.one.tell([presence()])
        newer = msgspec.structs.replace(ABOUT, actions=("c",))
        # The same moment, measured again: a process may always correct itself.
        await at.one.tell([presence(about=newer, seen_ago=seconds(10.5), registered_ago=seconds(2), is_draining=True)])
        (found,) = await at.other.known(AN_HOUR, MANY)
        assert (found.about, found.is_draining) == (newer, True)
        assert near(found.registered_ago, 2)
        await at.other.tell([presence(seen_ago=seconds(1), is_full=True)])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert (found.about, found.is_draining, found.is_full, found.is_ours) == (ABOUT, False, True, False)
        await at.other.tell([presence(seen_ago=seconds(1), has_left=True)])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert (found.has_left, found.is_full) == (True, False)


async def test_who_has_seen_a_worker_later_knows_better(opened: Opened) -> None:
    async with opened() as at:
        await at.one.tell([presence(seen_ago=seconds(10))])
        await at.other.tell([presence(about=KAFKA, seen_ago=seconds(100))])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert (found.about, found.is_ours) == (ABOUT, True)


@pytest.mark.parametrize("about", [ABOUT, KAFKA])
async def test_a_worker_over_kafka_keeps_its_beginning_whoever_hears_it(opened: Opened, about: About) -> None:
    async with opened() as at:
        await at.one.tell([presence(about=about, registered_ago=seconds(500))])
        await at.other.tell([presence(about=about, registered_ago=seconds(0), seen_ago=seconds(0))])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert near(found.registered_ago, 500 if about is KAFKA else 0)
        # After a gap it begins anew.
        gone: dict[str, Any] = {"good_for": seconds(-1), "seen_ago": seconds(0)}
        await at.one.tell([presence(about=about, registered_ago=seconds(500), **gone)])
        await at.other.tell([presence(about=about, registered_ago=seconds(0), seen_ago=seconds(0))])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert near(found.registered_ago, 0)
        await at.one.tell([presence(about=about, registered_ago=seconds(500), seen_ago=seconds(0), has_left=True)])
        await at.other.tell([presence(about=about, registered_ago=seconds(0), seen_ago=seconds(0))])
        (found,) = await at.one.known(AN_HOUR, MANY)
        assert near(found.registered_ago, 0)


async def test_time_alone_ends_what_is_not_told_again(opened: Opened) -> None:
    async with opened() as at:
        await at.one.tell([presence(good_for=seconds(0.05))])
        async with asyncio.timeout(30):
            while (await at.other.known(AN_HOUR, MANY))[0].good_for > 0:
                await asyncio.sleep(0.01)
        assert not await at.other.drain("w")


async def test_what_was_not_seen_for_long_is_not_listed_and_is_forgotten(opened: Opened) -> None:
    async with opened() as at:
        await at.one.tell([presence(f"old-{number}", seen_ago=seconds(500)) for number in range(3)])
        await at.one.tell([presence("new")])
        assert [one.worker_id for one in await at.other.known(seconds(400), MANY)] == ["new"]
        assert await at.other.find("old-1", seconds(400)) is None
        assert await at.other.find("old-1", seconds(600)) is not None
        assert await at.other.forget(seconds(400), 2) == 2
        assert await at.one.forget(seconds(400), 2) == 1
        assert [one.worker_id for one in await at.one.known(AN_HOUR, MANY)] == ["new"]


async def test_who_is_asked_to_drain_is_told_to_the_process_that_tells_of_it(opened: Opened) -> None:
    async with opened() as at:
        await at.one.tell([presence("w1"), presence("w2"), presence("w3", KAFKA), presence("w4", has_left=True)])
        assert [await at.other.drain(name) for name in ("w1", "w3", "w4", "w5")] == [True, False, False, False]
        found = await at.other.known(AN_HOUR, MANY)
        assert [one.is_draining for one in found] == [True, False, False, False]
        for _ in range(2):
            # Until it is.
            assert await at.one.tell([presence("w1"), presence("w2")]) == ["w1"]
        assert await at.one.tell([presence("w1", is_draining=True)]) == []
        assert await at.other.drain("w1")
        # Registered again, it works again.
        assert await at.one.tell([presence("w1")]) == []
        assert not (await at.other.known(AN_HOUR, MANY))[0].is_draining


async def test_processes_that_tell_of_the_same_workers_at_once_do_not_wait_for_each_other(opened: Opened) -> None:
    async with opened() as at:
        workers = [presence(f"w{number:03}", seen_ago=seconds(0)) for number in range(300)]
        backwards = list(reversed(workers))
        async with asyncio.timeout(30):
            await asyncio.gather(
                *(at.one.tell(workers) for _ in range(5)), *(at.other.tell(backwards) for _ in range(5))
            )
        assert len(await at.one.known(AN_HOUR, MANY)) == 300


# --- what only PostgreSQL shows --------------------------------------------------------------------------------------


async def test_jobs_in_hand_are_those_that_the_store_knows(postgres: PostgresDatabase) -> None:
    scribe = Scribe()
    database = await Database.open(postgres.url)
    store, roster = PostgresStore(database), PostgresRoster(database)
    await scribe.define(store)
    async with store.transaction() as tx:
        await tx.save([scribe.start() for _ in range(4)])
        one, two, three, _ = scribe.states
        await tx.save([scribe.take(one), scribe.take(two, worker="w-2"), scribe.take(three, worker="")])
    found = await roster.in_hand(MANY)
    assert {(row.run_id, row.worker) for row in found} == {(one, "w-1"), (two, "w-2")}
    (row,) = await roster.in_hand(MANY, "w-2")
    assert (row.run_id, row.step, row.attempt, row.action, row.alone) == (two, 0, 1, "a0", False)
    assert len(await roster.in_hand(1)) == 1
    async with store.transaction() as tx:
        await tx.save([scribe.complete(two)])
    assert await roster.in_hand(MANY, "w-2") == []
    await database.close()


async def test_after_a_crash_of_the_server_the_list_is_filled_again(postgres: PostgresDatabase) -> None:
    async with on_postgres(postgres) as at:
        await at.one.tell([presence()])
        # What is left of a table that is not logged.
        await execute("TRUNCATE workers", url=postgres.url)
        assert await at.other.known(AN_HOUR, MANY) == []
        await at.one.tell([presence()])
        assert len(await at.other.known(AN_HOUR, MANY)) == 1
