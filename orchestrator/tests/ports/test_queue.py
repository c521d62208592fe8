"""The contract of `ports.queue`: first in, first out, each job once, and never more than the bounds."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.embedded import EmbeddedQueue
from orchestrator.model.job import Job, JobId
from orchestrator.model.json import Json
from orchestrator.model.run import RunId
from orchestrator.ports.queue import JOB_HEAD_BYTES, JobQueue, Room

Make = Callable[..., JobQueue]
LARGE = 1_000_000


@pytest.fixture(params=["embedded"])
def make(request: pytest.FixtureRequest) -> Make:
    """Make an empty queue with bounds."""

    def embedded(jobs_max: int = LARGE, bytes_max: int = LARGE) -> JobQueue:
        return EmbeddedQueue(jobs_max, bytes_max)

    return embedded


def job(name: str, action: str = "a", *, attempt: int = 1, alone: bool = False, payload: bytes = b"null") -> Job:
    run_id, _, step = name.partition(":")
    return Job(
        job_id=JobId(f"{run_id}:{step or 0}"),
        run_id=RunId(run_id),
        workflow_id="flow",
        step=int(step or 0),
        attempt=attempt,
        action=action,
        payload=Json(payload),
        alone=alone,
    )


def names(jobs: list[Job]) -> list[str]:
    return [one.run_id for one in jobs]


# --- room ----------------------------------------------------------------------------------------------------------


def test_there_is_room_for_so_many_jobs_and_bytes_and_for_the_first_whatever_its_size() -> None:
    large, small = job("large", payload=b"9" * 5_000), job("small", payload=b"9" * 1_000)
    room = Room(3, 2 * (1_000 + JOB_HEAD_BYTES))
    assert [room.takes(one) for one in (small, small)] == [True, True]
    assert (room.jobs, room.takes(job("empty", payload=b""))) == (1, False)
    # From then on there is none for anybody.
    assert (room.jobs, room.has_refused) == (0, True)
    room.put_out(small)
    assert (room.jobs, room.takes(small)) == (2, True)
    assert [Room(1, 1).takes(one) for one in (large, small)] == [True, True]
    assert not Room(0).takes(small)
    few = Room(2)
    assert ([few.takes(large) for _ in range(3)], few.has_refused) == ([True, True, False], False)


def test_what_an_earlier_attempt_said_takes_room_too() -> None:
    room = Room(2, 2 * JOB_HEAD_BYTES + 999)
    said = msgspec.structs.replace(job("1"), details=Json(b"9" * 990))
    assert [room.takes(one) for one in (said, job("2", payload=b"123456"))] == [True, False]


def test_a_job_that_does_not_fit_comes_first_next_time(make: Make) -> None:
    queue = make()
    sizes = [("1", "a", 100), ("2", "b", 3_000), ("3", "a", 100), ("4", "b", 100)]
    queue.publish([job(name, action, payload=b"9" * size) for name, action, size in sizes])
    queue.withdraw(RunId("3"), 0)
    room = 3 * JOB_HEAD_BYTES
    assert [names(queue.take(["a", "b"], Room(10, room))) for _ in range(4)] == [["1"], ["2"], ["4"], []]


# --- order -------------------------------------------------------------------------------------------------------


def test_jobs_come_out_in_the_order_they_came_in_across_actions(make: Make) -> None:
    queue = make()
    assert queue.publish([job("1", "a"), job("2", "b"), job("3", "c")])
    assert queue.publish([job("4", "b"), job("5", "a")])
    assert names(queue.take(["b", "a"], Room(3))) == ["1", "2", "4"]
    assert names(queue.take(["a", "b", "c"], Room(10))) == ["3", "5"]
    assert queue.take(["a", "b", "c"], Room(10)) == []


def test_only_jobs_of_the_asked_actions_come_out(make: Make) -> None:
    queue = make()
    queue.publish([job("1", "a"), job("2", "b")])
    assert names(queue.take(["b", "unknown"], Room(10))) == ["2"]
    assert queue.take([], Room(10)) == []
    assert queue.take(["a"], Room(0)) == []
    assert queue.depths() == {"a": 1}


def test_a_job_comes_out_as_it_went_in(make: Make) -> None:
    queue = make()
    one = job("1", payload=b'{"n": 1.50}')
    queue.publish([one])
    assert queue.take(["a"], Room(1)) == [one]


def test_jobs_that_run_alone_are_kept_apart(make: Make) -> None:
    queue = make()
    queue.publish([job("1", alone=True), job("2"), job("3", "b", alone=True), job("4", alone=True)])
    assert names(queue.take(["a", "b"], Room(10))) == ["2"]
    assert queue.waiting_alone(["a", "b"]) == 3
    assert queue.waiting_alone(["b"]) == 1
    assert queue.waiting_alone(["c"]) == 0
    order = []
    while (one := queue.take_alone(["b", "a"])) is not None:
        order.append(one.run_id)
    assert order == ["1", "3", "4"]
    assert queue.waiting_alone(["a", "b"]) == 0


def test_the_oldest_job_that_runs_alone_is_of_an_asked_action(make: Make) -> None:
    queue = make()
    queue.publish([job("1", "a", alone=True), job("2", "b", alone=True)])
    found = queue.take_alone(["b"])
    assert found is not None
    assert found.run_id == "2"
    assert queue.take_alone(["b"]) is None


# --- each job once ------------------------------------------------------------------------------------------------


def test_a_job_that_is_held_is_not_added_again(make: Make) -> None:
    queue = make()
    assert queue.publish([job("1"), job("2"), job("1")])
    assert queue.publish([job("2")])
    assert names(queue.take(["a"], Room(10))) == ["1", "2"]


def test_another_step_of_the_run_is_another_job(make: Make) -> None:
    queue = make()
    queue.publish([job("1:0"), job("1:1")])
    assert [one.step for one in queue.take(["a"], Room(10))] == [0, 1]


def test_a_later_attempt_takes_the_place_of_an_earlier_one(make: Make) -> None:
    queue = make()
    queue.publish([job("1", attempt=1), job("2")])
    assert queue.publish([job("1", attempt=2, alone=True)])
    assert names(queue.take(["a"], Room(10))) == ["2"]
    found = queue.take_alone(["a"])
    assert found is not None
    assert found.attempt == 2
    assert queue.depths() == {}


def test_an_earlier_attempt_does_not_take_the_place_of_a_later_one(make: Make) -> None:
    queue = make()
    queue.publish([job("1", attempt=3)])
    assert queue.publish([job("1", attempt=2)])
    assert [one.attempt for one in queue.take(["a"], Room(10))] == [3]


def test_a_job_that_was_taken_can_come_again(make: Make) -> None:
    queue = make()
    for _ in range(3):
        queue.publish([job("1")])
        assert names(queue.take(["a"], Room(1))) == ["1"]


# --- withdrawing ---------------------------------------------------------------------------------------------------


def test_a_withdrawn_job_does_not_come_out(make: Make) -> None:
    queue = make()
    queue.publish([job("1"), job("2"), job("3", alone=True)])
    for name in ("1", "3", "never there"):
        queue.withdraw(RunId(name), 0)
    assert not queue.holds(RunId("1"), 0)
    assert queue.holds(RunId("2"), 0)
    assert queue.waiting_alone(["a"]) == 0
    assert queue.take_alone(["a"]) is None
    assert names(queue.take(["a"], Room(10))) == ["2"]


def test_a_withdrawn_job_can_come_again_at_the_end(make: Make) -> None:
    queue = make()
    queue.publish([job("1"), job("2")])
    queue.withdraw(RunId("1"), 0)
    queue.publish([job("1")])
    assert names(queue.take(["a"], Room(10))) == ["2", "1"]


@pytest.mark.parametrize("alone", [False, True])
def test_withdrawn_jobs_do_not_stay_in_memory(make: Make, alone: bool) -> None:
    """Nobody may ever ask for their action, so that they are not met on the way."""

    class Watched(Job):
        """A job that can be watched."""

    queue = make()
    jobs = [
        Watched(**{name: getattr(job(f"{number}", alone=alone), name) for name in Job.__struct_fields__})
        for number in range(2_000)
    ]
    queue.publish(jobs)
    jobs.clear()
    for number in range(2_000):
        queue.withdraw(RunId(f"{number}"), 0)
    gc.collect()
    left = [one for one in gc.get_objects() if type(one) is Watched]
    assert len(left) <= 200
    assert queue.depths() == {}


def test_letting_go_of_withdrawn_jobs_keeps_the_others_in_order(make: Make) -> None:
    queue = make()
    queue.publish([job(f"{number}", "ab"[number % 2], alone=number % 5 == 0) for number in range(1_000)])
    for number in range(1_000):
        if number % 10 > 3:
            queue.withdraw(RunId(f"{number}"), 0)
    expected = [number for number in range(1_000) if number % 10 <= 3]
    assert names(queue.take("ab", Room(5_000))) == [f"{number}" for number in expected if number % 5]
    alone = [found.run_id for _ in range(1_000) if (found := queue.take_alone("ab")) is not None]
    assert alone == [f"{number}" for number in expected if number % 5 == 0]


# --- bounds --------------------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_not_held(make: Make) -> None:
    queue = make(jobs_max=3)
    assert not queue.publish([job(f"{number}") for number in range(5)])
    assert queue.depths() == {"a": 3}
    assert not queue.publish([job("9")])
    assert names(queue.take(["a"], Room(10))) == ["0", "1", "2"]
    assert queue.publish([job("9")])


def test_a_job_that_is_held_already_fits(make: Make) -> None:
    queue = make(jobs_max=1)
    assert queue.publish([job("1")])
    assert queue.publish([job("1")])
    assert queue.publish([job("1", attempt=2)])
    assert queue.depths() == {"a": 1}


def test_payloads_count(make: Make) -> None:
    queue = make(bytes_max=100)
    assert queue.publish([job("1", payload=b"x" * 60), job("2", payload=b"x" * 60)])
    assert not queue.publish([job("3", payload=b"x")])
    queue.withdraw(RunId("1"), 0)
    assert queue.publish([job("3", payload=b"x")])


def test_one_job_fits_whatever_its_size(make: Make) -> None:
    queue = make(bytes_max=10)
    assert queue.publish([job("1", payload=b"x" * 1_000)])


def test_there_is_room_again_before_the_queue_is_empty_but_not_while_it_is_nearly_full(make: Make) -> None:
    queue = make(jobs_max=10)
    assert queue.has_room
    queue.publish([job(f"{number}") for number in range(10)])
    assert not queue.has_room
    queue.take(["a"], Room(1))
    assert not queue.has_room
    queue.take(["a"], Room(5))
    assert queue.has_room


def test_there_is_room_again_when_payloads_have_gone(make: Make) -> None:
    queue = make(bytes_max=100)
    queue.publish([job("1", payload=b"x" * 90), job("2", payload=b"x" * 20)])
    assert not queue.has_room
    queue.take(["a"], Room(1))
    assert queue.has_room


@pytest.mark.parametrize("jobs_max", [1, 2, 3])
def test_an_empty_queue_has_room_however_small(make: Make, jobs_max: int) -> None:
    queue = make(jobs_max=jobs_max, bytes_max=1)
    queue.publish([job("1")])
    queue.take(["a"], Room(1))
    assert queue.has_room


# --- against a list ------------------------------------------------------------------------------------------------


class Naive:
    """The same in ten lines, slowly."""

    def __init__(self, jobs_max: int) -> None:
        self.jobs: list[Job] = []
        self._jobs_max = jobs_max

    def publish(self, jobs: list[Job]) -> bool:
        fitted = True
        for one in jobs:
            same = [held for held in self.jobs if (held.run_id, held.step) == (one.run_id, one.step)]
            if same and same[0].attempt >= one.attempt:
                continue
            self.jobs = [held for held in self.jobs if held not in same]
            fitted &= len(self.jobs) < self._jobs_max
            if len(self.jobs) < self._jobs_max:
                self.jobs.append(one)
        return fitted

    def take(self, actions: Any, most: int, *, alone: bool = False) -> list[Job]:
        found = [one for one in self.jobs if one.action in actions and one.alone == alone][:most]
        self.jobs = [one for one in self.jobs if one not in found]
        return found


@given(seed=st.integers(0, 10**9))
def test_it_does_what_a_list_does(seed: int) -> None:
    draw = random.Random(seed)
    queue, naive = EmbeddedQueue(6, LARGE), Naive(6)
    for _ in range(60):
        actions = draw.sample("abc", draw.randint(1, 3))
        match draw.randrange(5):
            case 0 | 1:
                one = job(
                    f"{draw.randrange(9)}", draw.choice("abc"), attempt=draw.randint(1, 3), alone=draw.random() < 0.3
                )
                assert queue.publish([one]) == naive.publish([one])
            case 2:
                assert queue.take(actions, Room(2)) == naive.take(actions, 2)
            case 3:
                assert queue.take_alone(actions) == next(iter(naive.take(actions, 1, alone=True)), None)
            case 4:
                name = RunId(f"{draw.randrange(9)}")
                queue.withdraw(name, 0)
                naive.jobs = [one for one in naive.jobs if one.run_id != name]
        assert queue.waiting_alone("abc") == sum(one.alone for one in naive.jobs)
        assert sum(queue.depths().values()) == len(naive.jobs)
        assert all(queue.holds(one.run_id, one.step) for one in naive.jobs)


def test_a_job_is_not_kept_after_it_was_taken(make: Make) -> None:
    class Watched(Job, weakref=True):
        """A job that can be watched."""

    queue = make()
    queue.publish([Watched(**{name: getattr(job("1"), name) for name in Job.__struct_fields__})])
    ghost = weakref.ref(queue.take(["a"], Room(1))[0])
    gc.collect()
    assert ghost() is None
