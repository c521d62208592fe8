"""One key begins one run, whatever becomes of Redis: several processes over a real PostgreSQL and a real Redis."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio as redis
from msgspec import UNSET

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.adapters.embedded.roster import MemoryRoster
from orchestrator.adapters.postgres.database import Database
from orchestrator.adapters.postgres.migrate import migrate
from orchestrator.adapters.postgres.queries import PostgresQueries
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.adapters.redis.config import RedisConfig
from orchestrator.adapters.redis.hints import RedisHints
from orchestrator.adapters.system import SystemChance, SystemClock
from orchestrator.api.health import components_of
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.pipeline import Pipeline
from orchestrator.app.plans import Plans
from orchestrator.model.errors import IdempotencyConflict
from orchestrator.model.limits import Limits
from orchestrator.model.run import RunId
from orchestrator.ports.hints import HintsReport
from orchestrator.ports.queries import RunFilter
from stack.ports import free_port
from stack.redis import Redis
from tests.ports.postgres_server import execute
from tests.real import Real

pytestmark = pytest.mark.timeout(300)

PATIENCE_SECONDS = 60.0
LIMITS = Limits()


class Place:
    """A database and a Redis, and the name under which the one is known to the other."""

    def __init__(self, database: str, redis_url: str, prefix: str | None = None) -> None:
        self.database = database
        self.redis_url = redis_url
        self.prefix = prefix or f"t{uuid.uuid4().hex}:"

    @asynccontextmanager
    async def process(self, *, is_used: bool = True) -> AsyncIterator[Orchestrator]:
        """Run an orchestrator while the block runs, from when it uses its Redis."""
        async with AsyncExitStack() as stack:
            database = await Database.open(self.database)
            stack.push_async_callback(database.close)
            # A machine that is busy with other tests is no reason to call Redis slow.
            config = RedisConfig(url=self.redis_url, prefix=self.prefix, seconds_max=5.0, rest_seconds=0.2)
            orchestrator = Orchestrator(
                store=PostgresStore(database),
                queries=PostgresQueries(database),
                queue=EmbeddedQueue(LIMITS.ready_jobs_max, LIMITS.ready_bytes_max),
                clock=SystemClock(),
                chance=SystemChance(),
                limits=LIMITS,
                plans=Plans(),
                roster=MemoryRoster(SystemClock()),
                hints=RedisHints(config),
            )
            await stack.enter_async_context(orchestrator.running())
            if is_used:
                await in_use(orchestrator)
            yield orchestrator


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    """A Redis of the test's own."""
    with Redis(tmp_path / "redis", free_port()).running() as started:
        yield started


@pytest.fixture
def site(real: Real, fresh_database: Callable[..., str], server: Redis) -> Place:
    """A database and a Redis of the test's own."""
    return Place(new_database(real, fresh_database), server.url)


def new_database(real: Real, fresh_database: Callable[..., str]) -> str:
    return fresh_database(template=real.postgres().template("schema", lambda url: asyncio.run(migrate(url))))


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return when a condition holds that no event tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


async def define(orchestrator: Orchestrator) -> None:
    await orchestrator.define(b'{"id":"flow","steps":[{"action":"step1"}]}')


def report_of(orchestrator: Orchestrator) -> HintsReport:
    assert orchestrator.life.hints is not None
    return orchestrator.life.hints.report


async def in_use(orchestrator: Orchestrator) -> None:
    async def ready() -> bool:
        report = report_of(orchestrator)
        shortcuts = orchestrator.life.shortcuts
        return report.condition == "up" and report.is_listening and bool(shortcuts and shortcuts._trusted())

    await eventually(ready)


async def keyed(orchestrator: Orchestrator, key: str, payload: object = "in") -> RunId:
    body = json.dumps({"input": payload}).encode()
    return (await orchestrator.trigger("flow", body, key)).run_id


async def hit(orchestrator: Orchestrator, key: str, run_id: RunId) -> None:
    """Trigger again until the answer came from Redis; it is the same one every time."""

    async def came() -> bool:
        before = report_of(orchestrator).hits
        assert await keyed(orchestrator, key) == run_id
        return report_of(orchestrator).hits > before

    await eventually(came)


async def count(orchestrator: Orchestrator) -> int:
    return len((await orchestrator.summaries(RunFilter(), 500, None))[0])


async def test_a_key_that_redis_knows_never_comes_to_the_store(
    site: Place, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.process() as one, site.process() as other:
        await define(one)
        run_id = await keyed(one, "key")
        await hit(one, "key", run_id)
        await hit(other, "key", run_id)
        with monkeypatch.context() as patch:
            patch.setattr(Pipeline, "submit", _never)
            assert await keyed(other, "key") == run_id
            with pytest.raises(IdempotencyConflict):
                await keyed(other, "key", "something else")
        assert await count(one) == 1


def _never(*arguments: object) -> None:
    raise AssertionError("the store was asked")


@pytest.mark.parametrize("what", ["kill", "freeze", "flush", "fill", "garble", "lock"])
async def test_one_key_begins_one_run_whatever_becomes_of_redis(site: Place, server: Redis, what: str) -> None:
    async with site.process() as one, site.process() as other:
        await define(one)
        run_id = await keyed(one, "before")
        await hit(other, "before", run_id)
        await _harm(server, what, site.prefix)
        keys = [f"key-{number}" for number in range(10)]
        for orchestrator in (one, other, one):
            assert await keyed(orchestrator, "before") == run_id
        runs = [await asyncio.gather(*(keyed(process, key) for process in (one, other) * 3)) for key in keys]
        assert [len(set(found)) for found in runs] == [1] * len(keys)
        assert await count(one) == 1 + len(keys)
        for orchestrator in (one, other):
            with pytest.raises(IdempotencyConflict):
                await keyed(orchestrator, "before", "something else")
        condition = {"kill": "down", "freeze": "slow", "fill": "full", "lock": "down"}.get(what, "up")
        await eventually(lambda: _is_in(one, condition))
        await one.life.check_ready()
        components = await components_of(one)
        assert components is not UNSET
        component = components["redis"]
        assert component.status == condition
        assert bool(component.reason) == (condition != "up")
        await _mend(server, what)
        await in_use(one)
        await in_use(other)
        await hit(other, "before", run_id)
        assert await count(one) == 1 + len(keys)


async def _is_in(orchestrator: Orchestrator, condition: str) -> bool:
    return report_of(orchestrator).condition == condition


async def _harm(server: Redis, what: str, prefix: str) -> None:
    if what == "kill":
        server.kill()
        return
    if what == "freeze":
        server.pause()
        return
    async with redis.Redis.from_url(server.url) as client:
        if what == "flush":
            await client.flushall()
        elif what == "fill":
            await client.config_set("maxmemory", 1)
        elif what == "garble":
            for key in await client.keys(f"{prefix}hint:*"):
                await client.set(key, b"\x00" * 100)
        elif what == "lock":
            # Whoever is connected is so no longer, and comes in again with the right password only.
            await client.config_set("requirepass", "another")
            await client.client_kill_filter(_type="normal", skipme=True)


async def _mend(server: Redis, what: str) -> None:
    if what == "kill":
        server.start()
    elif what == "freeze":
        server.resume()
    elif what == "fill":
        async with redis.Redis.from_url(server.url) as client:
            await client.config_set("maxmemory", 0)
    elif what == "lock":
        async with redis.Redis.from_url(server.url, password="another") as client:
            await client.config_set("requirepass", "")


async def test_after_the_database_was_put_back_no_lost_run_is_named(site: Place, server: Redis) -> None:
    async with site.process() as one, site.process() as other:
        await define(one)
        lost = await keyed(one, "key")
        await hit(other, "key", lost)
        # In the order in which timers read them meanwhile: the other one may end in a deadlock.
        await execute("TRUNCATE jobs, runs, history, idempotency", url=site.database)

        async def is_another() -> bool:
            return await keyed(one, "key") != lost

        await eventually(is_another)
        run_id = await keyed(one, "key")
        assert (await one.run(run_id)).status == "RUNNING"

        async def is_known() -> bool:
            return await keyed(other, "key") == run_id

        await eventually(is_known)
        await hit(other, "key", run_id)
        assert await count(one) == 1


async def test_two_installations_on_one_redis_do_not_know_each_others_keys(
    site: Place, real: Real, fresh_database: Callable[..., str]
) -> None:
    """Not even with one prefix."""
    another = Place(new_database(real, fresh_database), site.redis_url, site.prefix)
    async with site.process() as here, another.process() as there:
        for orchestrator in (here, there):
            await define(orchestrator)
        run_id = await keyed(here, "key")
        await hit(here, "key", run_id)
        other = await keyed(there, "key")
        assert other != run_id
        await hit(there, "key", other)
        await hit(here, "key", run_id)


async def test_a_process_starts_and_serves_without_the_redis_that_it_was_given(site: Place) -> None:
    nowhere = Place(site.database, f"redis://127.0.0.1:{free_port()}/0")
    async with nowhere.process(is_used=False) as orchestrator:
        await orchestrator.life.check_ready()
        await define(orchestrator)
        run_id = await keyed(orchestrator, "key")
        assert await keyed(orchestrator, "key") == run_id
        await eventually(lambda: _is_in(orchestrator, "down"))
