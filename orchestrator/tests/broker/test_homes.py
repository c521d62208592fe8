"""Where runs are at home: their results go to the process that knows them."""

from __future__ import annotations

from uuid import UUID

from orchestrator.adapters.kafka.homes import BEHIND_SECONDS, HEADER, STAY_SECONDS, WAITING_MIN, Homes, SettledChance
from orchestrator.adapters.system import SystemChance
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.run import RunId
from orchestrator.model.times import Time
from tests.broker.hand import Hand
from tests.broker.site import RawWorker, Site, define, ended, eventually, trigger

PARTITIONS = 12
RUN = RunId("01a22d1d-0dab-7cea-808a-29457981d4fc")


def home_of(homes: Homes, run_id: RunId) -> int:
    ((name, value),) = homes.header_of(run_id)
    assert name == HEADER
    return int(value)


def reading(*partitions: int, clock: Hand | None = None) -> Homes:
    homes = Homes(PARTITIONS, clock or Hand())
    homes.note(partitions, 0, 0.0)
    return homes


def test_a_new_run_is_at_home_where_its_process_reads() -> None:
    chance = SettledChance(SystemChance(), homes := reading(3))
    runs = [chance.run_id(Time(1_700_000_000_000_000)) for _ in range(200)]
    assert {home_of(homes, run_id) for run_id in runs} == {3}
    assert len(set(runs)) == len(runs)
    assert all(UUID(run_id).version == 7 and str(UUID(run_id)) == run_id for run_id in runs)


def test_every_number_of_the_last_digits_can_be_settled() -> None:
    for home in (0, 7, PARTITIONS - 1):
        homes = reading(home)
        for last in (0, 1, PARTITIONS, 0x7FFF, 0xFFF0, 0xFFFE, 0xFFFF):
            settled = homes.settle(RunId(f"{RUN[:-4]}{last:04x}"))
            assert home_of(homes, settled) == home
            assert settled[:-4] == RUN[:-4]
            assert len(settled) == len(RUN)


def test_all_processes_say_the_same_of_a_run() -> None:
    assert home_of(reading(3), RUN) == home_of(reading(), RUN) == 0xD4FC % PARTITIONS


def test_a_process_takes_its_partitions_by_turns() -> None:
    homes = reading(2, 5, 7, clock=(clock := Hand()))
    seen = []
    for _ in range(6):
        seen.append(home_of(homes, homes.settle(RUN)))
        assert home_of(homes, homes.settle(RUN)) == seen[-1]
        clock.now += STAY_SECONDS
    assert sorted(seen) == [2, 2, 5, 5, 7, 7]
    assert seen[:3] == seen[3:]


def test_who_reads_nothing_or_is_behind_leaves_it_to_chance() -> None:
    homes = reading()
    assert homes.settle(RUN) == RUN
    homes.note((3,), WAITING_MIN + 1, 0.0)
    assert homes.settle(RUN) == RUN
    homes.note((3,), WAITING_MIN, 0.0)
    assert homes.settle(RUN) != RUN
    much = 100 * WAITING_MIN
    homes.note((3,), much + 1, much / BEHIND_SECONDS)
    assert homes.settle(RUN) == RUN
    homes.note((3,), much, much / BEHIND_SECONDS)
    assert homes.settle(RUN) != RUN


def test_where_the_number_of_partitions_is_not_known_there_are_no_homes() -> None:
    homes = Homes(0)
    homes.note((3,), 0, 0.0)
    assert homes.settle(RUN) == RUN
    assert homes.header_of(RUN) == ()


def test_an_id_of_another_form_has_no_home() -> None:
    assert reading(3).header_of(RunId("a run")) == ()


async def test_a_job_names_the_partition_that_the_process_reads_which_started_its_run(
    site: Site, raw: RawWorker
) -> None:
    async def home(orchestrator: Orchestrator) -> bytes:
        run_id = await trigger(orchestrator)
        message = await raw.message()
        raw.answer({"workflowRunId": run_id, "action": "step1"}, "done")
        assert (await ended(orchestrator, run_id)).status == "COMPLETED"
        headers = dict(message.headers() or [])
        value = headers[HEADER]
        assert isinstance(value, bytes)
        return value

    async with site.process() as one, site.process() as other:
        await define(one, {"action": "step1"})

        async def are_apart() -> bool:
            # Until both have their partitions, and a moment longer, chance may choose.
            ours, theirs = [{await home(process) for _ in range(6)} for process in (one, other)]
            return not ours & theirs

        await eventually(are_apart)
