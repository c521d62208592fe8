"""The database or the broker is not there: at the start, and while a process serves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec import UNSET

from orchestrator.api.health import components_of
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.errors import Unavailable
from stack.ports import free_port
from stack.postgres import Postgres
from tests.broker.replica import PATIENCE_SECONDS, Replica, patiently
from tests.broker.site import Site, eventually
from tests.real import Real

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server of the test's own, not started yet."""
    server = Postgres(tmp_path / "postgres", free_port(), durable=False)
    yield server
    server.stop()


def test_a_server_waits_for_its_database_to_start_and_outlives_its_absence(
    postgres: Postgres, real: Real, fresh_topics: Callable[[], str]
) -> None:
    site = Site(postgres.url, real.kafka(), fresh_topics())
    replica = Replica(site, ORCHESTRATOR_START_SECONDS=str(PATIENCE_SECONDS))
    with contextlib.closing(replica):
        replica.launch()
        patiently(lambda: "waiting up to 90 s for PostgreSQL" in replica.said(), replica.said)
        postgres.start()
        replica.until_ready()
        replica.define("flow", "one")
        postgres.stop()
        patiently(lambda: replica.readiness() == 503, replica.said)
        problem = replica.call("GET", "/health/ready", timeout=PATIENCE_SECONDS).json()
        assert (problem["code"], "database" in problem["detail"]) == ("unavailable", True)
        assert replica.call("GET", "/health/live").status == 200
        refused = replica.call("POST", "/workflow/flow/trigger", b"{}", timeout=PATIENCE_SECONDS)
        assert (refused.status, refused.headers["content-type"]) == (503, "application/problem+json")
        assert int(refused.headers["retry-after"]) >= 1
        postgres.start()
        replica.until_ready()
        assert replica.trigger()
        replica.ask_to_stop()
        replica.finish()


@pytest.mark.parametrize(("missing", "words"), [("database", "PostgreSQL was not there"), ("kafka", "does not answer")])
def test_a_server_leaves_when_a_part_does_not_come_in_time(site: Site, missing: str, words: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    gone = f"postgresql://u:p@{address}/d" if missing == "database" else address
    variables = {f"ORCHESTRATOR_{missing.upper()}": gone, "ORCHESTRATOR_START_SECONDS": "1"}
    replica = Replica(site, **variables)
    with contextlib.closing(replica):
        replica.launch()
        code, said = replica.ended(PATIENCE_SECONDS)
        assert code != 0
        assert "the server cannot start" in said
        assert words in said
        assert "waiting up to 1 s" in said
        assert "Traceback" not in said


async def test_a_broker_that_is_away_is_told_of_and_keeps_nobody_from_work(site: Site) -> None:
    async with site.process() as orchestrator:
        await eventually(lambda: _kafka_is(orchestrator, "up"))

        async def away() -> int:
            raise Unavailable("Kafka does not say what waits")

        orchestrator.life.readiness._looks["kafka"]._ask = away
        await eventually(lambda: _kafka_is(orchestrator, "down"))
        await orchestrator.life.check_ready()


async def _kafka_is(orchestrator: Orchestrator, status: str) -> bool:
    components = await components_of(orchestrator)
    assert components is not UNSET
    return components["kafka"].status == status
