"""The contract of `ports.hints`: what is kept is recalled or missed, what is told is heard or not, and nobody waits."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from orchestrator.adapters.redis.config import RedisConfig
from orchestrator.adapters.redis.hints import RedisHints
from orchestrator.adapters.system import SystemClock
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Time
from orchestrator.ports.hints import VALUE_BYTES_MAX, Hints
from tests.ports.memory_hints import Board, MemoryHints
from tests.real import Real

pytestmark = pytest.mark.timeout(300)

PATIENCE_SECONDS = 60.0
CLOCK = SystemClock()
Make = Callable[[], Hints]


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes the hints of one process after the other, all of one installation."""
    if request.param == "memory":
        board = Board(CLOCK)
        return lambda: MemoryHints(board)
    real: Real = request.getfixturevalue("real")
    # A busy machine is no reason to call Redis slow here.
    config = RedisConfig(url=real.redis(), prefix=f"t{uuid.uuid4().hex}:", seconds_max=10, rest_seconds=0.2)
    return lambda: RedisHints(config)


@asynccontextmanager
async def running(*hints: Hints) -> AsyncIterator[None]:
    """Let hints run while the block does, from when they are up and hear."""
    async with AsyncExitStack() as stack:
        for one in hints:
            task = asyncio.create_task(one.run())
            stack.push_async_callback(stopped, task)
        for one in hints:
            await until(lambda one=one: one.report.condition == "up" and one.report.is_listening)  # type: ignore[misc]
        yield


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def until(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Return when a condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


def in_seconds(seconds: float) -> Time:
    return Time(CLOCK.now() + round(seconds * MICROS))


async def test_what_one_keeps_another_recalls(make: Make) -> None:
    one, other = make(), make()
    async with running(one, other):
        one.keep(b"name", b"\x00value\xff", in_seconds(600))
        await until(lambda: has(other, b"name", b"\x00value\xff"))
        one.keep(b"name", b"later", in_seconds(600))
        await until(lambda: has(other, b"name", b"later"))
        assert await other.recall(b"another") is None
        assert one.report.kept == 2
        assert other.report.hits >= 2
        assert other.report.misses >= 1


async def has(hints: Hints, name: bytes, value: bytes) -> bool:
    return await hints.recall(name) == value


async def test_a_value_ends_with_its_time(make: Make) -> None:
    hints = make()
    async with running(hints):
        hints.keep(b"short", b"value", in_seconds(0.3))
        hints.keep(b"over", b"value", in_seconds(-5))
        hints.keep(b"long", b"value", in_seconds(600))
        await until(lambda: has(hints, b"long", b"value"))
        await until(lambda: is_gone(hints, b"short"))
        assert await hints.recall(b"over") is None


async def is_gone(hints: Hints, name: bytes) -> bool:
    return await hints.recall(name) is None


async def test_a_value_that_is_too_long_is_not_given_back(make: Make) -> None:
    hints = make()
    async with running(hints):
        hints.keep(b"fits", b"v" * VALUE_BYTES_MAX, in_seconds(600))
        hints.keep(b"long", b"v" * (VALUE_BYTES_MAX + 1), in_seconds(600))
        hints.keep(b"last", b"v", in_seconds(600))
        await until(lambda: has(hints, b"last", b"v"))
        await until(lambda: has(hints, b"fits", b"v" * VALUE_BYTES_MAX))
        assert await hints.recall(b"long") is None


async def test_many_recall_at_once(make: Make) -> None:
    hints = make()
    async with running(hints):
        names = [b"%d" % number for number in range(1_200)]
        for name in names[::2]:
            hints.keep(name, b"value of " + name, in_seconds(600))
        await until(lambda: has(hints, names[-2], b"value of " + names[-2]))
        found = await asyncio.gather(*(hints.recall(name) for name in names))
        assert found == [None if number % 2 else b"value of %d" % number for number in range(1_200)]


async def test_what_one_tells_the_others_hear_and_it_does_not(make: Make) -> None:
    one, two, three = make(), make(), make()
    heard: list[list[RunId]] = [[], [], []]
    for hints, ids in zip((one, two, three), heard, strict=True):
        hints.listen(ids.extend)
    async with running(one, two, three):
        told = [RunId(f"run-{number:05}") for number in range(2_500)]
        one.tell(told)
        two.tell([RunId("run-of-two")])
        await until(lambda: len(heard[1]) >= 2_500 and len(heard[2]) >= 2_501 and heard[0])
        assert heard[0] == ["run-of-two"]
        assert heard[1] == told
        assert sorted(heard[2]) == sorted([*told, RunId("run-of-two")])
        assert (one.report.told, one.report.heard, three.report.heard) == (2_500, 1, 2_501)


async def test_who_does_not_run_has_nothing_and_holds_nobody_up(make: Make) -> None:
    hints = make()
    for _ in range(2):
        hints.keep(b"name", b"value", in_seconds(600))
        hints.tell([RunId("run")])
        assert await hints.recall(b"name") is None
        assert hints.report.condition != "up"
        assert not hints.report.is_listening
        async with running(hints):
            pass


async def test_who_recalls_as_it_stops_has_a_miss(make: Make) -> None:
    hints = make()
    async with running(hints):
        asked = [asyncio.create_task(hints.recall(b"name")) for _ in range(3)]
        await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.gather(*asked), PATIENCE_SECONDS) == [None] * 3
