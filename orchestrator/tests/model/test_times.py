"""Times and durations: exact inside, readable outside."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import times
from orchestrator.model.times import MICROS

YEAR_9999: Final = 253_402_300_799_999_999
YEAR: Final = 366 * 86_400 * MICROS


# --- times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_795_428_000_000_000, "2026-11-23T10:00:00.000000Z"),
        (951_827_696_789_012, "2000-02-29T12:34:56.789012Z"),
        (YEAR_9999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_written_with_microseconds_and_a_z(time: int, text: str) -> None:
    assert times.iso(time) == text
    assert times.parse_time(text) == time


@given(st.integers(0, YEAR_9999))
def test_a_written_time_reads_back_to_the_microsecond(time: int) -> None:
    assert times.parse_time(times.iso(time)) == time


@given(st.integers(0, YEAR_9999), st.integers(0, YEAR_9999))
def test_written_times_sort_as_times_do(one: int, other: int) -> None:
    assert (times.iso(one) < times.iso(other)) == (one < other)


@given(st.datetimes(datetime(1970, 1, 3), datetime(9999, 12, 29)), st.integers(-23 * 60, 23 * 60))  # noqa: DTZ001
def test_a_time_with_an_offset_is_the_same_moment(moment: datetime, minutes: int) -> None:
    local = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert times.iso(times.parse_time(local.isoformat())) == local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-23T10:00:00", "2026-11-23T10:00:00.000000Z"),
        ("2026-11-23", "2026-11-23T00:00:00.000000Z"),
        ("2026-11-23T10:00:00.5Z", "2026-11-23T10:00:00.500000Z"),
        ("2026-11-23T10:00:00.042Z", "2026-11-23T10:00:00.042000Z"),
        ("2026-11-23T12:00:00+02:00", "2026-11-23T10:00:00.000000Z"),
    ],
)
def test_a_time_without_an_offset_is_utc_and_parts_may_be_left_out(text: str, same: str) -> None:
    assert times.iso(times.parse_time(text)) == same


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-02-30", "2026-11-23T25:00:00Z", "1795428000", "1969-12-31T23:59:59.999999Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is the library's
        times.parse_time(text)


@given(st.text() | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.,+Z-]{0,20}", fullmatch=True))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert times.parse_time(text) >= 0


# --- durations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (0, 0),
        (20, 20 * MICROS),
        (0.5, 500_000),
        (1e-6, 1),
        ("0", 0),
        ("20", 20 * MICROS),
        ("1.5", 1_500_000),
        ("500ms", 500_000),
        ("0.001ms", 1),
        ("30s", 30 * MICROS),
        ("5m", 300 * MICROS),
        ("2h", 7_200 * MICROS),
        ("1d", 86_400 * MICROS),
        ("1.5d", 129_600 * MICROS),
        (" 30 s ", 30 * MICROS),
        ("0.000001", 1),
    ],
    ids=repr,
)
def test_a_duration_is_a_number_of_seconds_or_has_a_unit(value: float | str, micros: int) -> None:
    assert times.parse_duration(value) == micros


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -0.001,
        float("nan"),
        float("inf"),
        -float("inf"),
        10**400,
        "",
        " ",
        "s",
        "-1s",
        "+1s",
        "1e3",
        "1w",
        "1 0s",
        "1S",
        "1min",
        "0x10",
        "1.",
        ".5",
        "1s2",
        "٣s",
        "1\u00a0s\n\n2",
    ],
    ids=lambda value: repr(value)[:12],
)
def test_what_is_no_duration_is_refused(value: float | str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        times.parse_duration(value)


@pytest.mark.parametrize("value", [1e12, 10**400], ids=["a number", "an enormous one"])
def test_a_duration_that_is_too_long_is_not_called_negative(value: float) -> None:
    with pytest.raises(ValueError, match="long"):
        times.parse_duration(value)


@given(st.integers(0, YEAR))
def test_a_duration_in_seconds_reads_back_to_the_microsecond(duration: int) -> None:
    assert times.parse_duration(times.seconds(duration)) == duration


@given(st.integers(0, YEAR // MICROS))
def test_whole_seconds_are_written_as_whole_numbers(count: int) -> None:
    given_seconds = times.seconds(count * MICROS)
    assert type(given_seconds) is int
    assert given_seconds == count


@given(
    st.integers(0, 10_000), st.sampled_from([("ms", 1_000), ("s", MICROS), ("m", 60 * MICROS), ("h", 3_600 * MICROS)])
)
def test_a_unit_is_that_many_microseconds(count: int, unit: tuple[str, int]) -> None:
    assert times.parse_duration(f"{count}{unit[0]}") == count * unit[1]


@given(st.text() | st.floats() | st.integers())
def test_anything_is_a_duration_or_a_value_error(value: float | str) -> None:
    with contextlib.suppress(ValueError):
        assert times.parse_duration(value) >= 0
