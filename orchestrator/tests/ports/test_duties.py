"""The contract of `ports.duties.Duties`: one process has a duty, and another soon after that one is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from orchestrator.adapters.postgres import duties as adapter
from orchestrator.adapters.postgres.duties import open_duties
from orchestrator.app.duties import EveryDuty, NoDuty
from orchestrator.model.role import Duty
from orchestrator.ports.duties import Duties
from tests.ports.places import PostgresDatabase

PATIENCE_SECONDS = 45.0
HOLDER = """
import asyncio, sys
from orchestrator.adapters.postgres.duties import open_duties
from orchestrator.model.role import Duty

async def hold():
    async with open_duties(sys.argv[1]) as duties:
        said = None
        while True:
            has = all(duties.has(duty) for duty in Duty)
            if has != said:
                print("has" if has else "has not", flush=True)
            said = has
            await asyncio.sleep(0.02)

asyncio.run(hold())
"""


@contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has all duties."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLDER, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def says(process: subprocess.Popen[str], what: str) -> None:
    """Wait until a holder says something."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await asyncio.to_thread(process.stdout.readline)).strip() != what:
            assert process.poll() is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def has_all(duties: Duties) -> bool:
    return all(duties.has(duty) for duty in Duty)


def has_none(duties: Duties) -> bool:
    return not any(duties.has(duty) for duty in Duty)


async def test_the_only_process_has_all_duties_and_keeps_what_it_gives_up() -> None:
    only = EveryDuty()
    only.give_up(Duty.TIMERS)
    assert has_all(only)
    assert has_none(NoDuty())


async def test_one_process_has_a_duty_and_another_gets_it_when_that_one_goes(postgres: PostgresDatabase) -> None:
    async with open_duties(postgres.url) as second:
        async with open_duties(postgres.url) as first:
            await until(lambda: has_all(first) or has_all(second))
            # Each duty is somebody's, and no duty is both's.
            assert [first.has(duty) for duty in Duty] == [not second.has(duty) for duty in Duty]
        await until(lambda: has_all(second))


async def test_a_duty_that_is_given_up_goes_to_another_process(postgres: PostgresDatabase) -> None:
    async with open_duties(postgres.url) as first:
        await until(lambda: has_all(first))
        async with open_duties(postgres.url) as second:
            first.give_up(Duty.LEASES)
            assert not first.has(Duty.LEASES)
            await until(lambda: second.has(Duty.LEASES))
            assert [duty for duty in Duty if first.has(duty)] == [duty for duty in Duty if duty is not Duty.LEASES]


async def test_a_process_alone_takes_up_again_what_it_gave_up(postgres: PostgresDatabase) -> None:
    async with open_duties(postgres.url) as only:
        await until(lambda: has_all(only))
        only.give_up(Duty.TIMERS)
        assert not only.has(Duty.TIMERS)
        await until(lambda: has_all(only))


async def test_the_duties_of_a_killed_process_go_to_another(postgres: PostgresDatabase) -> None:
    with holder(postgres.url) as process:
        await says(process, "has")
        async with open_duties(postgres.url) as other:
            process.kill()
            await until(lambda: has_all(other))


async def test_the_duties_of_a_frozen_process_go_to_another_and_it_knows_when_it_wakes(
    postgres: PostgresDatabase,
) -> None:
    """Its connection is open all the time: the server ends the session because nothing is said on it."""
    with holder(postgres.url) as process:
        await says(process, "has")
        async with open_duties(postgres.url) as other:
            os.kill(process.pid, signal.SIGSTOP)
            await until(lambda: has_all(other))
            os.kill(process.pid, signal.SIGCONT)
            await says(process, "has not")
            assert has_all(other)


async def test_a_lost_connection_is_made_again_and_the_duties_taken_again(postgres: PostgresDatabase) -> None:
    async with open_duties(postgres.url) as only:
        await until(lambda: has_all(only))
        connection = await asyncpg.connect(postgres.url)
        ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database()"
        assert await connection.fetchval(f"{ended} AND application_name = 'orchestrator duties'") == 1
        await connection.close()
        await until(lambda: has_none(only))
        await until(lambda: has_all(only))


async def test_who_has_had_no_answer_for_long_has_no_duty(postgres: PostgresDatabase) -> None:
    async with open_duties(postgres.url) as only:
        await until(lambda: has_all(only))
        only._spoke_on -= adapter.SILENCE_SECONDS
        assert has_none(only)
        await until(lambda: has_all(only))
