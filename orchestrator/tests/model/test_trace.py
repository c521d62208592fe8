"""What of a trace context is taken, by the standard: W3C Trace Context, level 2."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.trace import Trace, read_trace

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN: Final = "00f067aa0ba902b7"
PARENT: Final = f"00-{TRACE}-{SPAN}-01"


def state_of(state: str, chars_max: int = 512) -> str:
    trace = read_trace(PARENT, state, chars_max)
    assert trace is not None
    assert trace.parent == PARENT
    return trace.state


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_a_parent_of_this_version_is_kept_as_it_is(flags: str) -> None:
    parent = f"00-{TRACE}-{SPAN}-{flags}"
    assert read_trace(parent, None, 512) == Trace(parent)


@pytest.mark.parametrize("more", ["", "-", "-what-the-future-will-bring"])
def test_a_parent_of_a_later_version_is_taken_as_far_as_ours_goes(more: str) -> None:
    assert read_trace(f"cc-{TRACE}-{SPAN}-fd{more}", "a=1", 512) == Trace(PARENT, "a=1")


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0\u0661",
        f"{PARENT}\n",
        f"{PARENT},{PARENT}",
    ],
)
def test_a_parent_that_keeps_to_no_version_is_none(parent: str) -> None:
    assert read_trace(parent, "a=1", 512) is None


def test_a_state_without_a_parent_is_none() -> None:
    assert read_trace(None, "a=1", 512) is None


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("a=1", "a=1"),
        (" a=1 ,\t, b=x y ,", "a=1,b=x y"),
        ("tenant@system=1,0-_*/=~!", "tenant@system=1,0-_*/=~!"),
        (f"{'k' * 256}={'v' * 250}", f"{'k' * 256}={'v' * 250}"),
        (",".join(f"k{number}=1" for number in range(32)), ",".join(f"k{number}=1" for number in range(32))),
        ("", ""),
        ("a=1,nonsense", ""),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a=", ""),
        ("a=b=c", ""),
        ("a=ü", ""),
        (f"{'k' * 257}=1", ""),
        (f"a={'v' * 257}", ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
    ],
)
def test_a_state_is_kept_as_a_whole_or_left_out_as_a_whole(state: str, kept: str) -> None:
    assert state_of(state) == kept


def test_where_there_is_not_room_for_all_members_the_long_ones_go_first_and_then_the_last() -> None:
    long, short = f"l={'v' * 127}", "s=1"
    assert state_of(f"{long},{short}", 133) == f"{long},{short}"
    assert state_of(f"{long},{short}", 132) == short
    assert state_of("a=1,b=2,c=3", 10) == "a=1,b=2"
    assert state_of("a=1,b=2,c=3", 7) == "a=1,b=2"
    assert state_of("a=1", 2) == ""


MEMBER: Final = st.from_regex(r"[a-z][a-z0-9]{0,20}=[a-z ]{0,200}[a-z]", fullmatch=True)


@given(st.lists(MEMBER, max_size=32, unique_by=lambda member: member.partition("=")[0]), st.integers(1, 600))
def test_what_is_kept_fits_and_is_in_its_order(members: list[str], chars_max: int) -> None:
    kept = state_of(",".join(members), chars_max)
    assert len(kept) <= chars_max
    left = iter(members)
    assert all(member in left for member in kept.split(",") if member)
    # It is read again as it was written.
    assert state_of(kept) == kept


@given(st.text(max_size=80), st.text(max_size=600))
def test_nothing_that_comes_in_is_an_error(parent: str, state: str) -> None:
    assert read_trace(parent, state, 512) is None
    assert len(state_of(state)) <= 512
