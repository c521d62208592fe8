"""How durations, sizes and payloads are written."""

from __future__ import annotations

import pytest

from orchestrator.pages import text


@pytest.mark.parametrize(
    ("micros", "written"),
    [
        (0, "0.0 ms"),
        (400, "0.4 ms"),
        (9_999, "10.0 ms"),
        (12_345, "12 ms"),
        (999_999, "999 ms"),
        (1_000_000, "1.0 s"),
        (59_999_999, "59.9 s"),
        (60_000_000, "1 m 00 s"),
        (3_599_000_000, "59 m 59 s"),
        (3_600_000_000, "1 h 00 m"),
        (86_399_000_000, "23 h 59 m"),
        (90_000_000_000, "1 d 01 h"),
    ],
)
def test_a_measured_duration_has_two_units_at_most(micros: int, written: str) -> None:
    assert text.duration(micros) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (0.5, "500 ms"), (1, "1 s"), (1.5, "1.5 s"), (90, "1 m 30 s"), (90_061, "1 d 1 h 1 m 1 s")],
)
def test_a_duration_of_a_policy_is_exact(seconds: float, written: str) -> None:
    assert text.seconds(seconds) == written


def test_sizes() -> None:
    assert [text.size(count) for count in (0, 1_023, 1_536, 3 * 1024 * 1024)] == ["0 B", "1023 B", "1.5 KiB", "3.0 MiB"]


def test_a_line_is_cut_to_its_length() -> None:
    assert text.short("a\n b\tc", 10) == "a b c"
    assert text.short("x" * 100, 10) == "x" * 9 + "…"


def test_json_keeps_every_digit_and_escape() -> None:
    raw = b'{"a":0.1000000000000000055511151231257827,"b":12345678901234567890123,"c":"\\u003c","d":1E400}'
    written = text.payload(raw, 1_000)
    assert not written.is_cut
    for piece in ("0.1000000000000000055511151231257827", "12345678901234567890123", "\\u003c", "1E400"):
        assert piece in written.text


def test_times_are_found_in_a_sentence() -> None:
    assert text.segments("starts at 2026-11-24T10:00:00.000000Z, or so") == [
        (False, "starts at "),
        (True, "2026-11-24T10:00:00.000000Z"),
        (False, ", or so"),
    ]
    assert text.segments("no time") == [(False, "no time")]


def test_a_path_holds_any_id() -> None:
    assert text.path("workflow", "run", 'a/b?c#d"e') == "/workflow/run/a%2Fb%3Fc%23d%22e"
