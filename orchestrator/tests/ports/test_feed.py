"""The contract of `ports.feed` on a real Kafka: each job to one reader, nothing given that is not claimed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from orchestrator.adapters.kafka.broker import KafkaBroker, open_broker
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.feed import open_feed
from orchestrator.model.job import Job, job_id
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.model.topics import TOPICS
from orchestrator.ports.broker import Stop
from orchestrator.ports.feed import Feed
from orchestrator.ports.queue import JOB_HEAD_BYTES, Room
from tests.real import Real

pytestmark = pytest.mark.timeout(240)
PATIENCE_SECONDS = 60.0


class Place:
    """A broker of the test's own, and feeds on it."""

    def __init__(self, servers: str, stack: AsyncExitStack) -> None:
        prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.config = KafkaConfig(servers=servers, topics=TOPICS.prefixed(prefix), prefix=prefix, partitions=3)
        self.broker: KafkaBroker
        self.stack = stack
        self.sent = 0

    async def feed(self) -> tuple[Feed, list[tuple[str, int, bool]], list[Stop]]:
        feed: Feed = await self.stack.enter_async_context(open_feed(self.config))
        told: list[tuple[str, int, bool]] = []
        stops: list[Stop] = []

        def on_jobs(action: str, count: int, alone: bool) -> None:
            told.append((action, count, alone))

        def on_stops(some: Sequence[Stop]) -> None:
            stops.extend(some)

        feed.listen(on_jobs, on_stops)
        return feed, told, stops

    def send(self, action: str, count: int, *, alone: bool = False) -> list[Job]:
        """Send jobs; their payloads are their numbers."""
        jobs: list[Job] = []
        for _ in range(count):
            run_id = RunId(str(uuid.uuid4()))
            jobs.append(
                Job(
                    job_id=job_id(run_id, 0),
                    run_id=run_id,
                    workflow_id="flow",
                    step=0,
                    attempt=1,
                    action=action,
                    payload=Json(b"%d" % self.sent),
                    alone=alone,
                )
            )
            self.sent += 1
        self.broker.send(jobs, nothing, nothing, nothing)
        return jobs


def nothing(answers: object) -> None:
    """Nobody asks what became of them."""


@asynccontextmanager
async def place(real: Real) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        found = Place(real.kafka(), stack)
        found.broker = await stack.enter_async_context(open_broker(found.config))
        yield found


async def taken(count: int, *feeds: Feed, actions: Sequence[str] = ("a",)) -> list[list[Job]]:
    """Take from all of them until there are so many."""
    found: list[list[Job]] = [[] for _ in feeds]
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(map(len, found)) < count:
            for jobs, feed in zip(found, feeds, strict=True):
                jobs.extend(feed.take(actions, Room(5)))
            await asyncio.sleep(0.01)
    return found


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


def test_jobs_of_an_action_that_is_read_are_told_of_and_given_once(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            feed, told, _ = await there.feed()
            sent = there.send("a", 20)
            there.send("b", 5)
            feed.read(["a"])
            await eventually(lambda: sum(count for _, count, _ in told) >= 20)
            assert feed.take(["b"], Room(5)) == []
            (jobs,) = await taken(20, feed)
            assert sorted(jobs, key=lambda job: job.run_id) == sorted(sent, key=lambda job: job.run_id)
            assert feed.take(["a", "b"], Room(5)) == []
            assert {action for action, _, _ in told} == {"a"}

    asyncio.run(story())


def test_what_does_not_fit_into_an_answer_comes_with_the_next(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            feed, told, _ = await there.feed()
            sent = [*there.send("a", 30), *there.send("b", 30)]
            feed.read(["a", "b"])
            await eventually(lambda: sum(count for _, count, _ in told) >= len(sent))
            found: list[list[Job]] = []
            async with asyncio.timeout(PATIENCE_SECONDS):
                while sum(map(len, found)) < len(sent):
                    if jobs := feed.take(["a", "b"], Room(50, 4 * JOB_HEAD_BYTES)):
                        found.append(jobs)
                    await asyncio.sleep(0.001)
            assert max(map(len, found)) == 3
            assert sorted(job.job_id for jobs in found for job in jobs) == sorted(job.job_id for job in sent)
            assert feed.depths() == {"a": 0, "b": 0}

    asyncio.run(story())


def test_two_feeds_share_what_there_is_and_nothing_comes_twice(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            (one, _, _), (two, _, _) = await there.feed(), await there.feed()
            one.read(["a"])
            two.read(["a"])
            sent = there.send("a", 300)
            found = await taken(300, one, two)
            ids = [job.job_id for jobs in found for job in jobs]
            assert sorted(ids) == sorted(job.job_id for job in sent)
            await eventually(lambda: one.depths()["a"] + two.depths()["a"] == 0)

    asyncio.run(story())


def test_what_was_claimed_stays_claimed_and_what_was_not_is_for_the_next(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            sent = there.send("a", 30)
            async with open_feed(there.config) as first:
                first.read(["a"])
                (jobs,) = await taken(10, first)
            # One that it had claimed for somebody who asked, and who then had enough, is no more the next one's.
            jobs += first.leftovers(0)
            second, _, _ = await there.feed()
            second.read(["a"])
            (rest,) = await taken(30 - len(jobs), second)
            assert sorted(job.job_id for job in [*jobs, *rest]) == sorted(job.job_id for job in sent)

    asyncio.run(story())


def test_a_job_that_runs_alone_is_given_by_its_own_call_only(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            feed, told, _ = await there.feed()
            (alone,) = there.send("a", 1, alone=True)
            feed.read(["a"])
            await eventually(lambda: feed.waiting_alone(["a"]) == 1)
            assert (feed.take(["a"], Room(5)), feed.waiting_alone(["b"]), feed.take_alone(["b"])) == ([], 0, None)
            assert feed.take_alone(["a"]) is None
            # It has been wished for: it is told of again once it is claimed.
            told.clear()
            await eventually(lambda: any(some_alone for _, _, some_alone in told))
            assert feed.take_alone(["a"]) == alone
            assert (feed.waiting_alone(["a"]), feed.take_alone(["a"])) == (0, None)

    asyncio.run(story())


def test_what_nobody_came_for_is_left_over_once(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            feed, told, _ = await there.feed()
            (alone,) = there.send("a", 1, alone=True)
            feed.read(["a"])
            await eventually(lambda: feed.waiting_alone(["a"]) == 1)
            told.clear()
            feed.take_alone(["a"])
            await eventually(lambda: any(some_alone for _, _, some_alone in told))
            assert feed.leftovers(3_600) == []
            feed.read(())
            assert feed.leftovers(3_600) == [alone]
            assert feed.leftovers(0) == []

    asyncio.run(story())


def test_stops_of_any_process_are_heard(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            said = [Stop(RunId(str(uuid.uuid4())), 3, 2) for _ in range(2)]
            there.broker.stop(said[:1])
            _, _, heard = await there.feed()
            there.broker.stop(said[1:])
            await eventually(lambda: len(heard) == 2)
            assert sorted(heard, key=str) == sorted(said, key=str)

    asyncio.run(story())


def test_records_that_are_no_jobs_are_passed_over(real: Real) -> None:
    async def story() -> None:
        async with place(real) as there:
            feed, _, _ = await there.feed()
            feed.read(["a"])
            records, topic = there.broker._outlets.for_burst(1), there.config.topics.jobs
            ours: list[tuple[str, str | bytes | None]] = [("wf-action", b"a")]
            broken = (b"", b"{", b"\xff", b"[]", b"[" * 100_000, b'{"jobId": "x"}', b'{"action": "a", "payload": 1}')
            for value in broken:
                records.send(topic, None, value, ours, lambda partition, offset, fault: None)
                records.send(topic, None, value, [], lambda partition, offset, fault: None)
            (sent,) = there.send("a", 1)
            (jobs,) = await taken(1, feed)
            assert jobs == [sent]

    asyncio.run(story())
