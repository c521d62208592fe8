"""The jobs of one action that were read: what of them is claimed, and which offsets say so.

The reader's thread puts jobs here, the event loop takes them. To take a job is to claim it: from then on the offset
after it is what is to be committed.

Rule 1: what is committed is the first offset that was not claimed; records of other actions count as passed.
Rule 2: from an assignment to the first confirmed commit a partition gives nothing by itself. Its first job is claimed
        by the reader when somebody wishes for it, and given once that is confirmed.
Rule 3: a job that runs alone is always claimed that way. What follows it in its partition waits for it, so that the
        committed offset never stays behind what was given.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from time import monotonic
from typing import Final, NamedTuple

from orchestrator.model.job import Job
from orchestrator.ports.queue import Room

_UNKNOWN: Final = -1
"""In place of an offset that is committed: it is not known which one is."""


class Read(NamedTuple):
    """A job, and where its record lies."""

    job: Job
    partition: int
    offset: int


class Shelf:
    """Jobs by partition, in the order of their offsets. Safe to use from any thread; no call waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, deque[Read]] = {}
        """Read and not claimed, for each partition that is here."""
        self._next: dict[int, int] = {}
        """The offset after the last record that was read."""
        self._committed: dict[int, int] = {}
        self._unsafe: set[int] = set()
        """Partitions of which no commit was confirmed since they were assigned."""
        self._secured: deque[tuple[Job, float]] = deque()
        """Claimed, committed and not given yet, with the moment of it."""
        self._alone = 0
        """Jobs that run alone and are not given."""
        self._wishes = 0
        """Jobs that somebody would have taken, had their partitions been safe."""
        self._wishes_alone = 0
        self._turn = 0
        self.count = 0
        """Jobs that are not claimed."""
        self.size = 0
        """Bytes of their payloads."""
        self.is_changed = False
        """Whether something was claimed since `changes` were asked for."""
        self.asked_at = 0.0
        """When somebody last wanted jobs, by `time.monotonic`."""
        self.moved_at = 0.0
        """Since when the jobs that are not claimed have waited with none of them taken."""
        self.alone_at = 0.0
        """The same for those that run alone."""

    # --- in the event loop -----------------------------------------------------------------------------------------

    def take(self, room: Room) -> list[Job]:
        """Claim jobs that run with others, as far as there is room, and give them."""
        now = self.asked_at = monotonic()
        if not self.count and not self._secured:
            return []
        taken: list[Job] = []
        with self._lock:
            self._take_secured(taken, room)
            partitions = list(self._waiting)
            self._turn += 1
            first = self._turn % (len(partitions) or 1)
            for place, partition in enumerate((*partitions[first:], *partitions[:first]), first):
                queue = self._waiting[partition]
                if not queue or queue[0].job.alone:
                    continue
                if partition in self._unsafe:
                    self._wishes = max(self._wishes, room.jobs)
                    continue
                while room.jobs and queue and not queue[0].job.alone:
                    if room.takes(queue[0].job):
                        taken.append(self._claim(queue).job)
                    else:
                        # What did not fit comes first next time.
                        self._turn = place % len(partitions) - 1
            if taken:
                self.moved_at = now
        return taken

    def take_alone(self) -> Job | None:
        """Give a claimed job that runs alone; None where there is none, or none that is claimed already."""
        self.asked_at = monotonic()
        with self._lock:
            for place, (job, _) in enumerate(self._secured):
                if job.alone:
                    del self._secured[place]
                    self._alone -= 1
                    return job
            if self._heads_alone():
                self._wishes_alone = 1
        return None

    def waiting_alone(self) -> int:
        """Count the jobs that run alone and could be taken next."""
        if not self._alone:
            return 0
        with self._lock:
            return self._heads_alone() + sum(job.alone for job, _ in self._secured)

    def leftovers(self, seconds: float) -> list[Job]:
        """Give the claimed jobs that nobody has come for in so long."""
        if not self._secured:
            return []
        before = monotonic() - seconds
        with self._lock:
            left = [job for job, at in self._secured if at <= before]
            self._secured = deque(entry for entry in self._secured if entry[1] > before)
            self._alone -= sum(job.alone for job in left)
        return left

    @property
    def has_secured(self) -> bool:
        """Whether there are claimed jobs that were not given."""
        return bool(self._secured)

    # --- on the reader's thread --------------------------------------------------------------------------------------

    @property
    def has_wish(self) -> bool:
        """Whether somebody would take a job that has to be claimed by `pick`."""
        return self._wishes > 0 or self._wishes_alone > 0

    @property
    def needs_wish(self) -> bool:
        """Whether some job cannot be taken before it is wished for and claimed by `pick`."""
        return self.count > 0 and bool(self._unsafe or self._alone)

    @property
    def partitions(self) -> list[int]:
        """List the partitions that are here."""
        return list(self._waiting)

    def assign(self, starts: Mapping[int, int]) -> None:
        """Begin with partitions, each at an offset."""
        with self._lock:
            for partition, offset in starts.items():
                self._waiting[partition] = deque()
                self._committed[partition] = offset
                self._unsafe.add(partition)

    def put(self, reads: Iterable[Read], ends: Mapping[int, int]) -> tuple[int, bool]:
        """Add what was read.

        Args:
            reads: jobs, in order.
            ends: the offset after the last record that was read, by partition.

        Returns:
            How many jobs there are more, and whether one runs alone; those of partitions that are gone are not taken.
        """
        added, some_alone, now = 0, False, monotonic()
        with self._lock:
            for partition, end in ends.items():
                if partition in self._waiting:
                    self._next[partition] = end
            for read in reads:
                queue = self._waiting.get(read.partition)
                if queue is None:
                    continue
                queue.append(read)
                if not self.count:
                    self.moved_at = now
                self._count(read, 1)
                if read.job.alone:
                    if not self._alone:
                        self.alone_at = now
                    self._alone += 1
                    some_alone = True
                added += 1
        return added, some_alone

    def pick(self) -> list[Read]:
        """Claim the first job of each unsafe partition and a first that runs alone, as far as they are wished for.

        They are given once `secure` says that their offsets are committed.
        """
        picked: list[Read] = []
        with self._lock:
            for partition, queue in self._waiting.items():
                if not queue:
                    continue
                if queue[0].job.alone:
                    if self._wishes_alone:
                        self._wishes_alone -= 1
                        picked.append(self._claim(queue))
                elif partition in self._unsafe and self._wishes > 0:
                    self._wishes -= 1
                    picked.append(self._claim(queue))
            self._wishes = self._wishes_alone = 0
        return picked

    def secure(self, picked: Iterable[Read]) -> None:
        """What was picked is committed."""
        now = monotonic()
        with self._lock:
            self._secured.extend((read.job, now) for read in picked)
            self.moved_at = self.alone_at = now

    def put_back(self, picked: list[Read]) -> None:
        """What was picked is not known to be committed: it is not claimed, unless its partition is gone."""
        with self._lock:
            for read in reversed(picked):
                queue = self._waiting.get(read.partition)
                if queue is None:
                    self._alone -= read.job.alone
                else:
                    queue.appendleft(read)
                    self._count(read, 1)

    def changes(self) -> dict[int, int]:
        """Say what is to be committed."""
        with self._lock:
            self.is_changed = False
            return self._changes(self._next)

    def changes_of(self, picked: Iterable[Read]) -> dict[int, int]:
        """Say what is to be committed before these are given."""
        with self._lock:
            partitions = {read.partition for read in picked}
            return self._changes(partition for partition in partitions if partition in self._waiting)

    def expect(self, changes: Mapping[int, int]) -> None:
        """A commit is on its way that nobody waits for."""
        with self._lock:
            self._committed.update({place: offset for place, offset in changes.items() if place in self._waiting})

    def confirm(self, changes: Mapping[int, int]) -> None:
        """A commit has come through."""
        with self._lock:
            self._committed.update({place: offset for place, offset in changes.items() if place in self._waiting})
            self._unsafe.difference_update(changes)

    def doubt(self, changes: Mapping[int, int]) -> None:
        """A commit did not come through: unless a later one is on its way, it is due again."""
        with self._lock:
            for partition, offset in changes.items():
                if self._committed.get(partition) == offset:
                    self._committed[partition] = _UNKNOWN
                    self.is_changed = True

    def let_go(self, partitions: Iterable[int]) -> dict[int, int]:
        """Forget partitions and their jobs, which are the next owner's; say what is to be committed before."""
        with self._lock:
            gone = [partition for partition in partitions if partition in self._waiting]
            changes = self._changes(place for place in gone if place in self._next)
            for partition in gone:
                for read in self._waiting.pop(partition):
                    self._count(read, -1)
                    self._alone -= read.job.alone
                self._next.pop(partition, None)
                del self._committed[partition]
                self._unsafe.discard(partition)
            self._wishes = self._wishes_alone = 0
        return changes

    # --- inside --------------------------------------------------------------------------------------------------

    def _take_secured(self, taken: list[Job], room: Room) -> None:
        kept: deque[tuple[Job, float]] = deque()
        for job, at in self._secured:
            if not job.alone and room.takes(job):
                taken.append(job)
            else:
                kept.append((job, at))
        self._secured = kept

    def _claim(self, queue: deque[Read]) -> Read:
        read = queue.popleft()
        self._count(read, -1)
        self.is_changed = True
        return read

    def _count(self, read: Read, sign: int) -> None:
        self.count += sign
        self.size += sign * len(read.job.payload)

    def _heads_alone(self) -> int:
        return sum(1 for queue in self._waiting.values() if queue and queue[0].job.alone)

    def _changes(self, partitions: Iterable[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for partition in partitions:
            queue = self._waiting[partition]
            offset = queue[0].offset if queue else self._next[partition]
            if offset != self._committed.get(partition):
                found[partition] = offset
        return found
