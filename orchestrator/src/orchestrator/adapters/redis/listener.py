"""What the processes of an installation tell each other over one channel of Redis.

A message is the sender, eight bytes, then ids of runs with a space between them. One without ids is sent now and then,
so that each process hears at least itself: who hears nothing subscribes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

import redis.asyncio as redis
from redis.exceptions import RedisError

from orchestrator.adapters.redis.config import RedisConfig
from orchestrator.model.run import RunId
from orchestrator.ports.hints import HintsReport

_log = logging.getLogger(__name__)

IDS_MAX: Final = 1_000
"""Runs in one message."""
MESSAGE_BYTES_MAX: Final = 128 * 1024
"""A longer message is none of ours."""
SILENT_RESTS: Final = 5
"""A subscription that brings nothing for this many rests of Redis, not even what was told here, is made anew."""
_SENDER: Final = 8


def message_of(sender: bytes, run_ids: Iterable[RunId]) -> bytes:
    """Write a message."""
    return sender + " ".join(run_ids).encode()


class Listener:
    """The subscription of one process."""

    def __init__(self, config: RedisConfig, client: redis.Redis, sender: bytes, report: HintsReport) -> None:
        self._config = config
        self._client = client
        self._sender = sender
        self._report = report
        self._heard_on = 0.0
        self.hear: Callable[[list[RunId]], None] = lambda run_ids: None
        """Called with what others tell."""

    @property
    def _silent_seconds(self) -> float:
        return SILENT_RESTS * self._config.rest_seconds

    def check(self) -> None:
        """Notice that nothing is heard any more."""
        if asyncio.get_running_loop().time() - self._heard_on > self._silent_seconds:
            self._report.is_listening = False

    async def run(self) -> None:
        """Subscribe, again and again, until cancelled."""
        while True:
            try:
                await self._subscribed()
            except (RedisError, OSError) as error:
                # What is wrong with Redis is found out, and said, by the exchanges.
                _log.debug("the subscription has ended: %s", type(error).__name__)
            except Exception:  # noqa: BLE001 - callers of hints never fail
                # A bug here may cost speed, and nothing else.
                _log.exception("the subscription has ended")
            self._report.is_listening = False
            await asyncio.sleep(self._config.rest_seconds)

    async def _subscribed(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            async with asyncio.timeout(self._config.connect_seconds_max):
                await subscription.subscribe(self._config.channel)
            self._heard_on = loop.time()
            while loop.time() - self._heard_on < self._silent_seconds:
                message = await subscription.get_message(timeout=self._config.rest_seconds)
                if message is not None and message["type"] == "message":
                    self._take(message["data"])

    def _take(self, data: Any) -> None:
        if not isinstance(data, bytes) or not _SENDER <= len(data) <= MESSAGE_BYTES_MAX:
            return
        if data[:_SENDER] == self._sender:
            self._heard_on = asyncio.get_running_loop().time()
            self._report.is_listening = True
            return
        try:
            run_ids = [RunId(text) for text in data[_SENDER:].decode("ascii").split()]
        except UnicodeDecodeError:
            return
        if run_ids:
            self._report.heard += len(run_ids)
            self.hear(run_ids)
