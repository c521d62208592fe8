"""Reading the jobs of all actions, on one thread: the groups share out the partitions, one fetch brings what they have.

A fetch costs the broker as much as a hundred records do, and one for each action would bring every record to each.

Rule 1: what is read are the partitions that any group of this worker has; a job is given to the share of its action,
        and only where that action's group has the partition.
Rule 2: each group begins at an offset of its own. Reading goes back to the one that is furthest behind; what lies below
        the floor of a share it has had, or somebody else has.
Rule 3: so many jobs, and bytes of them, may wait for a place; then nothing is read, and the client fetches no more than
        its buffer holds.
Rule 4: jobs that were read together are handed over together, whatever their actions: to wake a thread costs more than
        to read a record.
Rule 5: shares are changed by the threads of their groups, under the one lock of the reader. Whatever was fetched before
        reading had to begin elsewhere is thrown away: it comes again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from workersdk.kafka.config import KafkaConfig
from workersdk.kafka.quiet import Quiet
from workersdk.kafka.records import ACTION, KafkaJob, Place, UndecodableError, action_of, headers_of, read_job
from workersdk.kafka.undecodable import Undecodable

# The client asks for a group's name though no group is joined; this one falls under the rights that a worker has.
GROUP_OF: Final = "$jobs"
POLL_S: Final = 0.1
RECORDS_AT_ONCE_MAX: Final = 250
WAITING_MAX: Final = 250
WAITING_BYTES_MAX: Final = 4 * 1024 * 1024


class Share:
    """What one action gets. Everything of it is used under the lock of the reader.

    `on_arrival` is called under that lock when jobs have come, and gives those that can start at once.
    """

    def __init__(self, action: str, on_arrival: Callable[[], Sequence[KafkaJob]]) -> None:
        self.action = action
        self.pending: deque[KafkaJob] = deque()
        self.floors: dict[Place, int] = {}  # the partitions of the group, and where it began
        self.on_arrival = on_arrival


class Reader:
    """Fetches for all shares of one worker. `lock` protects them; it is never held while something is waited for.

    `hand_over` takes jobs whose places are taken and whose offsets are safe; it is called under the lock.
    """

    def __init__(
        self,
        config: KafkaConfig,
        client_id: str,
        lease: float,
        undecodable: Undecodable,
        logger: logging.Logger,
        hand_over: Callable[[Sequence[KafkaJob]], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.lock = threading.RLock()
        self._lease = lease
        self._undecodable = undecodable
        self._logger = logger
        self._hand_over = hand_over
        self._on_failure = on_failure
        # A place that the topic has no more of: what is left of it is read, whoever lost it.
        more = {"auto.offset.reset": "earliest"}
        self._consumer = Consumer(config.consumer(client_id, config.group_of(GROUP_OF), Quiet(logger)) | more)
        self._shares: dict[bytes, Share] = {}
        self._positions: dict[Place, int] = {}  # the next record of each partition that is read
        self._must_move = False  # the partitions or positions are not the client's any more
        self._room = threading.Condition(self.lock)
        self._told: set[int] = set()
        self._is_stopping = False
        self._is_at_rest = False
        self._started_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="workersdk-jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Read no more. Returns at once; safe to call from any thread."""
        with self.lock:
            self._is_stopping = True
            self._room.notify_all()

    def join(self, timeout: float) -> None:
        """Wait until nothing is read any more, so many seconds at most."""
        self._thread.join(timeout)

    # ------------------------------------------------------------ the shares

    def add(self, share: Share) -> None:
        with self.lock:
            self._shares[share.action.encode("utf-8", "surrogatepass")] = share

    def begin(self, share: Share, starts: Mapping[Place, int]) -> None:
        """Give a share the jobs of these partitions, from these offsets on."""
        with self.lock:
            share.floors.update(starts)
            for place, start in starts.items():
                position = self._positions.get(place)
                if position is None:
                    self._move(place, start)
                elif start < position:
                    for other in self._shares.values():
                        if other is not share and place in other.floors:
                            other.floors[place] = max(other.floors[place], position)
                    self._move(place, start)

    def end(self, share: Share, places: Iterable[Place]) -> None:
        """Take partitions away from a share, with the jobs of them that are pending."""
        gone = set(places)
        with self.lock:
            for place in gone & share.floors.keys():
                del share.floors[place]
                if place in self._positions and not any(place in other.floors for other in self._shares.values()):
                    del self._positions[place]
                    self._must_move = True
            kept = [job for job in share.pending if job.place not in gone]
            share.pending.clear()
            share.pending.extend(kept)
            self.made_room()

    def passed(self, share: Share) -> dict[Place, int]:
        """Return the offset after the last record that was read, of each partition of a share."""
        with self.lock:
            return {place: max(floor, self._positions.get(place, floor)) for place, floor in share.floors.items()}

    @property
    def is_full(self) -> bool:
        """So many jobs wait that nothing is read: nobody knows what is behind them."""
        with self.lock:
            waiting = [job.size for share in self._shares.values() for job in share.pending]
            return len(waiting) >= WAITING_MAX or sum(waiting) >= WAITING_BYTES_MAX

    @property
    def waiting(self) -> int:
        """How many jobs wait for a place."""
        with self.lock:
            return sum(len(share.pending) for share in self._shares.values())

    @property
    def full_since(self) -> float:
        """Since when so many jobs wait that nothing is read, and none of this worker's was started; 0.0 when not so.

        A moment on the monotonic clock. A worker that is busy and goes on is not stuck, however many wait.
        """
        with self.lock:
            return self._started_at if self.is_full else 0.0

    def made_room(self) -> None:
        """Jobs wait no more: they were started, or are others' now."""
        with self.lock:
            self._started_at = time.monotonic()
            self._room.notify_all()

    # ------------------------------------------------------------ on the thread

    def _run(self) -> None:
        try:
            while not self._is_stopping:
                self._step()
            self._consumer.close()
        except BaseException as error:
            self._on_failure(error)

    def _step(self) -> None:
        with self.lock:
            if self._must_move:
                self._must_move = False
                self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._positions.items()])
            if self.is_full:
                if not self._is_at_rest:
                    self._logger.debug("no place for the jobs that wait: fetching no more")
                self._is_at_rest = True
                self._room.wait(POLL_S)
                return
            self._is_at_rest = False
        first = self._consumer.poll(POLL_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(RECORDS_AT_ONCE_MAX - 1, 0)]
        with self.lock:
            if not self._must_move:
                self._give(messages)

    def _give(self, messages: Iterable[Message]) -> None:
        """Put the jobs where they belong, pass over everything else, and hand over what can start."""
        arrived: dict[Share, None] = {}
        for message in messages:
            if (error := message.error()) is not None:
                self._tell(error)
            elif (share := self._put(message)) is not None:
                arrived[share] = None
        jobs = [job for share in arrived for job in share.on_arrival()]
        if jobs:
            self._started_at = time.monotonic()
            self._hand_over(jobs)

    def _put(self, message: Message) -> Share | None:
        place, offset = (message.topic() or "", message.partition() or 0), message.offset() or 0
        position = self._positions.get(place)
        if position is None:
            return None
        if offset < position:
            self._begin_anew(place)
        self._positions[place] = offset + 1
        headers = headers_of(message)
        try:
            if headers and headers[0][0] == ACTION:  # ours is the first one where the orchestrator wrote it
                share = self._shares.get(headers[0][1])  # type: ignore[arg-type] # finds nothing when it is no bytes
            else:
                share = self._shares.get(action_of(headers, message))
            if share is None or offset < share.floors.get(place, offset + 1):
                return None  # most records, where there are many workers: nothing more is spent on them
            share.pending.append(read_job(share.action, headers, message, place, self._lease))
        except UndecodableError as fault:
            self._undecodable.add(message, str(fault))
            return None
        return share

    def _begin_anew(self, place: Place) -> None:
        """The topic was made anew: its offsets begin again, and nobody has had any of it."""
        for share in self._shares.values():
            if place in share.floors:
                share.floors[place] = 0

    def _move(self, place: Place, offset: int) -> None:
        self._positions[place] = offset
        self._must_move = True

    def _tell(self, error: KafkaError) -> None:
        """Say once, for each kind of error, that jobs cannot be read; the client goes on trying by itself."""
        level = logging.DEBUG if error.code() in self._told or error.code() < 0 else logging.WARNING
        self._told.add(error.code())
        self._logger.log(level, "reading jobs: %s", error.str())
