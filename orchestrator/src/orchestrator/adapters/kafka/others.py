"""Consumer groups that are nobody's we know: which of them read jobs, and how far they have read.

A company's cluster has thousands, and hardly any of them has to do with jobs. What one has committed only a client of
its own can ask, which costs; who has members now, and what these read, is one question for all.

Rule 1: a group whose members read jobs, or that has committed on a topic of jobs, is asked in each look; without
        members it may still commit, by the hands of a program that joins nothing, and is asked every now and then.
Rule 2: every other one is asked once: it may have read jobs and gone. Then again when members have come or gone, and
        seldom and more seldom without a reason.
Rule 3: a look asks no more when its time is over, which each kind has for itself. Those that changed last come first,
        who does not answer is let alone for a while, and what was found before is remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.groups import AT_ONCE, Groups, Offsets

LOOK_SECONDS: Final = 0.2
"""For how long one look turns to further groups, of each kind; the rest are asked in the next."""
STRANGE_MAX: Final = 25
"""Groups of the second kind that one look asks at most: two thousand are done within a minute and a half."""
ANSWER_SECONDS: Final = 2.0
"""How long a group may take to answer."""
SILENT_SECONDS: Final = 10.0
"""How long one that did not is let alone."""
GONE_SECONDS: Final = 5.0
"""How often a group is asked that has read jobs and has no members."""
AGAIN_SECONDS: Final = 10.0
"""When a group that has nothing to do with jobs is asked a second time; twice as late the third time, and so on."""
AGAIN_SECONDS_MAX: Final = 3_600.0
"""The longest that it is let alone, unless members come or go."""
_ALL: Final = 2**62


@dataclass(eq=False)
class _Other:
    """What is known of one."""

    name: str
    has_members: bool
    changed_on: float
    """When members came or went, or it was first seen."""
    due_on: float = 0.0
    pause: float = 0.0
    """How long it was let alone the last time; 0 while it has not been asked since it changed."""
    assigned: Offsets = field(default_factory=dict)
    """What its members read now, as if all of it was read."""
    committed: Offsets = field(default_factory=dict)

    @property
    def reads_jobs(self) -> bool:
        return bool(self.assigned or self.committed)

    def changed(self, now: float) -> None:
        """Members have come or gone, or read something else."""
        self.changed_on, self.due_on, self.pause = now, 0.0, 0.0

    def answered(self, now: float) -> None:
        """Say when it is asked again."""
        if self.assigned or (self.committed and self.has_members):
            self.pause = 0.0
        elif self.committed:
            self.pause = GONE_SECONDS
        else:
            self.pause = min(max(2 * self.pause, AGAIN_SECONDS), AGAIN_SECONDS_MAX)
        self.due_on = now + self.pause

    @property
    def turn(self) -> tuple[bool, float, bool, float]:
        """Those come first that were not asked since they changed, the last one of them first of all."""
        return self.pause > 0, -self.changed_on, not self.has_members, self.due_on


class Others:
    """Remembers what it has found. Its calls block, and belong on a thread."""

    def __init__(self, config: KafkaConfig, groups: Groups) -> None:
        self._groups = groups
        self._topics = frozenset({config.topics.jobs, *config.routes.values()})
        self._ours = (config.worker_groups, config.group)
        self._known: dict[str, _Other] = {}
        self._lock = threading.Lock()
        self.asked = 0
        """How many answers were asked for."""

    def furthest(self) -> Offsets:
        """Give the furthest that any of them has read, as far as is known by now.

        A group that reads jobs and commits nothing is taken to have read all that is there.

        Raises:
            KafkaException: the cluster does not name its groups.
        """
        with self._lock:
            self._find(self._groups.all())
            self._find_members()
            now = monotonic()
            due = sorted((one for one in self._known.values() if one.due_on <= now), key=lambda one: one.turn)
            strange = [one for one in due if not one.reads_jobs][:STRANGE_MAX]
            self._ask([one for one in due if one.reads_jobs])
            self._ask(strange)
            found: Offsets = {}
            for topic, partition, offset in chain.from_iterable(map(_places, self._known.values())):
                known = found.setdefault(topic, {})
                known[partition] = max(offset, known.get(partition, 0))
            return found

    def _find(self, listed: Mapping[str, bool]) -> None:
        now = monotonic()
        for name in self._known.keys() - listed.keys():
            del self._known[name]
        for name, has_members in listed.items():
            if name.startswith(self._ours):
                continue
            known = self._known.get(name)
            if known is None:
                self._known[name] = _Other(name, has_members, now)
            elif known.has_members != has_members:
                known.has_members = has_members
                known.changed(now)

    def _find_members(self) -> None:
        if not any(one.has_members for one in self._known.values()):
            return
        try:
            members = self._groups.members()
        except KafkaException:
            # One part of the cluster that does not answer: what was known of its groups holds.
            return
        reading: dict[str, Offsets] = {}
        for member in members:
            for topic in self._topics & member.assigned.keys():
                places = reading.setdefault(member.group, {}).setdefault(topic, {})
                places.update(dict.fromkeys(member.assigned[topic], _ALL))
        for name, one in self._known.items():
            assigned = reading.get(name, {}) if one.has_members else {}
            if assigned.keys() != one.assigned.keys():
                one.changed(monotonic())
            one.assigned = assigned

    def _ask(self, others: list[_Other]) -> None:
        if not others:
            return
        until = monotonic() + LOOK_SECONDS
        with ThreadPoolExecutor(min(AT_ONCE, len(others))) as pool:
            self.asked += sum(pool.map(lambda one: monotonic() < until and self._ask_one(one), others))

    def _ask_one(self, one: _Other) -> bool:
        try:
            one.committed = self._groups.committed(one.name, self._topics, ANSWER_SECONDS, keep=one.reads_jobs)
        except KafkaException:
            one.due_on = monotonic() + SILENT_SECONDS
        else:
            one.answered(monotonic())
        return True


def _places(one: _Other) -> Iterator[tuple[str, int, int]]:
    for topic, places in (one.committed or one.assigned).items():
        for partition, offset in places.items():
            yield topic, partition, offset
