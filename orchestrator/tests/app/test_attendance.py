"""What processes tell each other of their workers, what they show of it, and the reasons for waiting made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from orchestrator.app.records import Beats, Heard
from orchestrator.app.roll import GOOD_SECONDS, Roll
from orchestrator.app.silent import LOOK_SECONDS, SilentReaders
from orchestrator.app.workers import WorkerStatus
from orchestrator.model.errors import Unavailable, WorkerNotDrainable, WorkerNotFound
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Duration, Time, iso
from orchestrator.model.view import WorkerView
from orchestrator.model.worker import About, Transport
from orchestrator.ports.broker import Incoming
from orchestrator.ports.roster import Presence
from orchestrator.ports.strangers import Stranger
from tests.app.stage import NOW, Stage, answer_of, done, make_stage, waiting


@asynccontextmanager
async def two(**limits: float) -> AsyncIterator[tuple[Stage, Stage]]:
    """Two processes that share the list of workers, and nothing else."""
    async with make_stage(**limits) as here, make_stage(**limits) as there:
        there.roster.entries = here.roster.entries
        yield here, there


async def tell(*stages: Stage) -> None:
    for stage in stages:
        await stage.orchestrator.life.attendance.run_once()


async def live(stage: Stage, seconds: float) -> None:
    """Let time pass for a process whose services run."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(1)
        await tell(stage)


def statuses(workers: Sequence[WorkerView]) -> dict[str, str]:
    return {worker.worker_id: worker.status for worker in workers}


async def shown(stage: Stage) -> dict[str, str]:
    return statuses(await stage.orchestrator.workers())


def heard(stage: Stage, worker_id: str, *actions: str, **more: Any) -> Heard:
    about = About(transport=Transport.KAFKA, actions=actions, sdk="sdk", concurrency=more.pop("concurrency", 1))
    word = {"good_for": Duration(30 * MICROS), "is_leaving": False, "produced_at": stage.clock.now(), **more}
    return Heard(worker_id, about, **word)


# --- workers over HTTP -----------------------------------------------------------------------------------------------


async def test_a_worker_is_shown_by_every_process() -> None:
    async with two() as (here, there):
        here.register("w", "calm")
        assert await shown(there) == {}
        await tell(here)
        (mine,), (theirs,) = await here.orchestrator.workers(), await there.orchestrator.workers()
        assert mine == theirs
        assert (theirs.transport, theirs.actions, theirs.registered_at) == ("http", ["calm"], iso(here.clock.now()))
        assert await there.orchestrator.worker("w") == theirs
        with pytest.raises(WorkerNotFound):
            await there.orchestrator.worker("nobody")


async def test_a_worker_that_says_nothing_new_costs_a_row_every_seven_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with make_stage() as stage:
        told: list[Sequence[Presence]] = []

        async def overhear(workers: Sequence[Presence]) -> list[str]:
            told.append(workers)
            return []

        monkeypatch.setattr(stage.roster, "tell", overhear)
        stage.register("w", "calm")
        await live(stage, 60)
        # It has not called again: there was nothing to tell but that it is there.
        assert len(told) == 1
        told.clear()
        wait = await waiting(stage.exchange("w", capacity=1, wait=60))
        await live(stage, 59)
        assert 7 <= len(told) <= 8
        assert all(word.good_for == 30 * MICROS for (word,) in told)
        await answer_of(wait, 2)


async def test_a_worker_that_leaves_or_is_silent_is_gone_everywhere() -> None:
    async with two() as (here, there):
        here.register("leaves", "calm")
        here.register("silent", "calm", lease=10)
        await tell(here)
        assert await shown(there) == {"leaves": "CONNECTED", "silent": "CONNECTED"}
        await here.gateway.leave("leaves")
        await tell(here)
        assert await shown(there) == await shown(here) == {"leaves": "GONE", "silent": "CONNECTED"}
        await live(here, 11)
        assert await shown(there) == await shown(here) == {"leaves": "GONE", "silent": "GONE"}


async def test_workers_of_a_process_that_died_are_gone_soon_whatever_their_lease() -> None:
    async with two() as (here, there):
        here.register("w", "calm", lease=3_600)
        await live(here, 100)
        assert await shown(there) == {"w": "CONNECTED"}
        await asyncio.sleep(31)
        assert await shown(there) == {"w": "GONE"}
        await tell(here)
        assert await shown(there) == {"w": "CONNECTED"}


async def test_who_goes_on_at_another_process_is_shown_as_that_one_knows_it() -> None:
    async with two() as (here, there):
        here.register("w", "calm")
        await tell(here)
        await asyncio.sleep(20)
        there.register("w", "calm", "wild")
        await tell(there, here)
        for stage in (here, there):
            (worker,) = await stage.orchestrator.workers()
            assert (worker.actions, worker.status) == (["calm", "wild"], "CONNECTED")
            assert (await stage.orchestrator.worker("w")).actions == ["calm", "wild"]
        assert (await here.orchestrator.drain("w")).status == "DRAINING"
        await live(there, 9)
        await there.exchange("w")
        await live(there, 2)
        assert there.gateway.workers.find("w").draining
        # Here it is over, but there it is not.
        assert here.gateway.workers.find("w").status(here.clock.monotonic()) is WorkerStatus.GONE
        assert await shown(here) == {"w": "DRAINING"}


async def test_a_worker_is_drained_from_any_process() -> None:
    async with two() as (here, there):
        here.register("w", "calm", lease=60)
        await tell(here)
        assert (await there.orchestrator.drain("w")).status == "DRAINING"
        assert not (await here.exchange("w")).draining
        await live(here, 9)
        assert (await here.exchange("w")).draining
        assert await shown(here) == await shown(there) == {"w": "DRAINING"}
        here.register("w", "calm")
        await tell(here)
        assert await shown(there) == {"w": "CONNECTED"}
        with pytest.raises(WorkerNotFound):
            await there.orchestrator.drain("nobody")
        await here.gateway.leave("w")
        await tell(here)
        with pytest.raises(WorkerNotFound, match="has gone"):
            await there.orchestrator.drain("w")


async def test_who_went_away_long_ago_is_taken_off_the_list() -> None:
    async with two(worker_forget_seconds=100) as (here, there):
        here.register("w", "calm")
        await tell(here)
        await asyncio.sleep(99)
        assert await shown(there) == {"w": "GONE"}
        await asyncio.sleep(2)
        assert await shown(there) == {}
        await tell(there)
        assert there.roster.entries == {}


async def test_a_failing_store_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async with two() as (here, there):
        here.register("w", "calm")
        tell_it = here.roster.tell

        async def fail(workers: Sequence[Presence]) -> list[str]:
            raise Unavailable("no store")

        monkeypatch.setattr(here.roster, "tell", fail)
        service = asyncio.create_task(here.orchestrator.life.attendance.run())
        await asyncio.sleep(5)
        assert not service.done()
        monkeypatch.setattr(here.roster, "tell", tell_it)
        await asyncio.sleep(1.5)
        assert await shown(there) == {"w": "CONNECTED"}
        service.cancel()


# --- workers over Kafka ----------------------------------------------------------------------------------------------


async def test_a_worker_over_kafka_is_shown_by_every_process_while_it_beats() -> None:
    async with two() as (here, there):
        attendance = here.orchestrator.life.attendance
        attendance.heard([heard(here, "k", "calm")])
        await tell(here)
        began = iso(here.clock.now())
        (worker,) = await there.orchestrator.workers()
        assert (worker.transport, worker.status, worker.actions) == ("kafka", "CONNECTED", ["calm"])
        await asyncio.sleep(20)
        # Its next sign of life comes to the other process, and the first one dies.
        there.orchestrator.life.attendance.heard([heard(there, "k", "calm")])
        await tell(there)
        await asyncio.sleep(29)
        (worker,) = await here.orchestrator.workers()
        assert (worker.status, worker.registered_at) == ("CONNECTED", began)
        await asyncio.sleep(1.5)
        assert await shown(here) == await shown(there) == {"k": "GONE"}


async def test_a_worker_over_kafka_that_takes_leave_is_gone_at_once_and_may_come_back() -> None:
    async with two() as (here, there):
        attendance = here.orchestrator.life.attendance
        for is_leaving, expected in ((False, "CONNECTED"), (True, "GONE"), (False, "CONNECTED")):
            attendance.heard([heard(here, "k", "calm", is_leaving=is_leaving)])
            await tell(here)
            assert await shown(there) == {"k": expected}
            await asyncio.sleep(5)
        assert (await there.orchestrator.worker("k")).registered_at == iso(here.clock.now() - 5 * MICROS)


async def test_a_worker_over_kafka_is_stopped_where_it_runs() -> None:
    async with two() as (here, there):
        here.orchestrator.life.attendance.heard([heard(here, "k", "calm")])
        await tell(here)
        with pytest.raises(WorkerNotDrainable, match="SIGTERM"):
            await there.orchestrator.drain("k")


async def test_signs_of_life_that_waited_for_long_and_too_many_workers_are_passed_over() -> None:
    async with make_stage(workers_max=2) as stage:
        attendance = stage.orchestrator.life.attendance
        old = Time(stage.clock.now() - 901 * MICROS)
        attendance.heard([heard(stage, "old", produced_at=old), *(heard(stage, f"k{n}") for n in range(3))])
        await tell(stage)
        assert await shown(stage) == {"k0": "CONNECTED", "k1": "CONNECTED"}
        attendance.heard([heard(stage, "k0", is_leaving=True)])
        await tell(stage)
        attendance.heard([heard(stage, "k2")])
        await tell(stage)
        assert list(stage.roster.entries) == ["k0", "k1", "k2"]


async def test_workers_are_counted_by_the_process_that_tells_of_them() -> None:
    async with two() as (here, there):
        here.register("w", "calm")
        here.register("left", "calm")
        await here.gateway.leave("left")
        there.orchestrator.life.attendance.heard([heard(there, "k1"), heard(there, "k2")])
        await tell(here, there)
        assert here.orchestrator.life.attendance.counts() == {
            (Transport.HTTP, WorkerStatus.CONNECTED): 1,
            (Transport.HTTP, WorkerStatus.GONE): 1,
        }
        assert there.orchestrator.life.attendance.counts() == {(Transport.KAFKA, WorkerStatus.CONNECTED): 2}


# --- what a heartbeat says -------------------------------------------------------------------------------------------


def beats(**record: Any) -> Beats:
    found = Beats(Limits())
    found.add(Incoming(msgspec.json.encode({"workerId": "k", **record}), NOW, 0, 0))
    return found


@pytest.mark.parametrize(
    ("said", "good_for"),
    [
        ({}, 30),
        ({"lease": 5}, 30),
        ({"lease": "2m"}, 120),
        ({"lease": 3_600, "heartbeat": 10}, 30),
        ({"heartbeat": "20s"}, 60),
        ({"heartbeat": 0}, 1),
        ({"heartbeat": 100_000}, 3_600),
        ({"heartbeat": "often"}, 30),
    ],
)
def test_a_heartbeat_says_how_long_its_worker_is_there(said: dict[str, Any], good_for: int) -> None:
    (worker,) = beats(**said).workers.values()
    assert worker.good_for == good_for * MICROS


@pytest.mark.parametrize(
    ("said", "is_full"),
    [({}, False), ({"capacity": None}, False), ({"capacity": 3}, False), ({"capacity": 0}, True)],
)
def test_a_heartbeat_may_say_that_its_worker_can_start_no_job(said: dict[str, Any], is_full: bool) -> None:
    (worker,) = beats(concurrency=3, **said).workers.values()
    assert worker.is_full is is_full


def test_odd_words_of_a_worker_are_left_out() -> None:
    odd = {"actions": ["ok", "ok", "", "n\0", "x" * 129], "sdk": "s" * 999, "pid": -1, "concurrency": 2**70, "new": {}}
    (worker,) = beats(**odd).workers.values()
    assert worker.about == About(transport=Transport.KAFKA, actions=("ok",), sdk="s" * 255)
    assert beats(workerId="n\0").workers == {}
    assert beats(workerId="").workers == {}
    assert len(beats(workerId=7).refused) == 1


# --- reasons ---------------------------------------------------------------------------------------------------------


class Groups:
    """See `ports.strangers.Strangers`."""

    def __init__(self, *found: Stranger) -> None:
        self.found: Sequence[Stranger] | None = found
        self.asked = 0
        self.seconds = 0.0

    async def strangers(self) -> Sequence[Stranger]:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if self.found is None:
            raise Unavailable("no broker")
        return self.found

    def topic_of(self, action: str) -> str:
        return "own" if action == "routed" else ""


def put_beside(stage: Stage, groups: Groups) -> None:
    """Let a process know of groups."""
    roll = stage.orchestrator.life.roll
    roll._silent = SilentReaders(groups)
    assert isinstance(roll, Roll)


async def reason(stage: Stage, run_id: Any) -> str:
    """Say why a run waits, without the step and the time; looked up anew."""
    await asyncio.sleep(GOOD_SECONDS + 0.1)
    said = (await stage.view(run_id)).waiting_for or ""
    return said.split(": ", 1)[1].rsplit(" since ", 1)[0]


async def test_the_reason_counts_workers_of_all_processes_and_kinds() -> None:
    async with two() as (here, there):
        await there.define("calm")
        first = await there.trigger()
        assert await reason(there, first) == "no connected worker has a handler for this action,"
        attendance = here.orchestrator.life.attendance
        attendance.heard([heard(here, "k", "calm", concurrency=0)])
        await tell(here)
        assert await reason(there, first) == "the only worker that has a handler for this action is busy, queued"
        attendance.heard([heard(here, "k2", "calm", concurrency=0), heard(here, "k3", "other")])
        await tell(here)
        assert await reason(there, first) == "all 2 workers that have a handler for this action are busy, queued"
        here.register("w", "calm")
        await tell(here)
        assert await reason(there, first) == "queued for a free worker"


async def test_a_worker_whose_hands_are_full_is_busy() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        runs = [await stage.trigger() for _ in range(2)]
        stage.register("w", "calm")
        worker = stage.gateway.workers.find("w")
        worker.about = msgspec.structs.replace(worker.about, concurrency=1)
        job = await stage.take_one("w")
        assert await reason(stage, runs[0]) == "worker w has been at it"
        assert await reason(stage, runs[1]) == "the only worker that has a handler for this action is busy, queued"
        await stage.exchange("w", done(job))
        assert await reason(stage, runs[1]) == "queued for a free worker"


async def test_a_worker_that_is_full_of_jobs_that_nobody_sees_is_busy_for_every_process() -> None:
    busy = "the only worker that has a handler for this action is busy, queued"
    async with two() as (here, there):
        await there.define("calm")
        run_id = await there.trigger()
        attendance = here.orchestrator.life.attendance
        for is_full, expected in ((False, "queued for a free worker"), (True, busy)):
            # It says so a moment after another word, and that is told at once.
            attendance.heard([heard(here, "k", "calm", concurrency=10, is_full=is_full)])
            await tell(here)
            assert await reason(there, run_id) == expected
        await asyncio.sleep(10)
        attendance.heard([heard(here, "k", "calm", concurrency=10)])
        await tell(here)
        assert await reason(there, run_id) == "queued for a free worker"


async def test_a_worker_over_http_that_has_its_hands_full_is_busy_for_every_process() -> None:
    async with two() as (here, there):
        for stage in (here, there):
            await stage.define("calm")
        run_id = await there.trigger()
        here.register("w", "calm")
        worker = here.gateway.workers.find("w")
        worker.about = msgspec.structs.replace(worker.about, concurrency=1)
        await tell(here)
        assert await reason(there, run_id) == "queued for a free worker"
        await here.trigger()
        job = await here.take_one("w")
        await tell(here)
        assert await reason(there, run_id) == "the only worker that has a handler for this action is busy, queued"
        await here.exchange("w", done(job))
        wait = await waiting(here.exchange("w", capacity=1, wait=60))
        await live(here, 10)
        assert await reason(there, run_id) == "queued for a free worker"
        await here.trigger()
        await answer_of(wait)


async def test_workers_that_drain_do_not_count_as_free() -> None:
    async with two() as (here, there):
        await there.define("calm")
        run_id = await there.trigger()
        here.register("w", "calm", lease=60)
        here.gateway.drain("w")
        await tell(here)
        assert await reason(there, run_id) == "only workers that are draining have a handler for this action,"


async def test_groups_that_give_no_signs_of_life_may_have_a_handler() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        run_id = await stage.trigger()
        put_beside(
            stage, Groups(Stranger("raw", ""), Stranger("x", "own"), Stranger("workflow-worker.wild", "", "wild"))
        )
        said = (
            "no worker that gives signs of life has a handler for this action; the consumer group raw may take or have"
        )
        assert await reason(stage, run_id) == f"{said} this job,"
        put_beside(stage, Groups(*(Stranger(name, "") for name in "dcbae")))
        said = "no worker that gives signs of life has a handler for this action; one of the consumer groups a, b, c"
        assert await reason(stage, run_id) == f"{said} and 2 more may take or have this job,"
        put_beside(stage, Groups())
        assert await reason(stage, run_id) == "no connected worker has a handler for this action,"
        # Where a worker is known, nobody else is asked for.
        stage.register("w", "calm")
        groups = Groups(Stranger("raw", ""))
        put_beside(stage, groups)
        assert await reason(stage, run_id) == "queued for a free worker"
        assert groups.asked == 0


async def test_a_broker_that_does_not_answer_holds_up_nobody_for_long() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        run_id = await stage.trigger()
        groups = Groups()
        groups.found = None
        put_beside(stage, groups)
        unknown = "no connected worker has a handler for this action, and Kafka does not say who else reads its jobs,"
        for _ in range(3):
            assert await reason(stage, run_id) == unknown
        assert groups.asked == 1
        await asyncio.sleep(LOOK_SECONDS)
        groups.seconds = 10
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(5):
            assert (await stage.view(run_id)).waiting_for is not None
        assert (groups.asked, loop.time() - began) == (2, 1)
        stage.orchestrator.life.roll.close()


async def test_what_no_worker_does_is_said_with_who_may() -> None:
    async with two() as (here, there):
        await there.define("calm", "wild", "routed")
        here.register("w", "calm")
        await tell(here)
        put_beside(
            there,
            Groups(
                Stranger("raw", ""),
                Stranger("workflow-worker.calm", "", "calm"),
                Stranger("workflow-worker.wild", "", "wild"),
            ),
        )
        unserved = await there.orchestrator.unserved()
        assert (unserved.actions, unserved.groups) == (["routed", "wild"], ["raw", "workflow-worker.wild"])
