"""Taking the jobs of one action: one consumer group for each, joined and served on a thread of its own.

Rule 1: an offset is committed ahead of execution. A job that kills its process is not delivered again by Kafka; the
        orchestrator misses it in the heartbeats and decides.
Rule 2: from an assignment to the first confirmed commit, a partition's jobs start only after their commit is confirmed,
        which is waited for here. After that they start as soon as they are read, on the thread of the reader, and what
        they have claimed is committed ten times a second without waiting.
Rule 3: what is committed is the first offset that has not been started; records of other actions count as passed.
Rule 4: a worker without a free place lets jobs wait, up to a number, and serves its groups. After two seconds it gives
        its partitions to the others of the group, if there are any.
Rule 5: the client of the group is touched by this thread only, and no job of a partition is started once it was told
        that the partition is taken away, nor any once the worker was told to leave: all of that happens under the lock
        of the reader.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from workersdk.kafka.assignment import Partitions
from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.reader import Reader, Share
from workersdk.kafka.records import KafkaJob
from workersdk.kafka.slots import Slots

SERVE_EVERY_S: Final = 0.1
COMMIT_EVERY_S: Final = 0.1
COMMIT_PASSED_EVERY_S: Final = 1.0
SHED_AFTER_S: Final = 2.0
SHED_AFTER_S_MAX: Final = 32.0
SHED_IS_SHORT_S: Final = 30.0
RETRY_S: Final = 0.5

# What is told once is remembered by the client's code of an error, or by this.
WHERE_TO_BEGIN: Final = "where to begin"


class ActionConsumer:
    """Claims the jobs of one action as places get free, and hands them over.

    `hand_over` takes jobs whose places are taken and whose offsets are safe, those that had to wait here; the others
    are handed over by the reader. `on_failure` is called when the thread cannot go on.
    """

    def __init__(
        self,
        action: str,
        config: KafkaConfig,
        client_id: str,
        reader: Reader,
        slots: Slots,
        logger: logging.Logger,
        *,
        hand_over: Callable[[Sequence[KafkaJob]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._action = action
        self._topic = config.topic_of(action)
        self._is_strict = config.is_strict
        self._reader = reader
        self._slots = slots
        self._logger = logger
        self._hand_over = hand_over
        self._on_failure = on_failure
        self._share = Share(action, self._arrived)
        reader.add(self._share)
        self._pending = self._share.pending
        self._consumer = Consumer(
            config.consumer(client_id, config.group_of(action), Quiet(logger)) | {"on_commit": self._committed}
        )
        self._partitions = Partitions(self._consumer, self._topic, reader, self._share)
        self._stirred = threading.Event()  # there is something to do here
        self._is_stopping = False  # under the lock of the reader
        self._is_claiming = False  # jobs wait for their commit; under the lock of the reader
        self._is_away = False
        self._returns_when_idle = False
        self._away_since = 0.0
        self._full_since = 0.0
        self._shed_after = SHED_AFTER_S
        self._has_claimed = False
        self._committed_at = 0.0
        self._told: set[int | str] = set()
        self._thread = threading.Thread(target=self._run, name=f"workersdk-group-{action}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit and leave the group. Returns at once, and from then on no job is handed over.

        Safe to call from any thread.
        """
        with self._reader.lock:
            self._is_stopping = True
        self._stirred.set()

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
        with self._reader.lock:
            # From here on the reader hands over nothing, also where this thread has failed.
            self._is_stopping = True
        try:
            self._commit_and_wait(self._changes())
            self._consumer.close()
        except Exception as error:
            self._logger.debug("leaving the group of %r: %s", self._action, error)

    def _step(self) -> None:
        now = time.monotonic()
        self._serve(0)
        if self._is_away:
            self._wait_to_return(now)
            return
        self._commit_if_due(now)
        if self._partitions.must_rejoin:
            self._rejoin()
        elif (self._pending and self._claim()) or self._slots.wait_free(self, 0):
            self._full_since = 0.0
            if not self._pending:
                self._wait()
        else:
            self._hold(now)

    def _wait(self) -> None:
        """Wait until something is to be done, and not too long to serve the group."""
        self._stirred.wait(SERVE_EVERY_S)
        self._stirred.clear()

    def _serve(self, timeout: float) -> None:
        """Serve the group, which is when partitions are given and taken away."""
        message = self._consumer.poll(timeout)
        if message is not None and (error := message.error()) is not None:
            self._tell(error)

    def _tell(self, error: KafkaError) -> None:
        """Say once, for each kind of error, that the group does not work; the client goes on trying by itself."""
        level = logging.DEBUG if error.code() in self._told or error.code() < 0 else logging.WARNING
        self._told.add(error.code())
        self._logger.log(level, "reading the jobs of %r from %s: %s", self._action, self._topic, error.str())

    # ------------------------------------------------------------ claiming

    def _arrived(self) -> Sequence[KafkaJob]:
        """Return those of the pending jobs that start at once, on the thread of the reader and under its lock."""
        if self._is_stopping:
            return ()
        # Never past jobs that wait for their commit: those may become pending again, and what is committed goes back to
        # them.
        jobs = () if self._is_claiming or self._unsafe_of(self._pending) else self._take()
        if jobs:
            self._full_since = 0.0
            self._has_claimed = True
        if self._pending:
            self._stirred.set()
        return jobs

    def _claim(self) -> bool:
        """Hand over the pending jobs that there are places for; False when there is none."""
        with self._reader.lock:
            if not self._pending:
                return False
            is_alone = self._pending[0].is_alone
            if is_alone:
                if not self._slots.take_all(self):
                    return False
                jobs = [self._pending.popleft()]
                unsafe = {jobs[0].place[1]}
            else:
                jobs = self._take()
                unsafe = self._unsafe_of(jobs)
            changes = self._partitions.changes() if unsafe else {}
            self._is_claiming = True
        if self._commit_and_start(jobs, {place: offset for place, offset in changes.items() if place in unsafe}):
            return bool(jobs)
        if is_alone:
            self._slots.give_back_all()
        else:
            self._slots.give_back(len(jobs))
        return False

    def _unsafe_of(self, jobs: Iterable[KafkaJob]) -> set[int]:
        """Return the partitions whose commit has to be waited for before these jobs start."""
        unsafe = self._partitions.unsafe
        if not (unsafe or self._is_strict):
            return unsafe
        return {job.place[1] for job in jobs if self._is_strict or job.place[1] in unsafe}

    def _take(self) -> list[KafkaJob]:
        """Take the jobs at the head that there are places for; their places are taken with them."""
        pending = self._pending
        places = self._slots.take(len(pending)) if pending else 0
        jobs: list[KafkaJob] = []
        while len(jobs) < places and pending and not pending[0].is_alone:
            jobs.append(pending.popleft())
        if len(jobs) < places:
            self._slots.give_back(places - len(jobs))
        return jobs

    def _start(self, jobs: list[KafkaJob]) -> None:
        if jobs:
            self._full_since = 0.0
            self._has_claimed = True
            self._hand_over(jobs)
            self._reader.made_room()

    def _commit_and_start(self, jobs: list[KafkaJob], changes: dict[int, int]) -> bool:
        """Commit that these jobs are started, and start them.

        When that is not confirmed, or the worker was told to leave meanwhile, they are pending again and not started.

        Still pending means still this worker's: nobody else can get them before the partition is taken away, and then
        they are dropped here. Trying again is therefore no second execution.
        """
        is_confirmed = self._commit_and_wait(changes)
        with self._reader.lock:
            self._is_claiming = False
            if is_confirmed and not self._is_stopping:
                self._start(jobs)
                return True
            self._pending.extendleft(reversed(jobs))
        self._slots.withdraw(self)
        if not is_confirmed:
            self._serve(RETRY_S)  # a rebalance that is the cause is served here
        return False

    # ------------------------------------------------------------ no place

    def _hold(self, now: float) -> None:
        """Wait for a place, and serve the group meanwhile."""
        if self._full_since == 0.0:
            self._full_since = now
        # Only a record that waits shows that others could do something. Where so many wait that none is read any more,
        # and none is started, nobody knows what is behind them.
        since = self._full_since if self._pending else self._reader.full_since
        if since and now >= since + self._shed_after and self._partitions.has_others():
            self._give_away(now)
        elif self._pending:
            self._slots.wait_free(self, SERVE_EVERY_S)
        else:
            self._wait()

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
        wait = self._slots.wait_idle if self._returns_when_idle else self._is_free
        if not wait(SERVE_EVERY_S):
            return
        # A worker that is full again in a moment would make the whole group rebalance over and over.
        was_short = now - self._away_since < SHED_IS_SHORT_S
        self._shed_after = min(SHED_AFTER_S_MAX, self._shed_after * 2) if was_short else SHED_AFTER_S
        self._full_since = 0.0
        self._is_away = False
        self._subscribe()

    def _is_free(self, timeout: float) -> bool:
        return self._slots.wait_free(self, timeout)

    # ------------------------------------------------------------ offsets

    def _changes(self) -> dict[int, int]:
        with self._reader.lock:
            return self._partitions.changes()

    def _commit_if_due(self, now: float) -> None:
        every = COMMIT_EVERY_S if self._has_claimed else COMMIT_PASSED_EVERY_S
        if now < self._committed_at + every:
            return
        self._committed_at = now
        self._has_claimed = False
        changes = self._changes()
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
            is_confirmed = all(place.error is None for place in places)
        except KafkaException as error:
            self._logger.debug("committing offsets of %r: %s", self._action, error)
            is_confirmed = False
        if is_confirmed:
            self._partitions.confirm(changes)
        else:
            self._partitions.forget(changes)
        return is_confirmed

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
        try:
            self._partitions.take_up(places)
        except KafkaException as error:
            level = logging.DEBUG if WHERE_TO_BEGIN in self._told else logging.WARNING
            self._told.add(WHERE_TO_BEGIN)
            self._logger.log(
                level, "the group of %r: where to begin is not known (%s); trying again", self._action, error
            )
            self._partitions.must_rejoin = True

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        taken = {place.partition for place in places}
        # First nothing more of them is started, then what was is committed.
        with self._reader.lock:
            changes = {place: offset for place, offset in self._partitions.changes().items() if place in taken}
            self._partitions.stop(taken)
        self._commit_and_wait(changes)
        self._let_go(taken)

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._let_go({place.partition for place in places})

    def _let_go(self, taken: set[int]) -> None:
        """Forget the jobs that were not started: the next owner has them."""
        self._partitions.let_go(taken)
        self._slots.withdraw(self)
