"""The contract of `ports.clock`: time that never goes back, and ids that were never given before."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from itertools import pairwise

import pytest

from orchestrator.adapters.system import SystemChance, SystemClock, uuid7
from orchestrator.model.times import MICROS, Time

NOW = Time(1_800_000_000 * MICROS)


@dataclass
class Machine:
    """The two clocks of a machine, in microseconds."""

    wall: int = NOW
    up: int = 5 * MICROS

    def wait(self, seconds: float) -> None:
        self.wall += round(seconds * MICROS)
        self.up += round(seconds * MICROS)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine whose time is in the test's hands."""
    machine = Machine()
    monkeypatch.setattr(time, "time_ns", lambda: machine.wall * 1_000)
    monkeypatch.setattr(time, "monotonic_ns", lambda: machine.up * 1_000)
    return machine


def test_the_time_of_day_is_the_machines(machine: Machine) -> None:
    clock = SystemClock()
    assert clock.now() == NOW
    machine.wait(1.5)
    assert clock.now() == NOW + 1.5 * MICROS


def test_the_time_of_day_follows_forward_at_once(machine: Machine) -> None:
    clock = SystemClock()
    machine.wall += 3_600 * MICROS
    assert clock.now() == NOW + 3_600 * MICROS


def test_a_clock_that_is_set_back_goes_on_at_its_own_pace(machine: Machine) -> None:
    """No timer waits for an hour to pass twice, and none is early."""
    clock = SystemClock()
    clock.now()
    machine.wall -= 3_600 * MICROS
    assert clock.now() == NOW
    machine.wait(2)
    assert clock.now() == NOW + 2 * MICROS
    machine.wall += 7_200 * MICROS
    assert clock.now() == NOW + (3_600 + 2) * MICROS


def test_the_time_of_day_never_goes_back(machine: Machine) -> None:
    clock = SystemClock()
    told = []
    for jump in (0.0, -10, 0.5, 3, -0.1, 0.0, 100, -200):
        machine.wall += round(jump * MICROS)
        machine.up += 7
        told.append(clock.now())
    assert all(before <= after for before, after in pairwise(told))


def test_the_monotonic_clock_does_not_know_the_time_of_day(machine: Machine) -> None:
    clock = SystemClock()
    before = clock.monotonic()
    machine.wall += 3_600 * MICROS
    assert clock.monotonic() == before
    machine.wait(1)
    assert clock.monotonic() == before + MICROS


def test_a_run_id_is_a_uuid_of_version_7_for_its_time() -> None:
    found = uuid.UUID(SystemChance().run_id(NOW))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == NOW // 1_000
    assert str(found) == str(found).lower()


def test_run_ids_sort_by_time() -> None:
    chance = SystemChance()
    ids = [chance.run_id(Time(NOW + second * 1_000)) for second in range(100)]
    assert ids == sorted(ids)


def test_no_run_id_is_given_twice() -> None:
    one, two = SystemChance(), SystemChance()
    assert len({chance.run_id(NOW) for chance in (one, two) for _ in range(5_000)}) == 10_000


@pytest.mark.parametrize("bits", [0, 1, 2**74 - 1, 2**62, 2**61 + 17])
def test_every_random_bit_of_a_run_id_counts(bits: int) -> None:
    number = uuid.UUID(uuid7(NOW, bits)).int
    assert (number >> 64 & 0xFFF) << 62 | number & (1 << 62) - 1 == bits


def test_draws_are_below_one_and_differ() -> None:
    chance = SystemChance()
    draws = [chance.draw() for _ in range(1_000)]
    assert all(0 <= draw < 1 for draw in draws)
    assert len(set(draws)) > 990
