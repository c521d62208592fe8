"""Repeated triggers answered from a hint: as the store would have answered, whatever the hint says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.app.command import Triggered
from orchestrator.app.shortcuts import SKEW, TRUSTED, Shortcuts
from orchestrator.model.errors import IdempotencyConflict, Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Time
from orchestrator.ports.hints import VALUE_BYTES_MAX
from tests.app.stage import StageClock
from tests.ports.memory_hints import Board, MemoryHints

ASKED = b"a" * 32
OTHER = b"b" * 32
RUN = RunId("01890a5d-ac96-774b-bcce-b302099a8057")
DAY = 86_400 * MICROS


class Identity:
    """The one question that shortcuts ask a store."""

    def __init__(self) -> None:
        self.secret = b"s" * 32
        self.is_there = True

    async def incarnation(self) -> bytes:
        if not self.is_there:
            raise Unavailable("the store does not answer")
        return self.secret


class World:
    """Two processes over one store and one board."""

    def __init__(self) -> None:
        self.clock = StageClock()
        self.store = Identity()
        self.board = Board(self.clock)
        self.hints = [MemoryHints(self.board) for _ in range(2)]
        self.one, self.other = (
            Shortcuts(hints, self.store, self.clock)  # type: ignore[arg-type]
            for hints in self.hints
        )

    def began(self, seconds: float = 86_400) -> Triggered:
        return Triggered(RUN, created=True, expires_at=Time(self.clock.now() + round(seconds * MICROS)))

    async def look(self) -> None:
        await self.one.look()
        await self.other.look()


@asynccontextmanager
async def make_world() -> AsyncIterator[World]:
    world = World()
    tasks = [asyncio.create_task(hints.run()) for hints in world.hints]
    await asyncio.sleep(0)
    await world.look()
    yield world
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_what_one_process_has_begun_another_knows() -> None:
    async with make_world() as world:
        assert await world.one.find("key", ASKED) is None
        world.one.keep("key", ASKED, world.began())
        assert await world.one.find("key", ASKED) == RUN
        assert await world.other.find("key", ASKED) == RUN
        assert await world.other.find("another", ASKED) is None


async def test_another_request_with_the_key_is_a_conflict() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        with pytest.raises(IdempotencyConflict):
            await world.other.find("key", OTHER)


async def test_nobody_reads_a_key_or_a_run_under_a_name_of_its_own() -> None:
    """What lies there names no key, and is of one size for a key of any size."""
    async with make_world() as world:
        for key in ("k", "key" * 80):
            world.one.keep(key, ASKED, world.began())
        assert [len(name) for name in world.board.values] == [32, 32]
        assert all(b"key" not in name + value for name, (value, _) in world.board.values.items())
        assert all(len(value) < VALUE_BYTES_MAX for value, _ in world.board.values.values())


async def test_a_hint_ends_before_its_key_does_by_more_than_clocks_differ() -> None:
    async with make_world() as world:
        world.one.keep("short", ASKED, world.began(SKEW / MICROS))
        assert world.board.values == {}
        world.one.keep("key", ASKED, world.began())
        (name,) = world.board.values
        value, until = world.board.values[name]
        assert until == world.clock.now() + DAY - SKEW
        # A place that forgets to forget changes nothing: the value says itself when it ends.
        world.board.values[name] = (value, Time(until + DAY))
        world.clock.ahead = (DAY - SKEW) / MICROS
        assert await world.other.find("key", ASKED) is None
        world.clock.ahead -= 1
        assert await world.other.find("key", ASKED) == RUN


@pytest.mark.parametrize("size", [1, 31, 32, 71, 72, 73, 120, VALUE_BYTES_MAX])
async def test_what_nobody_here_has_written_is_a_miss(size: int) -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        (name,) = world.board.values
        for byte in (b"\x00", b"\xff", b"a"):
            world.board.values[name] = (byte * size, Time(world.clock.now() + DAY))
            assert await world.other.find("key", ASKED) is None
        assert world.hints[1].report.forged == 3


async def test_a_value_that_was_changed_or_belongs_to_another_key_is_a_miss() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        world.one.keep("another", ASKED, world.began())
        name, another = world.board.values
        value, until = world.board.values[name]
        world.board.values[another] = (value, until)
        assert await world.other.find("another", ASKED) is None
        for place in range(len(value)):
            changed = bytearray(value)
            changed[place] ^= 1
            world.board.values[name] = (bytes(changed), until)
            assert await world.other.find("key", ASKED) is None
        # What is wrong is mended by the next answer of the store.
        world.one.keep("key", ASKED, world.began())
        assert await world.other.find("key", ASKED) == RUN


async def test_after_the_store_was_put_back_no_older_hint_counts() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        world.store.secret = b"t" * 32
        await world.other.look()
        assert await world.other.find("key", ASKED) is None
        # A process that has not noticed yet cannot mislead one that has.
        world.one.keep("key", ASKED, world.began())
        assert await world.other.find("key", ASKED) is None
        await world.one.look()
        assert await world.one.find("key", ASKED) is None


async def test_hints_of_another_store_on_the_same_place_are_not_understood() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        another = Identity()
        another.secret = b"u" * 32
        stranger = Shortcuts(world.hints[1], another, world.clock)  # type: ignore[arg-type]
        await stranger.look()
        assert await stranger.find("key", ASKED) is None


async def test_no_hint_counts_while_it_is_not_certain_which_store_it_is() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        world.store.is_there = False
        await world.one.look()
        assert await world.one.find("key", ASKED) is None
        assert await world.other.find("key", ASKED) == RUN
        # A process that has stood still for a while looks first.
        await asyncio.sleep(TRUSTED / MICROS)
        assert await world.other.find("key", ASKED) is None
        world.other.keep("another", ASKED, world.began())
        assert len(world.board.values) == 1
        world.store.is_there = True
        await world.look()
        assert await world.one.find("key", ASKED) == RUN


async def test_it_looks_again_by_itself() -> None:
    async with make_world() as world:
        looking = asyncio.create_task(world.one.run())
        world.one.keep("key", ASKED, world.began())
        await asyncio.sleep(100)
        assert await world.one.find("key", ASKED) == RUN
        world.store.secret = b"t" * 32
        await asyncio.sleep(2)
        assert await world.one.find("key", ASKED) is None
        looking.cancel()
        await asyncio.wait([looking])


async def test_without_the_place_everything_is_a_miss() -> None:
    async with make_world() as world:
        world.one.keep("key", ASKED, world.began())
        for hints in world.hints:
            hints.report.condition = "down"
        assert await world.one.find("key", ASKED) is None
        world.one.keep("another", ASKED, world.began())
        assert len(world.board.values) == 1
