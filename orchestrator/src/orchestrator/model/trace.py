"""Where a run belongs in a distributed trace: what came with its trigger, and goes out with each of its jobs.

Source: W3C Trace Context, level 2. We add no span of our own and make no ids up: a run that was started without a
trace has none. What does not keep to the standard is left out, as the standard has it, and never refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

PARENT_HEADER: Final = "traceparent"
STATE_HEADER: Final = "tracestate"
"""Names of headers over HTTP and Kafka; those of fields, and of metadata elsewhere, are the same."""

_PARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_KNOWN_VERSION: Final = "00"
_KNOWN_FLAGS: Final = 0b11
"""Sampled, and random trace id."""
_MEMBER: Final = re.compile(
    r"([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MEMBERS_MAX: Final = 32
"""By the standard; a list that has more is no list."""
_LONG_MEMBER_CHARS: Final = 128
"""By the standard: where there is not room for all, those that are longer go first."""


class Trace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A trace context, checked.

    It is a part of events and states, which are persisted: fields are only ever added at the end, with a default.
    """

    parent: str
    """The value of ``traceparent``, always of version 00."""
    state: str = ""
    """The value of ``tracestate``; empty when there is none."""

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """Write it as headers of a record."""
        headers: list[tuple[str, str | bytes | None]] = [(PARENT_HEADER, self.parent.encode())]
        if self.state:
            headers.append((STATE_HEADER, self.state.encode()))
        return headers


def read_trace(parent: str | None, state: str | None, state_chars_max: int) -> Trace | None:
    """Read the two headers; None where there is no ``traceparent``, or one that does not keep to the standard.

    Args:
        parent: ``traceparent``. One of a later version is taken as far as version 00 goes.
        state: ``tracestate``, several of them joined by commas. One that cannot be read is left out, alone.
        state_chars_max: characters of the state; beyond it whole members are left out.
    """
    found = None if parent is None else _PARENT.fullmatch(parent.strip(" \t"))
    if found is None or not (found["trace"].strip("0") and found["parent"].strip("0")) or found["version"] == "ff":
        return None
    flags = found["flags"]
    if found["version"] != _KNOWN_VERSION:
        flags = f"{int(flags, 16) & _KNOWN_FLAGS:02x}"
    elif found["more"] is not None:
        return None
    kept = f"{_KNOWN_VERSION}-{found['trace']}-{found['parent']}-{flags}"
    return Trace(kept, "" if state is None else _read_state(state, state_chars_max))


def _read_state(state: str, chars_max: int) -> str:
    members = [stripped for member in state.split(",") if (stripped := member.strip(" \t"))]
    matches = [_MEMBER.fullmatch(member) for member in members]
    keys = {match[1] for match in matches if match is not None}
    if len(members) > _MEMBERS_MAX or len(keys) < len(members):
        return ""
    if _length(members) > chars_max:
        members = _shortened(members, chars_max)
    return ",".join(members)


def _shortened(members: list[str], chars_max: int) -> list[str]:
    """Leave out long members, those at the end first, then any at the end: the first ones are the most recent."""
    for is_long in (True, False):
        for place in reversed(range(len(members))):
            if _length(members) <= chars_max:
                return members
            if not is_long or len(members[place]) > _LONG_MEMBER_CHARS:
                members = members[:place] + members[place + 1 :]
    return members


def _length(members: Iterable[str]) -> int:
    """Characters of members with the commas between them."""
    return max(0, sum(len(member) + 1 for member in members) - 1)
