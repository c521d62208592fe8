"""How pages write durations, times, payloads and command lines."""

from __future__ import annotations

import re
import shlex
from typing import Final
from urllib.parse import quote

import msgspec

from orchestrator.model.limits import KIB, MIB
from orchestrator.model.times import MICROS, parse_time

_MILLI: Final = 1_000
_FORMAT_BYTES_MAX: Final = 64 * KIB
"""Larger payloads are shown as they came, and cut: nobody reads them here, and the page is asked for often."""
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)")


class Payload(msgspec.Struct, frozen=True):
    """A JSON value as text."""

    text: str
    size: str
    is_cut: bool


def duration(micros: int) -> str:
    """Write a duration with two units at most; ``live.js`` writes the same."""
    if micros < 10 * _MILLI:
        return f"{micros / _MILLI:.1f} ms"
    if micros < MICROS:
        return f"{micros // _MILLI} ms"
    if micros < 60 * MICROS:
        return f"{micros // (MICROS // 10) / 10:.1f} s"
    whole = micros // MICROS
    if whole < 3_600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole // 60 % 60:02} m"
    return f"{whole // 86_400} d {whole // 3_600 % 24:02} h"


def between(start: str, end: str) -> str:
    """Write how much time lies between two times."""
    return duration(max(0, parse_time(end) - parse_time(start)))


def seconds(value: float) -> str:
    """Write a duration that is given in seconds, exactly: ``0.5 s``, ``5 m``, ``1 m 30 s``."""
    micros = round(value * MICROS)
    parts = []
    for unit, size in (("d", 86_400 * MICROS), ("h", 3_600 * MICROS), ("m", 60 * MICROS)):
        if micros >= size:
            parts.append(f"{micros // size} {unit}")
            micros %= size
    if 0 < micros < MICROS and not parts:
        parts.append(f"{micros / _MILLI:g} ms")
    elif micros or not parts:
        parts.append(f"{micros / MICROS:g} s")
    return " ".join(parts)


def stamp(iso: str) -> str:
    """Write a time for readers without scripts; ``live.js`` turns it into their own."""
    return f"{iso[:10]} {iso[11:19]} UTC"


def size(count: int) -> str:
    """Write a number of bytes."""
    if count < KIB:
        return f"{count} B"
    return f"{count / KIB:.1f} KiB" if count < MIB else f"{count / MIB:.1f} MiB"


def short(text: str, most: int) -> str:
    """Fit a text on one line of so many characters."""
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def payload(raw: bytes, most: int) -> Payload:
    """Write JSON with one value a line, every digit and character as it came; cut after so many characters."""
    if len(raw) > max(_FORMAT_BYTES_MAX, most):
        return Payload(bytes(raw[:most]).decode("utf-8", "ignore"), size(len(raw)), is_cut=True)
    try:
        text = msgspec.json.format(bytes(raw), indent=2).decode("utf-8", "replace")
    except msgspec.DecodeError:
        text = bytes(raw).decode("utf-8", "replace")
    return Payload(text[:most], size(len(raw)), is_cut=len(text) > most)


def segments(sentence: str) -> list[tuple[bool, str]]:
    """Cut a sentence at the times in it; each piece says whether it is one."""
    return [(at % 2 == 1, piece) for at, piece in enumerate(_TIME.split(sentence)) if piece]


def path(*parts: str) -> str:
    """Build a path from its parts, whatever they contain."""
    return "".join(f"/{quote(part, safe=':@')}" for part in parts)


def command(*words: str) -> str:
    """Write a call of our command line that a shell reads as it is meant."""
    return shlex.join(["orchestrator", *words])


def curl(url: str, *options: str) -> str:
    """Write a command line that a shell reads as it is meant."""
    return shlex.join(["curl", url, *options])
