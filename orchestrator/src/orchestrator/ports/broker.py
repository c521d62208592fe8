"""Jobs out to workers that read a broker, and what those workers send back.

The broker is transport and never the truth: a job that it loses is sent again from its row, a record that it brings
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.job import Job
from orchestrator.model.run import RunId
from orchestrator.model.times import Duration, Time

LETTER_SECONDS: Final = 12.0
"""See `Broker.dead_letter`."""


class Sent(msgspec.Struct, frozen=True):
    """A job that the broker has acknowledged."""

    run_id: RunId
    step: int
    attempt: int
    partition: int
    offset: int
    topic: str = ""
    """Empty for the topic that all actions share, else the one that its action has to itself."""


class Refused(msgspec.Struct, frozen=True):
    """A job that the broker will not take, however often it is handed over."""

    run_id: RunId
    step: int
    attempt: int
    reason: str


class Taken(msgspec.Struct, frozen=True):
    """How far the readers of an action have read one partition."""

    action: str
    topic: str
    """As in `Sent`."""
    partition: int
    before: int
    """The offset before which every job has a worker, or had one."""
    beats: bool
    """Whether these readers give signs of life while they work; others are known by what they answer only."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A record as it came."""

    value: bytes
    """Empty for a record without one."""
    produced_at: Time
    """When its producer made it, by that machine's clock."""
    partition: int
    offset: int
    key: bytes | None = None


class Stop(msgspec.Struct, frozen=True):
    """An attempt that its worker shall stop."""

    run_id: RunId
    step: int
    attempt: int


class Lags(msgspec.Struct, frozen=True):
    """Records that readers have before them, in all partitions."""

    results: int
    """Results that no process of the orchestrator has done."""
    heartbeats: int
    """The same of signs of life."""
    jobs: Mapping[str, int]
    """By action: records that the group of its workers has not passed, in the partitions that it ever read. In a topic
    that actions share, jobs of other actions are among them. An action whose group has read nothing is left out."""


class BrokerReport(msgspec.Struct, frozen=True):
    """What became of the records that this process has handed over."""

    records_waiting: int
    """Records that were handed over and of which nothing is known yet."""
    bytes_waiting: int
    """Their values."""
    acknowledged: int
    failed: int
    """Records that were given up, or that will never be taken."""


class Inbox(Protocol):
    """One topic's records, shared with the other processes of the orchestrator: each record comes to one of them."""

    async def take(self) -> Sequence[Incoming]:
        """Wait for records and give all that are there, one at least; those of the last call are not given again.

        After a failure of the process, of the broker or of an assignment, records that were not `done` come again.

        Raises:
            Unavailable: the inbox is closed.
        """
        ...

    def done(self) -> None:
        """Say that what the earliest `take` gave, of those not yet done, is durable and need not come again."""
        ...

    def lag(self) -> int:
        """Count the records that wait in the partitions of this process, as of a moment ago."""
        ...


class Broker(Protocol):
    """The topics of the orchestrator.

    An adapter may lose what is handed to `send` and `stop` in a crash or an outage: `Sent` is its only promise.
    """

    @property
    def results(self) -> Inbox:
        """What became of jobs."""
        ...

    @property
    def heartbeats(self) -> Inbox:
        """Signs of life of workers."""
        ...

    @property
    def routes(self) -> Mapping[str, str]:
        """The actions that have a topic to themselves, with its name as in `Sent`."""
        ...

    @property
    def report(self) -> BrokerReport:
        """Say how many records are under way, and what became of the others since the process began."""
        ...

    def send(
        self,
        jobs: Sequence[Job],
        on_sent: Callable[[list[Sent]], None],
        on_refused: Callable[[list[Refused]], None],
        on_failed: Callable[[list[Job]], None],
    ) -> None:
        """Hand jobs over without waiting.

        Args:
            jobs: what to hand over.
            on_sent: called in the event loop for those that were acknowledged.
            on_refused: called in the event loop for those that will never be.
            on_failed: called in the event loop for those that were given up: like those of which nothing is heard, they
                may be sent again.
        """
        ...

    def stop(self, attempts: Sequence[Stop]) -> None:
        """Tell workers to stop attempts."""
        ...

    async def dead_letter(self, letter: DeadLetter, sent: Sent | None, *, is_repeated: bool, within: Duration) -> None:
        """Write the record of a dead letter, and wait until that is durable.

        Args:
            letter: what has failed for good.
            sent: where its job was, when that is known.
            is_repeated: whether it may have been written before: the adapter then looks, and writes none twice.
            within: how long from now the record may be begun to be written. What is begun is durable, or given up and
                never becomes so, `LETTER_SECONDS` later: then it may be somebody else's.

        What the broker will not take whole is written without its payload, and says so.

        Raises:
            Unavailable: it is not known to be durable.
        """
        ...

    async def refuse(self, record: Incoming, reason: str) -> None:
        """Keep a record that nobody can read with the dead letters; one that is too large is cut, and says so.

        Raises:
            Unavailable: it is not known to be durable.
        """
        ...

    async def waiting(self) -> int:
        """Count the results and signs of life that no process of the orchestrator has done yet, in all partitions.

        Raises:
            Unavailable: the broker does not say.
        """
        ...

    async def lags(self, actions: Collection[str]) -> Lags:
        """Count what readers have before them.

        Raises:
            Unavailable: the broker does not say.
        """
        ...

    async def ends(self) -> Mapping[tuple[str, int], int]:
        """Find out where the topics of jobs end: by topic, as in `Sent`, and partition the next record's offset.

        Raises:
            Unavailable: the broker does not say.
        """
        ...

    async def taken(self, actions: Collection[str]) -> Sequence[Taken]:
        """Find out how far workers have read; nothing is said of an action that no reader is known for.

        Of one action all say whether they beat, or none does.

        Raises:
            Unavailable: the broker does not say.
        """
        ...
