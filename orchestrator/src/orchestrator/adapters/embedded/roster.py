"""The `Roster` port where one process is all there is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.model.job import JobRow
from orchestrator.model.times import Duration
from orchestrator.model.worker import Transport
from orchestrator.ports.clock import Clock
from orchestrator.ports.roster import Presence


class _Entry(msgspec.Struct):
    """Times named ``…_on`` are of the monotonic clock, in microseconds."""

    presence: Presence
    registered_on: int
    seen_on: int
    until_on: int
    by: object
    """The process that told it last."""
    is_asked: bool = False
    """Whether it shall drain, and does not yet."""

    def is_there(self, now_on: int) -> bool:
        return not self.presence.has_left and self.until_on > now_on


class MemoryRoster:
    """See `ports.roster.Roster`. What shares ``entries`` is one installation."""

    def __init__(self, clock: Clock, entries: dict[str, _Entry] | None = None) -> None:
        self._clock = clock
        self.entries: dict[str, _Entry] = {} if entries is None else entries

    async def tell(self, workers: Sequence[Presence]) -> list[str]:
        """See `ports.roster.Roster.tell`."""
        now_on = self._clock.monotonic()
        asked: list[str] = []
        for worker in workers:
            entry = _Entry(
                presence=worker,
                registered_on=now_on - worker.registered_ago,
                seen_on=now_on - worker.seen_ago,
                until_on=now_on + worker.good_for,
                by=self,
            )
            known = self.entries.get(worker.worker_id)
            if known is not None:
                if known.by is not self and entry.seen_on < known.seen_on:
                    continue
                if worker.about.transport is Transport.KAFKA and known.is_there(now_on):
                    entry.registered_on = min(entry.registered_on, known.registered_on)
                entry.is_asked = known.is_asked and not (worker.is_draining or worker.has_left)
            self.entries[worker.worker_id] = entry
            if entry.is_asked:
                asked.append(worker.worker_id)
        return asked

    async def known(self, within: Duration, limit: int) -> list[Presence]:
        """See `ports.roster.Roster.known`."""
        after_on = self._clock.monotonic() - within
        found = [worker_id for worker_id, entry in self.entries.items() if entry.seen_on > after_on]
        return [self._presence(self.entries[worker_id]) for worker_id in sorted(found)[:limit]]

    async def find(self, worker_id: str, within: Duration) -> Presence | None:
        """See `ports.roster.Roster.find`."""
        entry = self.entries.get(worker_id)
        if entry is None or entry.seen_on <= self._clock.monotonic() - within:
            return None
        return self._presence(entry)

    async def in_hand(self, limit: int, worker_id: str | None = None) -> list[JobRow]:
        """See `ports.roster.Roster.in_hand`: this process has handed out whatever is in hand."""
        return []

    async def drain(self, worker_id: str) -> bool:
        """See `ports.roster.Roster.drain`."""
        entry = self.entries.get(worker_id)
        if entry is None or not entry.is_there(self._clock.monotonic()):
            return False
        if entry.presence.about.transport is not Transport.HTTP:
            return False
        entry.is_asked = not entry.presence.is_draining
        return True

    async def forget(self, within: Duration, limit: int) -> int:
        """See `ports.roster.Roster.forget`."""
        before_on = self._clock.monotonic() - within
        over = [worker_id for worker_id, entry in self.entries.items() if entry.seen_on <= before_on][:limit]
        for worker_id in over:
            del self.entries[worker_id]
        return len(over)

    def _presence(self, entry: _Entry) -> Presence:
        now_on = self._clock.monotonic()
        return msgspec.structs.replace(
            entry.presence,
            registered_ago=Duration(now_on - entry.registered_on),
            seen_ago=Duration(now_on - entry.seen_on),
            good_for=Duration(entry.until_on - now_on),
            is_draining=entry.presence.is_draining or entry.is_asked,
            is_ours=entry.by is self,
        )
