"""Repeated triggers answered from a hint, without the store: the key, what it asked for, and the run it began.

Why an answer from here is the one that the store would give: docs/adr/0012-redis-holds-hints.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Final

from orchestrator.app.command import Triggered
from orchestrator.model.errors import IdempotencyConflict, Unavailable
from orchestrator.model.run import RunId
from orchestrator.model.times import MICROS, Duration, Time
from orchestrator.ports.clock import Clock
from orchestrator.ports.hints import VALUE_BYTES_MAX, Hints
from orchestrator.ports.store import Store

LOOK_SECONDS: Final = 1.0
"""How often it is looked whether the store is still the one that the hints are about."""
TRUSTED: Final = Duration(2 * MICROS)
"""How long such a look holds, counted from before it. Without one no hint is believed."""
SKEW: Final = Duration(60 * MICROS)
"""A hint ends this much before its key does, so that clocks of machines may differ by as much."""
_TAG: Final = 32
_FINGERPRINT: Final = 32
_TIME: Final = 8
_HEAD: Final = _TAG + _FINGERPRINT + _TIME


class Shortcuts:
    """Hints about idempotency keys. A miss is never wrong: the store decides."""

    def __init__(self, hints: Hints, store: Store, clock: Clock) -> None:
        self._hints = hints
        self._store = store
        self._clock = clock
        self._secret = b""
        self._trusted_until = 0

    async def run(self) -> None:
        """Look at the store again and again until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Find out which store this is; hints about any other one are not understood from now on."""
        began = self._clock.monotonic()
        try:
            self._secret = await self._store.incarnation()
            self._trusted_until = began + TRUSTED
        except Unavailable:
            self._trusted_until = 0

    async def find(self, key: str, fingerprint: bytes) -> RunId | None:
        """Give the run that a trigger with this key began; None where only the store knows.

        Raises:
            IdempotencyConflict: the key came with something else.
        """
        secret = self._trusted()
        if not secret:
            return None
        name = _name(secret, key)
        value = await self._hints.recall(name)
        # The store may have become another one meanwhile.
        if value is None or self._trusted() != secret:
            return None
        found = _read(secret, name, value)
        if found is None:
            self._hints.report.forged += 1
            return None
        begun_for, run_id, ends_at = found
        if ends_at <= self._clock.now():
            return None
        if begun_for != fingerprint:
            raise IdempotencyConflict.now()
        return run_id

    def keep(self, key: str, fingerprint: bytes, triggered: Triggered) -> None:
        """Leave a hint of what the store has said."""
        secret = self._trusted()
        if not secret or triggered.expires_at is None:
            return
        ends_at = Time(triggered.expires_at - SKEW)
        if ends_at <= self._clock.now():
            return
        name = _name(secret, key)
        body = fingerprint + ends_at.to_bytes(_TIME, "big") + triggered.run_id.encode()
        if len(fingerprint) == _FINGERPRINT and _TAG + len(body) <= VALUE_BYTES_MAX:
            self._hints.keep(name, _tag(secret, name, body) + body, ends_at)

    def _trusted(self) -> bytes:
        """Give the secret of this store and its processes; empty where it is not certain which store it is."""
        return self._secret if self._clock.monotonic() < self._trusted_until else b""


def _name(secret: bytes, key: str) -> bytes:
    """Name a key in a way that only processes of this store can; nobody reads the key from it."""
    return hashlib.blake2b(key.encode(), key=secret, digest_size=_TAG, person=b"key").digest()


def _tag(secret: bytes, name: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(name + body, key=secret, digest_size=_TAG, person=b"value").digest()


def _read(secret: bytes, name: bytes, value: bytes) -> tuple[bytes, RunId, Time] | None:
    """Read a value; None unless a process of this store wrote it under this name."""
    tag, body = value[:_TAG], value[_TAG:]
    if len(value) <= _HEAD or not hmac.compare_digest(tag, _tag(secret, name, body)):
        return None
    ends_at = Time(int.from_bytes(body[_FINGERPRINT : _FINGERPRINT + _TIME], "big"))
    return body[:_FINGERPRINT], RunId(body[_FINGERPRINT + _TIME :].decode()), ends_at
