"""Taking the jobs of one action, on a thread of its own: one consumer group for each action.

Rule 1: an offset is committed ahead of execution. A job that kills its process is not delivered again by Kafka; the
        orchestrator misses it in the heartbeats and decides.
Rule 2: from an assignment to the first confirmed commit, a partition's jobs start only after their commit is confirmed.
        After that they start at once, and what they have claimed is committed ten times a second without waiting.
Rule 3: what is committed is the first offset that has not been started; records of other actions count as passed.
Rule 4: a worker without a free place stops pulling and serves the group; it never pauses a partition, which would throw
        away what was fetched. After two seconds it gives its partitions to the others of the group, if there are any.
Rule 5: this thread is the only one that touches its consumer. That is what makes a commit a fence: a lost partition
        cannot come back before this thread polls again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from workersdk.kafka.assignment import Partitions
from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.records import ACTION, KafkaJob, UndecodableError, headers_of, is_for, read_job
from workersdk.kafka.slots import Slots
from workersdk.kafka.undecodable import Undecodable

POLL_S: Final = 0.1
COMMIT_EVERY_S: Final = 0.1
COMMIT_PASSED_EVERY_S: Final = 1.0
RECORDS_AT_ONCE_MAX: Final = 250
SHED_AFTER_S: Final = 2.0
SHED_AFTER_S_MAX: Final = 32.0
SHED_IS_SHORT_S: Final = 30.0
RETRY_S: Final = 0.5

# What is told once is remembered by the client's code of an error, or by this.
WHERE_TO_BEGIN: Final = "where to begin"


class ActionConsumer:
    """Claims the jobs of one action as places get free, and hands them over.

    `hand_over` takes jobs whose places are taken and whose offsets are safe; `on_quiet` is called once, after the last
    of them; `on_failure` when the thread cannot go on. All three are called on this thread.
    """

    def __init__(
        self,
        action: str,
        config: KafkaConfig,
        client_id: str,
        lease: float,
        slots: Slots,
        undecodable: Undecodable,
        logger: logging.Logger,
        *,
        hand_over: Callable[[Sequence[KafkaJob]], None],
        on_quiet: Callable[[], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._action = action
        self._action_bytes = action.encode("utf-8", "surrogatepass")
        self._topic = config.topic_of(action)
        self._is_strict = config.is_strict
        self._lease = lease
        self._slots = slots
        self._undecodable = undecodable
        self._logger = logger
        self._hand_over = hand_over
        self._on_quiet = on_quiet
        self._on_failure = on_failure
        self._consumer = Consumer(
            config.consumer(client_id, config.group_of(action), Quiet(logger)) | {"on_commit": self._committed}
        )
        self._partitions = Partitions(self._consumer, self._topic)
        self._pending: deque[KafkaJob] = deque()
        self._is_stopping = False
        self._is_away = False
        self._is_paused = False
        self._returns_when_idle = False
        self._away_since = 0.0
        self._full_since = 0.0
        self._shed_after = SHED_AFTER_S
        self._has_claimed = False
        self._committed_at = 0.0
        self._served_at = 0.0
        self._told: set[int | str] = set()
        self._thread = threading.Thread(target=self._run, name=f"workersdk-jobs-{action}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Claim no more jobs, commit and leave the group. Returns at once; safe to call from any thread."""
        self._is_stopping = True

    def join(self, timeout: float) -> None:
        """Wait until the group is left, so many seconds at most."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._subscribe()
            while not self._is_stopping:
                self._step()
        except BaseException as error:
            self._on_failure(error)
        self._on_quiet()
        try:
            self._commit_and_wait(self._partitions.changes(self._pending))
            self._consumer.close()
        except Exception as error:
            self._logger.debug("leaving the group of %r: %s", self._action, error)

    def _step(self) -> None:
        now = time.monotonic()
        if self._is_away:
            self._wait_to_return(now)
            return
        self._commit_if_due(now)
        if self._partitions.must_rejoin:
            self._rejoin()
        elif self._pending:
            if self._claim():
                self._full_since = 0.0
            else:
                self._hold(now)
        elif self._slots.wait_free(self, 0):
            self._full_since = 0.0
            self._resume()
            if self._serve(POLL_S):
                self._take(self._consumer.consume(RECORDS_AT_ONCE_MAX, 0))
        else:
            self._hold(now)

    # ------------------------------------------------------------ reading

    def _serve(self, timeout: float) -> bool:
        """Serve the group, and take one record if one comes in so many seconds; tell whether one came."""
        message = self._consumer.poll(timeout)
        if message is not None:
            self._take((message,))
        return message is not None

    def _take(self, messages: Iterable[Message]) -> None:
        """Put the jobs of this action among the pending; pass over everything else."""
        pending, partitions, action = self._pending, self._partitions, self._action_bytes
        for message in messages:
            if (error := message.error()) is not None:
                self._tell(error)
                continue
            if not partitions.read(message):
                continue
            headers = headers_of(message)
            if headers and headers[0][0] == ACTION and headers[0][1] != action:
                continue  # most records, where there are many actions: nothing more is spent on them
            try:
                if is_for(action, headers, message):
                    pending.append(read_job(self._action, headers, message, self._lease))
            except UndecodableError as fault:
                self._undecodable.add(message, str(fault))

    def _tell(self, error: KafkaError) -> None:
        """Say once, for each kind of error, that jobs cannot be read; the client goes on trying by itself."""
        level = logging.DEBUG if error.code() in self._told or error.code() < 0 else logging.WARNING
        self._told.add(error.code())
        self._logger.log(level, "reading the jobs of %r from %s: %s", self._action, self._topic, error.str())

    # ------------------------------------------------------------ claiming

    def _claim(self) -> bool:
        """Hand over the pending jobs that there are places for; False when there is none."""
        if self._pending[0].is_alone:
            return self._claim_alone()
        places = self._slots.take(len(self._pending))
        jobs: list[KafkaJob] = []
        while len(jobs) < places and self._pending and not self._pending[0].is_alone:
            jobs.append(self._pending.popleft())
        if len(jobs) < places:
            self._slots.give_back(places - len(jobs))
        if not jobs:
            return False
        if self._is_strict or self._partitions.unsafe:
            unsafe = {job.partition for job in jobs if self._is_strict or job.partition in self._partitions.unsafe}
            if unsafe and not self._secure(jobs, unsafe):
                self._slots.give_back(len(jobs))
                return False
        self._has_claimed = True
        self._hand_over(jobs)
        return True

    def _claim_alone(self) -> bool:
        if not self._slots.take_all(self):
            return False
        job = self._pending.popleft()
        if not self._secure([job], {job.partition}):
            self._slots.give_back_all()
            return False
        self._hand_over([job])
        return True

    def _secure(self, jobs: list[KafkaJob], partitions: set[int]) -> bool:
        """Commit that these jobs are started; when that is not confirmed, they are pending again and not started.

        Still pending means still this worker's: nobody else can get them before the partition is taken away, and then
        they are dropped here. Trying again is therefore no second execution.
        """
        changes = self._partitions.changes(self._pending)
        if self._commit_and_wait({place: offset for place, offset in changes.items() if place in partitions}):
            return True
        self._pending.extendleft(reversed(jobs))
        self._slots.withdraw(self)
        self._serve(RETRY_S)  # a rebalance that is the cause is served here
        return False

    # ------------------------------------------------------------ no place

    def _hold(self, now: float) -> None:
        """Wait for a place, and serve the group meanwhile."""
        if self._full_since == 0.0:
            self._full_since = now
        # Only a record that waits here shows that others could do something: a full worker goes on looking for one.
        if self._pending and now >= self._full_since + self._shed_after:
            if self._partitions.has_others():
                self._give_away(now)
                return
            self._pause()
        if not self._slots.wait_free(self, POLL_S) or now >= self._served_at + POLL_S:
            self._served_at = now
            self._serve(0)

    def _pause(self) -> None:
        """Fetch no more: a long wait must not fill the memory. Once for each wait, since it drops what was fetched."""
        if not self._is_paused:
            self._is_paused = True
            self._logger.debug("no place for the jobs of %r: fetching no more", self._action)
            self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._consumer.resume(self._consumer.assignment())

    def _give_away(self, now: float) -> None:
        """Leave the group, so that others get the jobs that wait here."""
        self._logger.debug(
            "no place for the jobs of %r for %.1f s: leaving them to others", self._action, self._shed_after
        )
        self._returns_when_idle = bool(self._pending) and self._pending[0].is_alone
        self._consumer.unsubscribe()  # what was claimed is committed when the partitions are taken away
        self._is_away = True
        self._away_since = now

    def _wait_to_return(self, now: float) -> None:
        self._serve(0)
        may_return = self._slots.wait_idle(POLL_S) if self._returns_when_idle else self._slots.wait_free(self, POLL_S)
        if not may_return:
            return
        # A worker that is full again in a moment would make the whole group rebalance over and over.
        was_short = now - self._away_since < SHED_IS_SHORT_S
        self._shed_after = min(SHED_AFTER_S_MAX, self._shed_after * 2) if was_short else SHED_AFTER_S
        self._full_since = 0.0
        self._is_away = False
        self._subscribe()

    # ------------------------------------------------------------ offsets

    def _commit_if_due(self, now: float) -> None:
        every = COMMIT_EVERY_S if self._has_claimed else COMMIT_PASSED_EVERY_S
        if now < self._committed_at + every:
            return
        self._committed_at = now
        self._has_claimed = False
        changes = self._partitions.changes(self._pending)
        if changes:
            self._partitions.expect(changes)
            try:
                self._consumer.commit(offsets=self._partitions.write(changes), asynchronous=True)
            except KafkaException as error:
                self._partitions.doubt(changes)
                self._logger.debug("committing offsets of %r: %s", self._action, error)

    def _commit_and_wait(self, changes: dict[int, int]) -> bool:
        if not changes:
            return True
        try:
            places = self._consumer.commit(offsets=self._partitions.write(changes), asynchronous=False)
        except KafkaException as error:
            self._logger.debug("committing offsets of %r: %s", self._action, error)
            return False
        if any(place.error is not None for place in places):
            return False
        self._partitions.confirm(changes)
        return True

    def _committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Take the answer to a commit that nobody waited for. One that failed is made again with the next."""
        failed = {place.partition: place.offset for place in places if error is not None or place.error is not None}
        if failed:
            self._partitions.doubt(failed)
            self._has_claimed = True

    # ------------------------------------------------------------ the group

    def _subscribe(self) -> None:
        self._consumer.subscribe([self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def _rejoin(self) -> None:
        """The assignment could not be taken up, since the broker did not say where to begin: ask for it again."""
        self._partitions.must_rejoin = False
        self._consumer.unsubscribe()
        self._serve(RETRY_S)
        self._subscribe()

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._is_paused = False
        try:
            self._partitions.take_up(places)
        except KafkaException as error:
            level = logging.DEBUG if WHERE_TO_BEGIN in self._told else logging.WARNING
            self._told.add(WHERE_TO_BEGIN)
            self._logger.log(
                level, "the group of %r: where to begin is not known (%s); trying again", self._action, error
            )
            self._partitions.must_rejoin = True
            consumer.assign([])

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        taken = {place.partition for place in places}
        changes = self._partitions.changes(self._pending)
        self._commit_and_wait({place: offset for place, offset in changes.items() if place in taken})
        self._let_go(taken)

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._let_go({place.partition for place in places})

    def _let_go(self, taken: set[int]) -> None:
        """Forget the jobs that were not started: the next owner has them."""
        self._partitions.let_go(taken)
        kept = [job for job in self._pending if job.partition not in taken]
        self._pending.clear()
        self._pending.extend(kept)
        self._slots.withdraw(self)
