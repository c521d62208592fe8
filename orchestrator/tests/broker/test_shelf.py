"""What a reader of jobs has: nothing is given that is not claimed, and offsets never say more than was claimed."""

from __future__ import annotations

import random

from orchestrator.adapters.kafka.shelf import Read, Shelf
from orchestrator.model.job import Job, JobId
from orchestrator.model.json import NULL, Json
from orchestrator.model.run import RunId
from orchestrator.ports.queue import JOB_HEAD_BYTES, Room


def read(partition: int, offset: int, *, alone: bool = False, payload: Json = NULL) -> Read:
    name = f"{partition}-{offset}"
    job = Job(
        job_id=JobId(f"{name}:0"),
        run_id=RunId(name),
        workflow_id="flow",
        step=0,
        attempt=1,
        action="a",
        payload=payload,
        alone=alone,
    )
    return Read(job, partition, offset)


def shelf(*reads: Read, safe: bool = True) -> Shelf:
    """A shelf with these jobs, in partitions that begin at 0."""
    made = Shelf()
    starts = {one.partition: 0 for one in reads}
    made.assign(starts)
    if safe:
        made.confirm(starts)
    ends: dict[int, int] = {}
    for one in reads:
        ends[one.partition] = one.offset + 1
    made.put(reads, ends)
    return made


def names(jobs: list[Job]) -> list[str]:
    return sorted(job.run_id for job in jobs)


def test_the_offset_to_commit_is_the_first_that_was_not_claimed() -> None:
    made = shelf(read(0, 3), read(0, 7))
    assert made.changes() == {0: 3}
    assert names(made.take(Room(1))) == ["0-3"]
    assert made.changes() == {0: 7}
    assert names(made.take(Room(5))) == ["0-7"]
    assert made.changes() == {0: 8}
    made.expect({0: 8})
    assert made.changes() == {}
    made.doubt({0: 8})
    assert (made.changes(), made.count, made.size) == ({0: 8}, 0, 0)


def test_records_of_other_actions_count_as_passed() -> None:
    made = shelf(read(0, 1))
    made.put([], {0: 40, 1: 9})
    made.take(Room(1))
    # Partition 1 is not here.
    assert made.changes() == {0: 40}


def test_an_unsafe_partition_gives_its_first_job_once_that_is_committed_and_then_the_others() -> None:
    made = shelf(read(0, 0), read(0, 1), read(1, 0), safe=False)
    assert made.pick() == []
    assert (made.take(Room(5)), made.has_wish) == ([], True)
    picked = made.pick()
    assert [(one.partition, one.offset) for one in picked] == [(0, 0), (1, 0)]
    assert (made.take(Room(5)), made.changes_of(picked)) == ([], {0: 1, 1: 1})
    made.confirm(made.changes_of(picked))
    made.secure(picked)
    assert names(made.take(Room(5))) == ["0-0", "0-1", "1-0"]


def test_what_could_not_be_committed_is_not_given_and_comes_first_again() -> None:
    made = shelf(read(0, 0), read(0, 1), safe=False)
    made.take(Room(1))
    made.put_back(made.pick())
    assert (made.count, made.changes()) == (2, {})
    made.take(Room(1))
    (again,) = made.pick()
    assert again.offset == 0


def test_a_partition_that_is_gone_takes_its_jobs_along_but_not_the_claimed_ones() -> None:
    made = shelf(read(0, 0), read(0, 1), read(1, 0), read(1, 1, alone=True))
    taken = made.take(Room(1))
    (gone,) = {int(job.run_id[0]) for job in taken}
    assert made.let_go([gone, 7]) == {gone: 1}
    rest = names(made.take(Room(5)))
    assert all(name[0] != str(gone) for name in rest)
    made.put([read(gone, 2)], {gone: 3})
    assert made.take(Room(5)) == []


def test_a_job_that_does_not_fit_comes_first_next_time_whatever_else_there_is() -> None:
    reads = [read(partition, offset) for partition in range(3) for offset in range(30)]
    reads[30] = read(1, 0, payload=Json(b"9" * JOB_HEAD_BYTES))
    made = shelf(*reads)
    answers: list[list[str]] = []
    while taken := made.take(Room(5, 3 * JOB_HEAD_BYTES)):
        answers.append(names(taken))
    assert sorted(name for answer in answers for name in answer) == names([one.job for one in reads])
    refused_by = next(place for place, answer in enumerate(answers) if "1-0" in answer)
    # Each partition has its turn: the first one that finds it too large is the third at the latest.
    assert refused_by <= 3


def test_what_was_claimed_and_does_not_fit_is_kept_for_the_next() -> None:
    made = shelf(read(0, 0), read(1, 0), safe=False)
    made.take(Room(5))
    picked = made.pick()
    made.confirm(made.changes_of(picked))
    made.secure(picked)
    room = 2 * JOB_HEAD_BYTES
    assert [names(made.take(Room(5, room))) for _ in range(3)] == [["0-0"], ["1-0"], []]


def test_what_was_picked_from_a_partition_that_is_gone_does_not_come_back() -> None:
    made = shelf(read(0, 0, alone=True))
    made.take_alone()
    picked = made.pick()
    made.let_go([0])
    made.put_back(picked)
    assert (made.count, made.waiting_alone(), made.partitions) == (0, 0, [])


def test_a_job_that_runs_alone_holds_back_its_partition_only() -> None:
    made = shelf(read(0, 0, alone=True), read(0, 1), read(1, 0))
    assert names(made.take(Room(5))) == ["1-0"]
    assert (made.waiting_alone(), made.changes()) == (1, {1: 1})
    assert made.take_alone() is None
    picked = made.pick()
    made.confirm(made.changes_of(picked))
    made.secure(picked)
    assert (made.waiting_alone(), names(made.take(Room(5)))) == (1, ["0-1"])
    alone = made.take_alone()
    assert alone is not None
    assert (alone.run_id, made.waiting_alone(), made.take_alone()) == ("0-0", 0, None)


def test_whatever_happens_no_job_is_given_twice_or_committed_before_it_is_claimed() -> None:
    for seed in range(200):
        chance = random.Random(seed)
        made = Shelf()
        given: list[str] = []
        committed = {0: 0, 1: 0}
        ends = {0: 0, 1: 0}
        made.assign(dict(committed))
        for _ in range(60):
            partition = chance.randrange(2)
            match chance.randrange(7):
                case 0 | 1:
                    # Only what is here is read.
                    if partition in made.partitions:
                        new = read(partition, ends[partition], alone=chance.random() < 0.2)
                        ends[partition] += 1
                        made.put([new], {partition: ends[partition]})
                case 2:
                    given += names(made.take(Room(chance.randrange(1, 4), JOB_HEAD_BYTES * chance.randrange(4))))
                case 3:
                    alone = made.take_alone()
                    given += [] if alone is None else [alone.run_id]
                case 4:
                    picked = made.pick()
                    changes = made.changes_of(picked)
                    if chance.random() < 0.7:
                        committed.update(changes)
                        made.confirm(changes)
                        made.secure(picked)
                    else:
                        made.put_back(picked)
                case 5:
                    changes = made.changes()
                    committed.update(changes)
                    made.expect(changes)
                case 6:
                    committed.update(made.let_go([partition]))
                    # The same reader gets it again, from where it was committed.
                    ends[partition] = committed[partition]
                    made.assign({partition: committed[partition]})
        claimed = {*given, *(job.run_id for job in made.leftovers(0))}
        assert len(given) == len(set(given)), seed
        for partition, offset in committed.items():
            passed = {f"{partition}-{number}" for number in range(offset)}
            assert passed <= claimed, seed
