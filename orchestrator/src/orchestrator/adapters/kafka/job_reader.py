"""Reads the jobs of one action on a thread of its own, as one member of the group of all workers of that action.

Rule 1: offsets are committed ahead of execution (see `shelf`): waiting for the answer where that protects, ten times a
        second without waiting otherwise, and before the partitions are given up.
Rule 2: a reader whose jobs nobody takes gives its partitions to the others of the group, if there are any, and comes
        back when it is asked.
Rule 3: this thread alone touches its consumer. So a partition that was lost cannot come back unnoticed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic, sleep
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from orchestrator.adapters.kafka.config import SESSION_SECONDS, KafkaConfig
from orchestrator.adapters.kafka.offsets import places, take_up
from orchestrator.adapters.kafka.shelf import Read, Shelf
from orchestrator.model.job import Job
from orchestrator.model.record import read_job
from orchestrator.ports.queue import Room

_log = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.1
SOON_SECONDS: Final = 0.01
"""How long a poll takes at most where a first job may have to be claimed."""
COMMIT_SECONDS: Final = 0.1
COMMIT_PASSED_SECONDS: Final = 1.0
"""How often it is committed that records of other actions were passed."""
AT_ONCE_MAX: Final = 250
"""Records read at a time."""
AHEAD_MAX: Final = 1_000
"""Jobs read and not claimed."""
AHEAD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of their payloads."""
PREFETCH_KIB: Final = 4 * 1024
SHED_SECONDS: Final = 2.0
"""How long jobs wait for somebody here before the group's other members get them."""
SHED_SECONDS_MAX: Final = 32.0
SHED_IS_SHORT_SECONDS: Final = 30.0
"""A reader that is asked again sooner than that waits twice as long the next time: each time the whole group stops."""
SHED_ALONE_SECONDS: Final = 5.0
"""The same for a job that runs alone, for which a worker has to empty its hands first."""
AGAIN_SECONDS: Final = 0.5
"""The pause before what the broker refused is tried again."""
_ACTION: Final = "wf-action"
_GONE: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001 - its name


class JobReader:
    """Fills a shelf. ``on_jobs`` is called on the thread: how many more there are, and whether one runs alone."""

    def __init__(self, action: str, config: KafkaConfig, on_jobs: Callable[[int, bool], None]) -> None:
        self.shelf = Shelf()
        self._action = action
        self._wanted = action.encode()
        self._topic = config.topic_of(action)
        self._call_seconds = config.call_seconds
        self._on_jobs = on_jobs
        self._consumer = Consumer(
            config.client(
                f"jobs-{action}",
                {
                    "group.id": config.worker_groups + action,
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "latest",
                    "partition.assignment.strategy": "roundrobin",
                    "session.timeout.ms": SESSION_SECONDS * 1_000,
                    "heartbeat.interval.ms": 1_000,
                    "fetch.wait.max.ms": 100,
                    "fetch.queue.backoff.ms": 10,
                    "queued.max.messages.kbytes": PREFETCH_KIB,
                    "error_cb": _note_error,
                    "on_commit": self._committed,
                },
            )
        )
        self._partitions = 0
        """Of the topic; 0 while nobody has asked since the last assignment."""
        self._served_at = monotonic()
        self._committed_at = 0.0
        self._must_rejoin = False
        self._is_paused = False
        self._is_away = False
        self._away_at = 0.0
        self._return_after = 0.0
        self._shed_after = SHED_SECONDS
        self._undecodable = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"kafka-jobs-{action}", daemon=True)
        self._thread.start()

    # --- in the event loop -----------------------------------------------------------------------------------------

    def take(self, room: Room) -> list[Job]:
        """Claim jobs that run with others, as far as there is room, and give them."""
        # A thread that has not served the group for so long may have lost everything to others.
        return [] if monotonic() - self._served_at > SESSION_SECONDS else self.shelf.take(room)

    def take_alone(self) -> Job | None:
        """Give a job that runs alone, and is claimed."""
        return None if monotonic() - self._served_at > SESSION_SECONDS else self.shelf.take_alone()

    def stop(self) -> None:
        """Leave the group. Returns at once."""
        self._is_stopping = True

    @property
    def is_over(self) -> bool:
        """Whether the group is left."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until the group is left. Blocks."""
        self._thread.join()

    # --- on the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._subscribe()
            while not self._is_stopping:
                try:
                    self._step()
                except KafkaException as error:
                    _log.warning("kafka: reading the jobs of %s: %s", self._action, error)
            self._commit_and_wait(self.shelf.let_go(self.shelf.partitions))
            self._consumer.close()
        except (KafkaException, RuntimeError) as error:
            _log.warning("kafka: leaving the group of %s: %s", self._action, error)

    def _step(self) -> None:
        now = monotonic()
        shelf = self.shelf
        if self._is_away:
            self._wait_to_return(now)
            return
        self._commit_if_due(now)
        if self._must_rejoin:
            self._rejoin()
            return
        if shelf.has_wish:
            self._secure()
        if shelf.count and self._is_shunned(now):
            if self._has_others():
                self._give_away(now)
                return
            if self._is_full():
                self._pause()
        if self._is_full():
            self._wait_for_room(now)
        else:
            self._resume()
            self._read(SOON_SECONDS if shelf.needs_wish else POLL_SECONDS)

    def _is_full(self) -> bool:
        return self.shelf.count >= AHEAD_MAX or self.shelf.size >= AHEAD_BYTES_MAX

    def _read(self, seconds: float) -> None:
        first = self._consumer.poll(seconds)
        self._served_at = monotonic()
        if first is not None:
            self._put([first, *self._consumer.consume(AT_ONCE_MAX - 1, 0)])

    def _put(self, messages: list[Message]) -> None:
        """Put the jobs of this action on the shelf; pass over everything else."""
        reads: list[Read] = []
        ends: dict[int, int] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._tell(error)
                continue
            partition, offset = message.partition(), message.offset()
            if partition is None or offset is None:
                continue
            ends[partition] = offset + 1
            job = self._job(message)
            if job is not None:
                reads.append(Read(job, partition, offset))
        added, some_alone = self.shelf.put(reads, ends)
        if added:
            self._on_jobs(added, some_alone)

    def _job(self, message: Message) -> Job | None:
        headers = cast("list[tuple[str, bytes]] | None", message.headers())
        if not headers or headers[0][0] != _ACTION:
            # Not written by an orchestrator: workers that read the topic themselves may know what it is.
            return None
        if headers[0][1] != self._wanted:
            return None
        try:
            job = read_job(message.value() or b"", headers)
        except ValueError as error:
            self._note_undecodable(message, str(error))
            return None
        return job if job.action == self._action else None

    def _note_undecodable(self, message: Message, reason: str) -> None:
        self._undecodable += 1
        _log.log(
            logging.WARNING if self._undecodable == 1 else logging.DEBUG,
            "kafka: %s partition %s offset %s is no job and is passed over: %s",
            *(self._topic, message.partition(), message.offset(), reason),
        )

    def _tell(self, error: KafkaError) -> None:
        if error.code() not in _GONE:
            _log.warning("kafka: reading the jobs of %s: %s", self._action, error.str())

    # --- claims --------------------------------------------------------------------------------------------------

    def _secure(self) -> None:
        """Claim the jobs that must not be given before their offsets are committed."""
        picked = self.shelf.pick()
        if not picked:
            return
        if self._commit_and_wait(self.shelf.changes_of(picked)):
            self.shelf.secure(picked)
            # What follows them in their partitions can be taken now, too.
            self._on_jobs(len(picked) + self.shelf.count, any(read.job.alone for read in picked))
        else:
            self.shelf.put_back(picked)
            # A rebalance that is the cause is served here.
            self._read(AGAIN_SECONDS)
            self._on_jobs(len(picked), any(read.job.alone for read in picked))

    def _commit_if_due(self, now: float) -> None:
        every = COMMIT_SECONDS if self.shelf.is_changed else COMMIT_PASSED_SECONDS
        if now < self._committed_at + every:
            return
        self._committed_at = now
        changes = self.shelf.changes()
        if changes:
            self.shelf.expect(changes)
            try:
                self._consumer.commit(offsets=places(self._topic, changes), asynchronous=True)
            except KafkaException as error:
                self.shelf.doubt(changes)
                _log.debug("kafka: committing offsets of %s: %s", self._action, error)

    def _commit_and_wait(self, changes: dict[int, int]) -> bool:
        if not changes:
            return True
        try:
            answers = self._consumer.commit(offsets=places(self._topic, changes), asynchronous=False)
        except KafkaException as error:
            _log.debug("kafka: committing offsets of %s: %s", self._action, error)
            return False
        if any(place.error is not None for place in answers or ()):
            return False
        self.shelf.confirm(changes)
        return True

    def _committed(self, error: KafkaError | None, answers: list[TopicPartition]) -> None:
        """Take the answer to a commit that nobody waited for."""
        failed = {place.partition: place.offset for place in answers if error is not None or place.error is not None}
        if failed:
            self.shelf.doubt(failed)

    # --- nobody takes them -----------------------------------------------------------------------------------------

    def _is_shunned(self, now: float) -> bool:
        shelf = self.shelf
        if now - shelf.moved_at >= self._shed_after:
            return True
        return bool(shelf.waiting_alone()) and now - shelf.alone_at >= max(SHED_ALONE_SECONDS, self._shed_after)

    def _has_others(self) -> bool:
        """Whether the group has other members, as far as it shows: they have the partitions that are not here."""
        if not self._partitions:
            with suppress(KafkaException):
                topic = self._consumer.list_topics(self._topic, self._call_seconds).topics[self._topic]
                self._partitions = len(topic.partitions)
        return len(self.shelf.partitions) < self._partitions or self._partitions == 1

    def _give_away(self, now: float) -> None:
        _log.debug("kafka: nobody here takes the jobs of %s: they are left to others", self._action)
        # Others have to get the job that runs alone before this reader is back.
        self._return_after = now + (SHED_ALONE_SECONDS if self.shelf.waiting_alone() else 0)
        # What was claimed is committed when the partitions are taken away.
        self._consumer.unsubscribe()
        self._is_away = True
        self._away_at = now

    def _wait_to_return(self, now: float) -> None:
        self._consumer.poll(POLL_SECONDS)
        self._served_at = monotonic()
        if now < self._return_after or self.shelf.asked_at <= self._away_at:
            return
        was_short = now - self._away_at < SHED_IS_SHORT_SECONDS
        self._shed_after = min(SHED_SECONDS_MAX, self._shed_after * 2) if was_short else SHED_SECONDS
        self._is_away = False
        self._subscribe()

    def _wait_for_room(self, now: float) -> None:
        if now - self._served_at >= POLL_SECONDS:
            # The client leaves the group where nobody polls; what this brings is one record at most.
            message = self._consumer.poll(0)
            self._served_at = monotonic()
            if message is not None:
                self._put([message])
        else:
            sleep(SOON_SECONDS)

    def _pause(self) -> None:
        """Fetch no more; once for each wait, as it throws away what was fetched."""
        if not self._is_paused:
            self._is_paused = True
            self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._consumer.resume(self._consumer.assignment())

    # --- the group -------------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _rejoin(self) -> None:
        """The broker did not say where to begin: ask for the assignment again."""
        self._must_rejoin = False
        self._consumer.unsubscribe()
        self._consumer.poll(AGAIN_SECONDS)
        self._served_at = monotonic()
        self._subscribe()

    def _assigned(self, consumer: Consumer, assigned: list[TopicPartition]) -> None:
        self._is_paused = False
        try:
            self._partitions = 0
            starts = take_up(consumer, self._topic, assigned, self._call_seconds)
        except KafkaException as error:
            _log.warning("kafka: where to read the jobs of %s is not known, trying again: %s", self._action, error)
            self._must_rejoin = True
            consumer.assign([])
        else:
            self.shelf.assign(starts)

    def _revoked(self, consumer: Consumer, revoked: list[TopicPartition]) -> None:
        self._commit_and_wait(self.shelf.let_go([place.partition for place in revoked]))

    def _lost(self, consumer: Consumer, lost: list[TopicPartition]) -> None:
        self.shelf.let_go([place.partition for place in lost])


def _note_error(error: KafkaError) -> None:
    _log.warning("kafka: %s", error.str())
