"""Redis as it fails: killed, frozen, flushed, full, locked, full of things that others wrote."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.exceptions import OutOfMemoryError

from orchestrator.adapters.redis.config import RedisConfig
from orchestrator.adapters.redis.hints import RedisHints
from orchestrator.model.run import RunId
from stack.ports import free_port
from stack.redis import Redis
from tests.ports.test_hints import has, in_seconds, running, until

pytestmark = pytest.mark.timeout(300)

SECRET = "s3cret of redis"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own."""
    with Redis(tmp_path / "redis", free_port()).running() as started:
        yield started


def hints_on(url: str, seconds_max: float = 1.0) -> RedisHints:
    prefix = f"t{uuid.uuid4().hex}:"
    return RedisHints(RedisConfig(url=url, prefix=prefix, seconds_max=seconds_max, rest_seconds=0.1))


def in_condition(hints: RedisHints, *conditions: str) -> bool:
    return hints.report.condition in conditions


async def works(hints: RedisHints) -> None:
    """Wait until hints are kept and recalled."""

    async def once() -> bool:
        hints.keep(b"works", b"yes", in_seconds(600))
        return await hints.recall(b"works") == b"yes"

    await until(once)


async def test_a_redis_that_comes_late_is_found(tmp_path: Path) -> None:
    server = Redis(tmp_path / "redis", free_port())
    hints = hints_on(server.url)
    task = asyncio.create_task(hints.run())
    try:
        await until(lambda: hints.report.errors)
        assert in_condition(hints, "down")
        assert str(server.port) in hints.report.reason
        assert await hints.recall(b"name") is None
        with server.running():
            await works(hints)
            assert in_condition(hints, "up")
            assert hints.report.reason == ""
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_redis_that_is_killed_and_comes_back_is_used_again(
    server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "orchestrator.adapters.redis.hints")
    hints, other = hints_on(server.url), hints_on(server.url)
    other._config = other._listener._config = hints._config
    heard: list[RunId] = []
    other.listen(heard.extend)
    async with running(hints, other):
        await works(hints)
        server.kill()
        await until(lambda: in_condition(hints, "down") and not other.report.is_listening)
        for _ in range(20):
            assert await hints.recall(b"works") is None
            hints.keep(b"works", b"yes", in_seconds(600))
            hints.tell([RunId("never")])
        server.start()
        await works(hints)
        await until(lambda: other.report.is_listening and in_condition(other, "up"))
        hints.tell([RunId("heard")])
        await until(lambda: heard)
        assert heard == ["heard"]
        said = [record.getMessage() for record in caplog.records if record.name.endswith("redis.hints")]
        # Both say each change once, however much is asked meanwhile; a busy machine may add a moment of slowness.
        assert sum(" is down" in line for line in said) == 2


async def test_a_redis_that_is_frozen_holds_nobody_up(server: Redis) -> None:
    hints = hints_on(server.url)
    async with running(hints):
        await works(hints)
        server.pause()
        asked = [asyncio.create_task(hints.recall(b"works")) for _ in range(50)]
        assert await asyncio.gather(*asked) == [None] * 50
        await until(lambda: in_condition(hints, "slow") and not hints.report.is_listening)
        assert "did not answer within" in hints.report.reason
        server.resume()
        await works(hints)
        await until(lambda: hints.report.is_listening)


async def test_a_redis_that_is_flushed_has_forgotten_and_takes_anew(server: Redis) -> None:
    hints = hints_on(server.url)
    async with running(hints), redis.Redis.from_url(server.url) as client:
        await works(hints)
        await client.flushall()
        assert await hints.recall(b"works") is None
        await works(hints)


async def test_a_redis_that_is_full_is_read_and_told_and_not_written(server: Redis) -> None:
    hints, other = hints_on(server.url), hints_on(server.url)
    other._config = other._listener._config = hints._config
    heard: list[RunId] = []
    other.listen(heard.extend)
    async with running(hints, other), redis.Redis.from_url(server.url) as client:
        await works(hints)
        await client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await client.set("more", b"x")
        await until(lambda: in_condition(hints, "full") and in_condition(other, "full"))
        assert "memory is full" in hints.report.reason
        hints.keep(b"new", b"value", in_seconds(600))
        await until(lambda: has(hints, b"works", b"yes"))
        assert await hints.recall(b"new") is None
        hints.tell([RunId("ended")])
        await until(lambda: heard)
        await client.config_set("maxmemory", 0)
        await until(lambda: in_condition(hints, "up"))
        await works(hints)


async def test_a_redis_that_wants_another_password_is_down_and_the_password_is_not_said(
    server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis.Redis.from_url(server.url) as client:
        await client.config_set("requirepass", "right")
        hints = hints_on(f"redis://:wr0ng-{SECRET.replace(' ', '%20')}@127.0.0.1:{server.port}/0")
        task = asyncio.create_task(hints.run())
        await until(lambda: hints.report.errors)
        assert in_condition(hints, "down")
        assert "WRONGPASS" in hints.report.reason or "password" in hints.report.reason
        task.cancel()
        await asyncio.wait([task])
        right = hints_on(f"redis://:right@127.0.0.1:{server.port}/0")
        async with running(right):
            await works(right)
    assert SECRET not in caplog.text + hints.report.reason


def test_a_password_in_the_words_of_somebody_else_is_taken_out() -> None:
    config = RedisConfig(url="redis://user:s3cret%20of%20redis@somewhere:7000/1")
    said = config.without_secrets("cannot reach redis://user:s3cret%20of%20redis@somewhere (s3cret of redis)")
    assert "s3cret" not in said
    assert config.place == "somewhere:7000"


async def test_things_of_other_kinds_are_misses(server: Redis) -> None:
    hints = hints_on(server.url)
    config = hints._config
    async with running(hints), redis.Redis.from_url(server.url) as client:
        await client.rpush(config.key(b"list"), b"value")
        await client.set(config.key(b"large"), b"v" * 5_000_000)
        await client.set(config.key(b"empty"), b"")
        await client.set(config.key(b"right"), b"right")
        await until(lambda: has(hints, b"right", b"right"))
        assert [await hints.recall(name) for name in (b"list", b"large", b"empty")] == [None] * 3
        assert in_condition(hints, "up")


async def test_noise_on_the_channel_is_passed_over(server: Redis) -> None:
    one, other = hints_on(server.url), hints_on(server.url)
    other._config = other._listener._config = one._config
    heard: list[RunId] = []
    other.listen(heard.extend)
    async with running(one, other), redis.Redis.from_url(server.url) as client:
        for noise in (
            b"",
            b"short",
            b"\xff" * 100,
            b"12345678\xff\xfe",
            b"12345678" + b"x" * 1_000_000,
            b"12345678   ",
        ):
            await client.publish(one._config.channel, noise)
        one.tell([RunId("right")])
        await until(lambda: heard)
        assert heard == ["right"]
        assert other.report.is_listening


async def test_a_subscription_that_redis_ends_is_made_anew(server: Redis) -> None:
    one, other = hints_on(server.url), hints_on(server.url)
    other._config = other._listener._config = one._config
    heard: list[RunId] = []
    other.listen(heard.extend)
    async with running(one, other), redis.Redis.from_url(server.url) as client:
        await client.client_kill_filter(_type="pubsub")

        async def is_heard() -> bool:
            one.tell([RunId("again")])
            return bool(heard)

        await until(is_heard)
        await until(lambda: one.report.is_listening and other.report.is_listening)


async def test_everything_that_is_left_has_an_end(server: Redis) -> None:
    hints = hints_on(server.url)
    async with running(hints), redis.Redis.from_url(server.url) as client:
        await works(hints)
        keys = await client.keys("*")
        assert keys
        assert all([await client.pttl(key) > 0 for key in keys])
        assert [key for key in keys if not str(key).startswith(f"b'{hints._config.prefix}")] == []


async def test_a_bug_costs_speed_and_nothing_else(server: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = hints_on(server.url)
    async with running(hints):
        await works(hints)
        with monkeypatch.context() as patch:
            patch.setattr(hints, "_send", _broken)
            await until(lambda: in_condition(hints, "down"))
            assert await hints.recall(b"works") is None
        await works(hints)


async def _broken(*arguments: object) -> None:
    raise LookupError("a bug")
