from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from workersdk import codec


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(10**400), 1.5, "", "Grüße 🎉 \u2028 \x00", [], {}, {"a": [1, {"b": None}]}, 2**63, "\\ud800"],
)
def test_what_goes_out_comes_back_the_same(value: Any) -> None:
    assert codec.loads(codec.dumps(value)) == value


def test_text_is_compact_utf_8() -> None:
    assert codec.dumps({"a": ["ü", 1]}) == '{"a":["ü",1]}'.encode()


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


def itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (math.nan, r"^\$ is nan"),
        ({"a": [1, math.inf]}, r"^\$\.a\[1\] is inf"),
        (b"bytes", r"^\$ is of type bytes"),
        ({"price": {"amount": Decimal(1)}}, r"^\$\.price\.amount is of type Decimal"),
        ([{1, 2}], r"^\$\[0\] is of type set"),
        ({(1, 2): 3}, r"^\$ has a key of type tuple"),
        ({math.nan: 3}, r"the key is nan"),
        (["ok", "a\ud800"], r"^\$\[1\] holds a lone surrogate at character 1"),
        ({"\udfff": 1}, r"the key holds a lone surrogate"),
        ({"n": 10**5000}, r"^\$\.n is an integer of more than \d+ digits"),
        (deep(), r"nested"),
        (itself(), r"nested|Circular"),
    ],
)
def test_what_is_not_json_is_named_with_its_place(value: Any, complaint: str) -> None:
    with pytest.raises(codec.NotJsonError, match=complaint):
        codec.dumps(value)


def test_a_value_that_json_would_change_is_written_as_json_does() -> None:
    assert json.loads(codec.dumps({1: (2, 3)})) == {"1": [2, 3]}


@pytest.fixture(params=["msgspec", "Python's own"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with msgspec, which the tests have, or as without it."""
    if request.param != "msgspec":
        monkeypatch.setattr(codec, "_read", codec._read_whole)
    else:
        assert codec._read is not codec._read_whole


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "text",
    [
        "123456789012345678901234567890",
        "-9223372036854775809",
        "-0",
        "-0.0",
        "0.30000000000000004",
        "9007199254740993.0",
        "1e400",
        '"\\ud800"',
        '"\\u0000ü\x7f"',
        '{"a":1,"a":2}',
        ' [1, {"b": null}]\n',
        "-Infinity",
    ],
)
def test_both_readers_find_the_same_value(text: str) -> None:
    assert repr(codec.loads(text.encode())) == repr(json.loads(text))


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"01", b"1.", b"[1] 2", b'"\x01"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b"1" * 5_000],
    ids=lambda text: repr(text[:6]),
)
def test_both_readers_refuse_the_same_texts(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Extra data|control character|can't decode|BOM|digits"):
        codec.loads(text)


@pytest.mark.usefixtures("reader")
def test_both_readers_give_up_what_is_nested_too_deep() -> None:
    with pytest.raises(RecursionError):
        codec.loads(b"[" * 100_000 + b"]" * 100_000)
