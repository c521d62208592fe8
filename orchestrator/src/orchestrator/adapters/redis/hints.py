"""The `Hints` port on Redis: one exchange at a time, in which everything goes that has gathered meanwhile.

Callers never touch the connection. After a failure Redis is left alone for a moment, and nobody asks it meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from orchestrator.adapters.redis.config import RedisConfig
from orchestrator.adapters.redis.listener import IDS_MAX, Listener, message_of
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from orchestrator.ports.hints import VALUE_BYTES_MAX, Condition, HintsReport

_log = logging.getLogger(__name__)

EXCHANGE_MAX: Final = 500
"""Values read, and values written, in one exchange."""
GATHER_SECONDS: Final = 0.02
"""How far apart exchanges are that nobody waits for: each costs as much as it does for a hundred values."""
WAITING_MAX: Final = 20_000
"""Values, and ends of runs, that wait to be handed over; further ones are dropped."""
SLOW_MAX: Final = 2
"""Exchanges in a row that may take too long before Redis is left alone: one may be the fault of a busy process."""
REASON_CHARS_MAX: Final = 200
PROBE_MILLIS: Final = 60_000
"""How long a probe is kept."""
_FAILURES: Final = (RedisError, OSError)
"""All that the client raises; a timeout is an `OSError`."""


_Command = tuple[str | bytes | int, ...]


class _Recall(NamedTuple):
    name: bytes
    value: asyncio.Future[bytes | None]


class RedisHints:
    """See `ports.hints.Hints`."""

    def __init__(self, config: RedisConfig) -> None:
        self._config = config
        self._report = HintsReport()
        self._client = config.client()
        self._sender = secrets.token_bytes(8)
        """Tells this process's messages from those of others."""
        self._listener = Listener(config, self._client, self._sender, self._report)
        self._is_asked = False
        """Whether Redis is asked at all: not before it has answered once, nor while it is left alone."""
        self._slow = 0
        self._arrived = asyncio.Event()
        self._asked = asyncio.Event()
        """Set when somebody waits for a value."""
        self._exchanged_on = 0.0
        self._recalls: list[_Recall] = []
        self._keeps: dict[bytes, tuple[bytes, Time]] = {}
        self._tells: list[RunId] = []

    @property
    def report(self) -> HintsReport:
        """See `ports.hints.Hints.report`."""
        return self._report

    async def recall(self, name: bytes) -> bytes | None:
        """See `ports.hints.Hints.recall`."""
        value = None
        if self._is_asked and len(self._recalls) < WAITING_MAX:
            answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            self._recalls.append(_Recall(name, answer))
            self._asked.set()
            self._arrived.set()
            value = await answer
        if value is None:
            self._report.misses += 1
        else:
            self._report.hits += 1
        return value

    def keep(self, name: bytes, value: bytes, until: Time) -> None:
        """See `ports.hints.Hints.keep`."""
        if self._report.condition == "up" and len(self._keeps) < WAITING_MAX:
            self._keeps[name] = (value, until)
            self._arrived.set()
        else:
            self._report.dropped += 1

    def tell(self, run_ids: Iterable[RunId]) -> None:
        """See `ports.hints.Hints.tell`."""
        told = list(run_ids)
        if self._is_asked and len(self._tells) < WAITING_MAX:
            self._tells += told
            self._arrived.set()
        else:
            self._report.dropped += len(told)

    def listen(self, hear: Callable[[list[RunId]], None]) -> None:
        """See `ports.hints.Hints.listen`."""
        self._listener.hear = hear

    async def run(self) -> None:
        """See `ports.hints.Hints.run`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listener.run())
                tasks.create_task(self._converse())
        finally:
            self._is_asked = False
            self._report.is_listening = False
            self._report.condition, self._report.reason = "down", "the process is going down"
            self._drop()
            await self._client.aclose()

    async def _converse(self) -> None:
        """Exchange what has gathered; now and then ask Redis how it is."""
        loop = asyncio.get_running_loop()
        probe_on = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(probe_on):
                    await self._arrived.wait()
            except TimeoutError:
                probe_on = loop.time() + self._config.rest_seconds
                await self._guarded(self._probe)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._exchanged_on + GATHER_SECONDS):
                    await self._asked.wait()
            self._arrived.clear()
            self._asked.clear()
            self._exchanged_on = loop.time()
            await self._guarded(self._exchange)
            if not self._is_asked:
                probe_on = loop.time() + self._config.rest_seconds

    async def _guarded(self, step: Callable[[], Any]) -> None:
        try:
            await step()
        except _FAILURES as error:
            await self._failed(error)
        except Exception as error:  # noqa: BLE001 - callers of hints never fail
            # A bug here may cost speed, and nothing else.
            _log.exception("Redis is left alone for a moment")
            await self._failed(error)

    async def _probe(self) -> None:
        """See whether Redis answers in time, takes what is written, and brings what is told."""
        if not self._is_asked:
            # To connect may take longer than an exchange: nobody waits for it.
            async with asyncio.timeout(self._config.connect_seconds_max):
                await self._client.ping()
        written, _ = await self._send(
            [
                ("SET", self._config.probe, b"", "PX", PROBE_MILLIS),
                ("PUBLISH", self._config.channel, message_of(self._sender, ())),
            ]
        )
        self._listener.check()
        self._note_written([written])

    async def _exchange(self) -> None:
        recalls, self._recalls = self._recalls[:EXCHANGE_MAX], self._recalls[EXCHANGE_MAX:]
        try:
            keeps = [(name, *self._keeps.pop(name)) for name in list(islice(self._keeps, EXCHANGE_MAX))]
            tells, self._tells = self._tells[:IDS_MAX], self._tells[IDS_MAX:]
            if self._recalls or self._keeps or self._tells:
                self._arrived.set()
            if self._recalls:
                self._asked.set()
            commands: list[_Command] = [
                # Never more than this much, whatever lies there.
                *(("GETRANGE", self._config.key(recall.name), 0, VALUE_BYTES_MAX) for recall in recalls),
                *(("SET", self._config.key(name), value, "PXAT", until // 1_000) for name, value, until in keeps),
            ]
            if tells:
                commands.append(("PUBLISH", self._config.channel, message_of(self._sender, tells)))
            if not commands:
                return
            answers = await self._send(commands)
            for recall, answer in zip(recalls, answers, strict=False):
                if isinstance(answer, bytes) and 0 < len(answer) <= VALUE_BYTES_MAX and not recall.value.done():
                    recall.value.set_result(answer)
            self._report.told += len(tells)
            if keeps:
                written = answers[len(recalls) : len(recalls) + len(keeps)]
                self._report.kept += sum(not isinstance(answer, Exception) for answer in written)
                self._note_written(written)
        finally:
            _give_up(recalls)

    async def _send(self, commands: list[_Command]) -> list[Any]:
        """Send commands in one exchange, and give their answers; an error where Redis refuses a command."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            _ = pipeline.execute_command(*command)
        async with asyncio.timeout(self._config.seconds_max):
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        self._slow = 0
        return answers

    def _note_written(self, answers: list[Any]) -> None:
        """Learn from the answers to writes whether Redis takes any."""
        refusals = [answer for answer in answers if isinstance(answer, ResponseError)]
        if not refusals:
            self._become("up", "")
        elif isinstance(refusals[0], OutOfMemoryError):
            self._report.errors += 1
            self._become("full", "it takes nothing new: its memory is full (maxmemory)")
        else:
            raise refusals[0]

    async def _failed(self, error: Exception) -> None:
        """Drop the connection, whose answers can be told from nobody's any more, and leave Redis alone for a moment."""
        self._report.errors += 1
        is_slow = isinstance(error, TimeoutError | RedisTimeoutError)
        self._slow += is_slow
        if not is_slow or not self._is_asked or self._slow >= SLOW_MAX:
            reason = f"it did not answer within {self._config.seconds_max * 1_000:g} ms" if is_slow else str(error)
            self._become("slow" if is_slow else "down", reason or type(error).__name__)
        with contextlib.suppress(Exception):
            await self._client.connection_pool.disconnect(inuse_connections=False)

    def _become(self, condition: Condition, reason: str) -> None:
        report = self._report
        self._is_asked = condition in ("up", "full")
        if not self._is_asked:
            report.is_listening = False
            self._drop()
        report.reason = self._config.without_secrets(reason)[:REASON_CHARS_MAX]
        if condition != report.condition or report.errors == 1:
            if condition == "up":
                _log.info("Redis at %s is up", self._config.place)
            else:
                _log.warning(
                    "Redis at %s is %s: %s; PostgreSQL does its work meanwhile",
                    self._config.place,
                    condition,
                    report.reason,
                )
        report.condition = condition

    def _drop(self) -> None:
        """Let go of all that waits: who recalls has a miss, and nobody asks after the rest."""
        recalls, self._recalls = self._recalls, []
        _give_up(recalls)
        self._report.dropped += len(self._keeps) + len(self._tells)
        self._keeps.clear()
        self._tells.clear()


def _give_up(recalls: list[_Recall]) -> None:
    for recall in recalls:
        if not recall.value.done():
            recall.value.set_result(None)
