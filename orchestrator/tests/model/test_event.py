"""The encoded form of events, which is kept for ever: what was written once must read the same in every later version.

``golden/events.json`` is never rewritten. A new event, or a new field at the end of one, gets a line of its own at the
end of the file and of `EVENTS`; the lines before it stay, and still decode.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model.event import (
    AttemptFailed,
    AttemptLost,
    AttemptReleased,
    AttemptStarted,
    Event,
    Failure,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunRedriven,
    RunResumed,
    RunStarted,
    RunTimedOut,
    RunWaiting,
    StepCancelled,
    StepCompleted,
    StepFailed,
    StepQueued,
)
from orchestrator.model.times import Time
from orchestrator.model.trace import Trace

GOLDEN: Final = Path(__file__).parent / "golden" / "events.json"
DECODER: Final = msgspec.json.Decoder(Event)

AT: Final = Time(1_795_428_000_000_001)
DUE: Final = Time(1_795_428_030_000_000)
ODD: Final = Failure(type="Größe", message='said "no"\n\\ \U0001f600\x00\x7f', stack="  at a.py:1\n\tat b.py:2")
LATE: Final = Failure(type="StepTimeout", message="no result within 30 s of the start")
GONE: Final = Failure(type="WorkerLost", message="lease ran out")
PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

EVENTS: Final[list[Event]] = [
    RunStarted(at=AT, workflow_id="order", version=7, deadline=DUE),
    RunStarted(at=AT, workflow_id="team:order@eu-1", version=1),
    StepQueued(at=AT, step=0, attempt=1),
    StepQueued(at=AT, step=2_147_483_647, attempt=10_000, alone=True),
    AttemptStarted(at=AT, step=0, attempt=1, worker="w-1"),
    AttemptStarted(at=AT, step=0, attempt=1, worker=""),
    StepCompleted(at=AT, step=0, attempt=1),
    AttemptFailed(at=AT, step=0, attempt=1, failure=Failure(type="CardDeclined"), retry_at=DUE),
    AttemptFailed(at=AT, step=0, attempt=4, failure=ODD, retry_at=None),
    AttemptFailed(at=AT, step=0, attempt=1, failure=LATE, retry_at=DUE, timed_out=True),
    AttemptLost(at=AT, step=0, attempt=1, failure=GONE, retry_at=DUE),
    AttemptLost(at=AT, step=0, attempt=4, failure=GONE, retry_at=None),
    AttemptReleased(at=AT, step=0, attempt=1),
    StepFailed(at=AT, step=0, attempt=4),
    StepCancelled(at=AT, step=0, attempt=1),
    RunWaiting(at=AT),
    RunResumed(at=AT),
    RunCompleted(at=AT),
    RunFailed(at=AT, step=0, failure=ODD),
    RunCancelled(at=AT),
    RunCancelled(at=AT, reason="by hand"),
    RunTimedOut(at=AT),
    RunRedriven(at=AT, step=0),
    RunRedriven(at=AT, step=0, deadline=DUE),
    AttemptFailed(at=AT, step=0, attempt=1, failure=Failure(type="CardDeclined"), retry_at=DUE),
    AttemptFailed(at=AT, step=0, attempt=1, failure=LATE, retry_at=DUE, timed_out=True, suspect=True),
    RunStarted(at=AT, workflow_id="order", version=7, deadline=DUE),
    RunStarted(at=AT, workflow_id="order", version=7, trace=Trace(PARENT, "vendor=a b")),
    RunStarted(at=AT, workflow_id="order", version=7, trace=Trace(PARENT)),
]
"""What each line of the golden file means, field by field: by name, since the order is what the file pins."""


def golden() -> list[bytes]:
    """Give the encoded events, to the byte."""
    return [bytes(line) for line in msgspec.json.decode(GOLDEN.read_bytes(), type=list[msgspec.Raw])]


def test_every_golden_event_means_what_it_meant() -> None:
    assert [DECODER.decode(line) for line in golden()] == EVENTS


OLDER: Final = frozenset({0, 1, 7, 8, 9})
"""Lines that were written before their event had all the fields it has now."""


@pytest.mark.parametrize("place", sorted(set(range(len(EVENTS))) - OLDER))
def test_an_event_is_written_as_it_was_written_before(place: int) -> None:
    assert msgspec.json.encode(EVENTS[place]) == golden()[place]


def test_every_type_of_event_is_in_the_golden_file() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


def test_the_golden_file_has_one_event_on_each_line() -> None:
    """So that a change of one event is a change of one line."""
    assert GOLDEN.read_bytes() == b"[\n" + b",\n".join(golden()) + b"\n]\n"


@pytest.mark.parametrize(
    ("short", "event"),
    [
        (b'["RunStarted",1,"order",1]', RunStarted(Time(1), "order", 1)),
        (b'["RunStarted",1,"order",1,null,["00-a-b-01"]]', RunStarted(Time(1), "order", 1, None, Trace("00-a-b-01"))),
        (b'["StepQueued",1,0,1]', StepQueued(Time(1), 0, 1)),
        (b'["AttemptFailed",1,0,1,["X"],null]', AttemptFailed(Time(1), 0, 1, Failure("X"), None)),
        (b'["RunCancelled",1]', RunCancelled(Time(1))),
        (b'["RunRedriven",1,0]', RunRedriven(Time(1), 0)),
    ],
)
def test_a_field_that_was_added_later_may_be_missing(short: bytes, event: Event) -> None:
    assert DECODER.decode(short) == event


@pytest.mark.parametrize("line", [b'["RunRenamed",1]', b'["StepQueued",1,0]', b'["StepQueued",1,"0",1]', b"{}", b"[]"])
def test_what_is_no_event_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        DECODER.decode(line)


@pytest.mark.parametrize("kind", get_args(Event))
def test_an_event_begins_with_its_name_and_its_time(kind: type[Event]) -> None:
    for line, event in zip(golden(), EVENTS, strict=True):
        if type(event) is kind:
            assert msgspec.json.decode(line)[:2] == [kind.__name__, AT]


events = st.one_of([st.from_type(kind) for kind in get_args(Event)])


@given(events)
def test_any_event_reads_back(event: Event) -> None:
    encoded = msgspec.json.encode(event)
    assert DECODER.decode(encoded) == event
    assert msgspec.json.encode(DECODER.decode(encoded)) == encoded
