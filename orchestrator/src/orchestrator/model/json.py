"""JSON that comes from outside: checked once at the edge, then carried as bytes.

A payload is never decoded by the orchestrator, so that a number keeps every digit and a string every character.
"""

from __future__ import annotations

import re
from typing import Any, Final, NewType, TypeVar

import msgspec

from orchestrator.model.errors import FieldError, InvalidField, InvalidJson, TooLarge
from orchestrator.model.limits import Limits

Json = NewType("Json", bytes)
"""One JSON value in UTF-8, checked by :func:`check_json` or by a decoder that was given checked bytes."""

NULL: Final = Json(b"null")

_T = TypeVar("_T")
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""A string, or the rest of the body where one is not closed: never tried twice, so the time stays linear."""
_ALIKE: Final = bytes.maketrans(b"{}123456789", b"[]000000000")
"""Makes brackets alike, and digits."""
_OPENS: Final = ord("[")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_FLATTEN: Final = "flatten the value, or send it as a string"
_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")


def depth(raw: bytes) -> int:
    """Count how deep arrays and objects nest; brackets in strings do not count."""
    level = deepest = 0
    for bracket in _STRING.sub(b"", raw).translate(_ALIKE, _NO_BRACKETS):
        if bracket == _OPENS:
            level += 1
            if level > deepest:  # noqa: PLR1730 - a call of max() for each bracket of a large body costs seconds
                deepest = level
        else:
            level -= 1
    return deepest


def check_utf8(raw: bytes) -> None:
    """Check the encoding of a whole body.

    Raises:
        InvalidJson: not UTF-8.
    """
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
        raise InvalidJson(reason, [FieldError("body", reason, "send JSON in UTF-8")]) from None


def may_break_limits(raw: bytes, limits: Limits) -> bool:
    """Say quickly whether `check_json` has to look closer; a few scans in C for the many bodies that are fine."""
    if raw.count(b"[") + raw.count(b"{") > limits.json_depth_max:
        return True
    return len(raw) > limits.json_number_digits_max and _has_long_number(raw, limits.json_number_digits_max)


def check_json(raw: bytes, limits: Limits, envelope: int = 0) -> None:
    """Check depth and length of numbers of a body that is UTF-8; its syntax is the decoder's part.

    Args:
        raw: the body.
        limits: the limits.
        envelope: levels of nesting that are the protocol's own, not the user's.

    Raises:
        InvalidJson: too deep, or a number too long.
    """
    if not may_break_limits(raw, limits):
        return
    bare = _STRING.sub(b"", raw)
    if depth(bare) > limits.json_depth_max + envelope:
        reason = f"nested deeper than {limits.json_depth_max} levels"
        raise InvalidJson(reason, [FieldError("body", reason, _FLATTEN)])
    if _has_long_number(bare, limits.json_number_digits_max):
        reason = f"a number has more than {limits.json_number_digits_max} digits"
        raise InvalidJson(reason, [FieldError("body", reason, "send it as a string")])


def _has_long_number(raw: bytes, digits_max: int) -> bool:
    return b"0" * (digits_max + 1) in raw.translate(_ALIKE)


def decode(raw: bytes, decoder: msgspec.json.Decoder[_T], limits: Limits, envelope: int = 0) -> _T:
    """Check and decode a body.

    Raises:
        InvalidJson: not JSON.
        InvalidField: JSON, but a field is unknown, missing or of a wrong type.
    """
    check_utf8(raw)
    check_json(raw, limits, envelope)
    return decode_unchecked(raw, decoder)


def decode_unchecked(raw: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    """Decode a body that is UTF-8; raises as `decode`."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidField(str(error), [field_error(error)]) from None
    except RecursionError:
        reason = "nested too deep"
        raise InvalidJson(reason, [FieldError("body", reason, _FLATTEN)]) from None
    except msgspec.DecodeError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise InvalidJson(reason, [FieldError("body", reason, "send one JSON value in UTF-8")]) from None


_WORDS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
}


def field_error(error: msgspec.ValidationError, prefix: str = "") -> FieldError:
    """Turn msgspec's message into field, reason and mend."""
    text = str(error)
    found = _PATH.search(text)
    reason = text[: found.start()] if found else text
    path = ".".join(part for part in (prefix, found[1] if found else "") if part)
    if match := re.search(r"unknown field `(.*)`", reason):
        field = ".".join(part for part in (path, match[1]) if part)
        return FieldError(field, "the field is not known", "leave it out, or correct its name")
    if match := re.search(r"missing required field `(.*)`", reason):
        field = ".".join(part for part in (path, match[1]) if part)
        return FieldError(field, "the field is missing", "add it")
    if match := re.match(r"Expected (.*), got (.*)", reason):
        kinds = [_WORDS.get(name, name) for name in match[1].strip("`").split(" | ")]
        return FieldError(path or "body", reason, f"send {' or '.join(kinds)}")
    if match := re.match(r"Expected `(\w+)` (?:of length )?([<>]=) (\S+)", reason):
        bound = "at least" if match[2] == ">=" else "at most"
        unit = {"str": " characters", "array": " of them", "object": " of them"}.get(match[1], "")
        return FieldError(path or "body", reason, f"send {bound} {match[3]}{unit}")
    return FieldError(path or "body", reason, "see the field's description in /openapi.json")


def check_payload(raw: bytes, limits: Limits, field: str) -> Json:
    """Check the size of a payload that was cut from a checked body.

    Raises:
        TooLarge: more than ``payload_bytes_max``.
    """
    if len(raw) > limits.payload_bytes_max:
        reason = f"{len(raw):,} bytes are more than {limits.payload_bytes_max:,} (payload_bytes_max)"
        mend = "keep the data elsewhere and send a reference to it, or raise payload_bytes_max"
        raise TooLarge(reason, [FieldError(field, reason, mend)])
    return Json(raw)


def loads(raw: bytes) -> Any:
    """Decode JSON of our own making, integers of any size exact."""
    return msgspec.json.decode(raw)
