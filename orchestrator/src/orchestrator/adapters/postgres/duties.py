"""The `Duties` port on PostgreSQL: an advisory lock for each duty, held by a session that has to speak up.

The lock goes with its session, and the session goes when the process dies (its connection is closed) or says nothing
(`idle_session_timeout`): one that is frozen, or behind a network that is gone, keeps its connection and not its locks.
The server alone tells the time, so no clock of a process matters. A process that wakes up after its locks are gone does
one round at most before it knows, and the rows it works on tell it that there is nothing left to do.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from orchestrator.adapters.postgres.connect import CONNECT_SECONDS
from orchestrator.adapters.postgres.faults import FAILURES
from orchestrator.model.role import Duty

LOOK_SECONDS: Final = 1.0
"""How often a process speaks up, and asks for duties that nobody has."""
SILENCE_SECONDS: Final = 5.0
"""How long a session may say nothing before the server ends it: how long a frozen process keeps its duties."""
PAUSE_SECONDS: Final = 3.0
"""How long a process leaves a duty to others that it gave up."""
LOCK_SPACE: Final = 0x6F726368
"""Our part of the database's advisory locks: "orch" in ASCII."""

_NUMBERS: Final = {duty: number for number, duty in enumerate(Duty, 1)}
_TAKE: Final = "SELECT duty FROM unnest($2::int[]) AS duty WHERE pg_try_advisory_lock($1, duty)"
_GIVE: Final = "SELECT pg_advisory_unlock($1, $2)"
_SESSION: Final = {
    "application_name": "orchestrator duties",
    "idle_session_timeout": f"{SILENCE_SECONDS * 1000:.0f}",
    "statement_timeout": f"{SILENCE_SECONDS * 1000:.0f}",
}

_log = logging.getLogger(__name__)


class PostgresDuties:
    """See `ports.duties.Duties`. Made by `open_duties`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.get_running_loop()
        self._held: set[Duty] = set()
        self._spoke_on = 0.0
        """When the last question was asked that the server has answered."""
        self._given: set[Duty] = set()
        """To be given back with the next look."""
        self._paused: dict[Duty, float] = {}
        """Until when duties are left to others."""

    def has(self, duty: Duty) -> bool:
        """See `ports.duties.Duties.has`."""
        return duty in self._held and self._loop.time() - self._spoke_on < SILENCE_SECONDS

    def give_up(self, duty: Duty) -> None:
        """See `ports.duties.Duties.give_up`."""
        if duty in self._held:
            self._held.discard(duty)
            self._given.add(duty)
        self._paused[duty] = self._loop.time() + PAUSE_SECONDS

    async def run(self) -> None:
        """Stand in line until cancelled; a lost connection is made again."""
        failing = False
        while True:
            try:
                connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, server_settings=_SESSION)
            except (*FAILURES, ValueError) as error:
                if not failing:
                    _log.warning("duties are left to others until the database is there: %s", error)
                failing = True
                await asyncio.sleep(LOOK_SECONDS)
                continue
            try:
                while True:
                    await self._look(connection)
                    failing = False
                    await asyncio.sleep(LOOK_SECONDS)
            except FAILURES as error:
                _log.warning("the duties of this process are lost with its connection: %s", error)
                failing = True
            finally:
                # The server frees the locks as soon as the connection is closed.
                self._held.clear()
                self._given.clear()
                connection.terminate()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, connection: asyncpg.Connection) -> None:
        async with asyncio.timeout(SILENCE_SECONDS):
            while self._given:
                await connection.fetch(_GIVE, LOCK_SPACE, _NUMBERS[self._given.pop()])
            now = self._loop.time()
            wanted = [
                number
                for duty, number in _NUMBERS.items()
                if duty not in self._held and self._paused.get(duty, 0.0) <= now
            ]
            # Asked also when nothing is wanted: it is how a session says that its process lives.
            taken = {row[0] for row in await connection.fetch(_TAKE, LOCK_SPACE, wanted)}
        self._spoke_on = now
        news = {duty for duty, number in _NUMBERS.items() if number in taken}
        if news:
            _log.info("this process has the duties: %s", ", ".join(sorted(self._held | news)))
        self._held |= news


@asynccontextmanager
async def open_duties(url: str) -> AsyncIterator[PostgresDuties]:
    """Stand in line for duties while the block runs."""
    duties = PostgresDuties(url)
    standing = asyncio.create_task(duties.run(), name="duties")
    try:
        yield duties
    finally:
        standing.cancel()
        with suppress(asyncio.CancelledError):
            await standing
