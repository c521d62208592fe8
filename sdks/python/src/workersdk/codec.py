"""JSON as it travels: exact, strict, and with a place in every complaint.

Rule 1: what leaves is JSON that every reader understands; NaN, Infinity and lone surrogates are not.
Rule 2: integers keep all their digits.
Rule 3: msgspec reads where it is installed (`workersdk[msgspec]`), in a third of the time. On what it refuses, Python's
        own reader decides, so that both take the same texts for the same values.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from json import encoder
from typing import Any

try:
    import msgspec
except ImportError:
    msgspec = None  # type: ignore[assignment]

DEPTH_SHOWN_MAX = 200

_read_part = json.JSONDecoder().raw_decode


def _read_whole(text: bytes) -> Any:
    """Read JSON that has nothing around it, as most has not: half the steps of `json.loads`. Raises `ValueError`."""
    whole = text.decode()
    value, end = _read_part(whole)
    if end != len(whole):
        raise ValueError("something comes after it")
    return value


_read: Callable[[bytes], Any] = _read_whole if msgspec is None else msgspec.json.Decoder().decode


def _writer() -> Callable[[Any, int], Iterable[str]]:
    """Return what writes JSON, in parts: the encoder in C, made once. `JSONEncoder.encode` makes one for each value.

    Its second argument is the depth to begin at: 0.
    """
    whole = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), check_circular=False)
    try:
        make = encoder.c_make_encoder  # type: ignore[attr-defined] # not told of; a Python without it has None
        parts: Callable[[Any, int], Iterable[str]] = make(
            None, whole.default, encoder.encode_basestring, None, ":", ",", False, False, False
        )
        parts({}, 0)
    except (AttributeError, TypeError):  # a Python that has none, or makes it otherwise
        return lambda value, depth: (whole.encode(value),)
    return parts


_write = _writer()


class NotJsonError(ValueError):
    """A value cannot be written as JSON. The message says what is wrong, and where as a path from `$`."""


def dumps(value: Any) -> bytes:
    """Write a value as compact UTF-8 JSON. Raises `NotJsonError`."""
    try:
        return "".join(_write(value, 0)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJsonError(_find_fault(value, "$", 0) or f"$: {error}") from None


def loads(text: bytes) -> Any:
    """Read JSON. Raises `ValueError`."""
    try:
        return _read(text)
    except ValueError:
        return json.loads(text.decode())


def loads_problem(text: bytes) -> dict[str, Any]:
    """Read an error of the orchestrator (RFC 9457); of anything else, as from a proxy, nothing is read.

    `errors` is always there: a list of objects.
    """
    try:
        problem = loads(text)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    errors = problem.get("errors")
    return {**problem, "errors": [error for error in errors or () if isinstance(error, dict)]}


def parse_time(text: str) -> datetime:
    """Read a time of the wire (ISO 8601, UTC, `Z`)."""
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


def _find_fault(value: Any, path: str, depth: int) -> str | None:
    if depth > DEPTH_SHOWN_MAX:
        return f"{path[:100]}… is nested more than {DEPTH_SHOWN_MAX} deep, or holds itself"
    if isinstance(value, str):
        return _string_fault(value, path)
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return _integer_fault(value, path)
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path} is {value!r}, which JSON cannot carry"
    if isinstance(value, dict):
        return _dict_fault(value, path, depth)
    if isinstance(value, (list, tuple)):
        faults = (_find_fault(child, f"{path}[{place}]", depth + 1) for place, child in enumerate(value))
        return next((fault for fault in faults if fault), None)
    return f"{path} is of type {type(value).__name__}, which JSON cannot carry"


def _dict_fault(value: dict[Any, Any], path: str, depth: int) -> str | None:
    for key, child in value.items():
        if not isinstance(key, (str, int, float, bool, type(None))):
            return f"{path} has a key of type {type(key).__name__}; JSON keys are strings"
        if isinstance(key, (str, float)) and (fault := _find_fault(key, f"{path}: the key", depth + 1)):
            return fault
        if fault := _find_fault(child, f"{path}.{key}", depth + 1):
            return fault
    return None


def _string_fault(value: str, path: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"{path} holds a lone surrogate at character {error.start}, which UTF-8 cannot carry"
    return None


def _integer_fault(value: int, path: str) -> str | None:
    try:
        str(value)
    except ValueError:
        digits = sys.get_int_max_str_digits()
        return f"{path} is an integer of more than {digits} digits; send it as a string (hex(value)) instead"
    return None
