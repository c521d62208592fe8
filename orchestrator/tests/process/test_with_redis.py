"""A server that was given a Redis: as a user starts it, and sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from stack.ports import free_port
from stack.redis import Redis
from tests.process.server import Server, until

pytestmark = pytest.mark.timeout(300)

SECRET = "s3cret"
PATIENCE_SECONDS = 60.0


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Redis]:
    """A Redis with a password."""
    with Redis(tmp_path / "redis", free_port()).running() as server:
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", SECRET)
        yield server


@pytest.fixture
def server(tmp_path: Path, locked: Redis, fresh_database: Callable[..., str]) -> Iterator[Server]:
    """An orchestrator on it."""
    url = f"redis://:{SECRET}@127.0.0.1:{locked.port}/0"
    with Server(tmp_path / "data", "--database", fresh_database(), "--redis", url) as running:
        yield running


def component(server: Server) -> Any:
    answer = server.call("GET", "/health/ready")
    assert answer.status == 200
    return answer.json()["components"]["redis"]


def is_in(server: Server, status: str) -> bool:
    return bool(component(server)["status"] == status)


def hits(locked: Redis) -> int:
    with redis.Redis.from_url(locked.url, password=SECRET) as client:
        stats: Any = client.info("stats")
        return int(stats["keyspace_hits"])


def test_a_repeated_trigger_is_answered_from_it_and_health_says_how_it_is(server: Server, locked: Redis) -> None:
    server.define("flow", "step1")
    until(lambda: is_in(server, "up"), PATIENCE_SECONDS)
    assert "reason" not in component(server) or component(server)["reason"] is None
    first = server.trigger("flow", "in", **{"Idempotency-Key": "key"})

    def is_hit() -> bool:
        before = hits(locked)
        assert server.trigger("flow", "in", **{"Idempotency-Key": "key"}) == first
        return hits(locked) > before

    until(is_hit, PATIENCE_SECONDS)
    conflict = server.call("POST", "/workflow/flow/trigger", {"input": "out"}, headers={"Idempotency-Key": "key"})
    assert (conflict.status, conflict.json()["code"]) == (409, "idempotency-conflict")
    server.stop()


def test_a_server_goes_down_while_its_redis_stands_still(server: Server, locked: Redis) -> None:
    until(lambda: is_in(server, "up"), PATIENCE_SECONDS)
    locked.pause()
    until(lambda: is_in(server, "slow"), PATIENCE_SECONDS)
    server.define("flow", "step1")
    first = server.trigger("flow", "in", **{"Idempotency-Key": "key"})
    assert server.trigger("flow", "in", **{"Idempotency-Key": "key"}) == first
    server.ask_to_stop()
    code, said = server.ended(PATIENCE_SECONDS)
    assert code == 0, said
    assert SECRET not in said
    assert "Redis at" in said
    locked.resume()


def test_the_password_is_in_nothing_that_a_server_says(server: Server, locked: Redis) -> None:
    until(lambda: is_in(server, "up"), PATIENCE_SECONDS)
    locked.kill()
    until(lambda: is_in(server, "down"), PATIENCE_SECONDS)
    assert SECRET not in server.call("GET", "/health/ready").text
    # Started again it wants no password, and refuses one.
    locked.start()
    until(lambda: not is_in(server, "up"), PATIENCE_SECONDS)
    server.ask_to_stop()
    code, said = server.ended(PATIENCE_SECONDS)
    assert code == 0, said
    assert SECRET not in said
