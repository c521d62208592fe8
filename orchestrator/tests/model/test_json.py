"""JSON from outside: checked to the limit, refused in words, and never a crash or a stall."""

from __future__ import annotations

import contextlib
import json as stdlib_json
import re
import string
import time
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model import json
from orchestrator.model.errors import FieldError, InvalidField, InvalidJson, InvalidRequest, OrchestratorError, TooLarge
from orchestrator.model.limits import Limits

LIMITS: Final = Limits()
ANY: Final = msgspec.json.Decoder(msgspec.Raw)


class Body(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """A body to decode into."""

    name: str
    count: int = 0
    parts: list[str] = []
    more: dict[str, int] = {}


BODY: Final = msgspec.json.Decoder(Body)


def nested(depth: int, brackets: str = "[]") -> bytes:
    """Give arrays or objects in each other."""
    if brackets == "[]":
        return b"[" * depth + b"]" * depth
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def refusal(raw: bytes, decoder: msgspec.json.Decoder[Any] = ANY, limits: Limits = LIMITS) -> FieldError:
    """Decode what cannot be decoded, and give the one error that is reported."""
    with pytest.raises(InvalidRequest) as caught:
        json.decode(raw, decoder, limits)
    assert 400 <= caught.value.http_status < 500
    (error,) = caught.value.errors
    return error


# --- depth -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nesting_is_allowed_up_to_the_limit(brackets: str) -> None:
    raw = nested(LIMITS.json_depth_max, brackets)
    assert json.depth(raw) == 64
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nesting_beyond_the_limit_is_refused(brackets: str) -> None:
    assert refusal(nested(LIMITS.json_depth_max + 1, brackets)) == FieldError(
        "body", "nested deeper than 64 levels", "flatten the value, or send it as a string"
    )


def test_many_brackets_side_by_side_are_not_deep() -> None:
    raw = b"[" + b",".join([b'{"a":[1]}'] * 1_000) + b"]"
    assert json.depth(raw) == 3
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100,
        "{" * 100,
        '"' + "[" * 100,
        "\\" + "[" * 100,
        '\\"' + "[" * 100,
        "[" * 100 + "\\",
        '\\\\"]' + "[" * 100 + '"',
    ],
)
def test_brackets_in_a_string_do_not_count(text: str) -> None:
    raw = stdlib_json.dumps([text, {text: 1}]).encode()
    assert json.depth(raw) == 2
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


def test_a_string_that_ends_with_a_backslash_does_not_hide_what_follows() -> None:
    raw = b'["\\\\",' + nested(LIMITS.json_depth_max) + b"]"
    assert json.depth(raw) == 65
    assert refusal(raw).reason == "nested deeper than 64 levels"


JSON_VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


def measured_depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(measured_depth, value.values()), default=0)
    return 1 + max(map(measured_depth, value), default=0) if isinstance(value, list) else 0


@given(JSON_VALUES, st.booleans())
def test_the_depth_of_any_value_is_found(value: object, ascii_only: bool) -> None:
    raw = stdlib_json.dumps(value, ensure_ascii=ascii_only).encode()
    assert json.depth(raw) == measured_depth(value)


@given(JSON_VALUES, st.integers(1, 4))
def test_the_limit_is_kept_to_the_level(value: object, most: int) -> None:
    raw = stdlib_json.dumps(value).encode()
    limits = Limits(json_depth_max=most)
    if measured_depth(value) > most:
        assert refusal(raw, limits=limits).reason == f"nested deeper than {most} levels"
    else:
        assert bytes(json.decode(raw, ANY, limits)) == raw


def test_the_levels_of_the_protocol_are_not_counted_against_the_user() -> None:
    raw = b'{"input":' + nested(LIMITS.json_depth_max) + b"}"
    assert refusal(raw).reason == "nested deeper than 64 levels"
    assert bytes(json.decode(raw, ANY, LIMITS, envelope=1)) == raw
    with pytest.raises(InvalidJson, match="nested deeper than 64 levels"):
        json.decode(b"[" + raw + b"]", ANY, LIMITS, envelope=1)


@given(JSON_VALUES, st.integers(1, 6), st.integers(1, 6))
def test_the_quick_look_never_passes_what_the_close_look_refuses(value: object, depth: int, digits: int) -> None:
    raw = stdlib_json.dumps(value).encode()
    limits = Limits(json_depth_max=depth, json_number_digits_max=digits)
    too_deep = measured_depth(value) > depth
    too_long = re.search(r"\d" * (digits + 1), re.sub(r'"(\\.|[^"\\])*"', "", raw.decode())) is not None
    if too_deep or too_long:
        assert json.may_break_limits(raw, limits)
        with pytest.raises(InvalidJson):
            json.check_json(raw, limits)
    else:
        json.check_json(raw, limits)


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["%s", "-%s", "[%s]", '{"a": %s}', "0.%s", "%s.5e7", "1e%s"])
def test_a_number_may_have_as_many_digits_as_the_limit(shape: str) -> None:
    most = LIMITS.json_number_digits_max
    raw = (shape % ("7" * most)).encode()
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw
    assert refusal((shape % ("7" * (most + 1))).encode()) == FieldError(
        "body", "a number has more than 1000 digits", "send it as a string"
    )


@pytest.mark.parametrize("around", ["%s", "a%s", '\\"%s', "[%s]", "%s\\\\"])
def test_digits_in_a_string_do_not_count(around: str) -> None:
    raw = b'["' + (around % ("7" * (LIMITS.json_number_digits_max + 1))).encode() + b'", 5]'
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


def test_a_long_number_beside_a_long_string_of_digits_is_found() -> None:
    digits = b"7" * (LIMITS.json_number_digits_max + 1)
    assert refusal(b'["' + digits + b'", ' + digits + b"]").reason == "a number has more than 1000 digits"


def test_two_numbers_are_not_one() -> None:
    most = b"7" * LIMITS.json_number_digits_max
    raw = b"[" + most + b"," + most + b"." + most + b"]"
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


def test_a_payload_keeps_every_digit() -> None:
    raw = b'[123456789012345678901234567890, 0.1000, 1E+2, -0.0, "\\u00e9\xc3\xa9"]'
    assert bytes(json.decode(raw, ANY, LIMITS)) == raw


def test_a_whole_number_of_our_own_making_is_exact_at_any_size() -> None:
    assert json.loads(b"123456789012345678901234567890") == 123456789012345678901234567890


# --- encoding and syntax -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "place"), [(b'"\xff"', 1), (b"\xff\xfe{\x00}\x00", 0), (b'["\xed\xa0\x80"]', 2), (b'"\xc3', 1)]
)
def test_bytes_that_are_not_utf_8_are_refused_with_their_place(raw: bytes, place: int) -> None:
    assert refusal(raw) == FieldError("body", f"byte {place} is not UTF-8", "send JSON in UTF-8")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b" \n", id="blanks"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"a"', id="cut off in a member"),
        pytest.param(b'"abc', id="a string that is not closed"),
        pytest.param(b'"\\', id="a string that ends in an escape"),
        pytest.param(b'"a\x00b"', id="NUL in a string"),
        pytest.param(b"\x00", id="NUL"),
        pytest.param(b'"a\nb"', id="a line break in a string"),
        pytest.param(b'"\\ud800"', id="half a surrogate pair"),
        pytest.param(b'"\\udc00"', id="the other half"),
        pytest.param(b'"\\ud800\\u0041"', id="half a pair and a letter"),
        pytest.param(b'"\\x41"', id="an escape that JSON lacks"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b"[-Infinity]", id="-Infinity"),
        pytest.param(b"nul", id="half a word"),
        pytest.param(b"01", id="a leading zero"),
        pytest.param(b"1.", id="a point without digits"),
        pytest.param(b"1e", id="an exponent without digits"),
        pytest.param(b"+1", id="a plus"),
        pytest.param(b"-", id="a minus alone"),
        pytest.param(b"[1,]", id="a comma too many"),
        pytest.param(b'{"a":1,}', id="a comma too many in an object"),
        pytest.param(b"{1:2}", id="a key that is no string"),
        pytest.param(b"{} x", id="something after the end"),
        pytest.param(b"{}{}", id="two values"),
        pytest.param(b"// c\n1", id="a comment"),
        pytest.param(b"'a'", id="single quotes"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    error = refusal(raw)
    assert error.field == "body"
    assert error.reason
    assert error.mend == "send one JSON value in UTF-8"


def test_an_escaped_nul_is_a_character_like_any_other() -> None:
    assert json.decode(b'{"name": "\\u0000"}', BODY, LIMITS).name == "\x00"


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert json.decode(b'{"name": "\\ud83d\\ude00"}', BODY, LIMITS).name == "\U0001f600"


@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"9" * 5_000)
@example(b"1e999999999")
@example(b'"' + b"\\" * 999)
@example(b"]" * 100 + b"[" * 100)
def test_any_bytes_are_json_or_an_invalid_request(raw: bytes) -> None:
    for limits in (LIMITS, Limits(json_depth_max=1_000_000, json_number_digits_max=1_000_000)):
        with contextlib.suppress(InvalidRequest):
            json.decode(raw, ANY, limits)
        with contextlib.suppress(InvalidRequest):
            json.decode(raw, BODY, limits)


def refuse(name: str) -> None:
    """Take NaN and Infinity for what they are."""
    raise ValueError(name)


@given(st.text(st.sampled_from('{}[]":,\\ 0123456789.eE+-utrfalsn\x00é' + string.ascii_letters), max_size=60))
def test_what_looks_like_json_is_json_for_us_exactly_when_it_is_for_others(text: str) -> None:
    try:
        value = stdlib_json.loads(text, parse_constant=refuse)
        stdlib_json.dumps(value, ensure_ascii=False).encode()  # refuses half a surrogate pair
    except ValueError:
        with pytest.raises(InvalidJson):
            json.decode(text.encode(), ANY, LIMITS)
    else:
        json.decode(text.encode(), ANY, LIMITS)


# --- the cost of hostile bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" * 65 + b'"' + b'\\"' * 2**18, id="a string of quotes that is not closed"),
        pytest.param(b"[" * 65 + b'"' + b'\\"' * 2**18 + b"\\", id="and ends in an escape"),
        pytest.param(b'"' + b"a" * 2**20 + b"7" * 1_001 + b'"', id="a string as long as the body"),
        pytest.param(b"[" + b"7" * 1_000 + (b"," + b"7" * 1_000) * 1_000 + b"]", id="numbers just within the limit"),
        pytest.param(b"[" * 2**19, id="brackets only"),
    ],
)
def test_the_check_takes_time_in_proportion_to_the_body(raw: bytes) -> None:
    """Up to a megabyte of the worst; where the time grows with the square of the size, it takes minutes."""
    begun = time.process_time()
    with contextlib.suppress(InvalidJson):
        json.check_json(raw, LIMITS)
    assert time.process_time() - begun < 5


# --- fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"{}", FieldError("name", "the field is missing", "add it")),
        (b'{"name":"a","nmae":1}', FieldError("nmae", "the field is not known", "leave it out, or correct its name")),
        (b'{"name":1}', FieldError("name", "Expected `str`, got `int`", "send a string")),
        (b'{"name":"a","count":"1"}', FieldError("count", "Expected `int`, got `str`", "send a whole number")),
        (b'{"name":"a","count":1.5}', FieldError("count", "Expected `int`, got `float`", "send a whole number")),
        (b'{"name":"a","parts":["b",2]}', FieldError("parts[1]", "Expected `str`, got `int`", "send a string")),
        (b'{"name":"a","more":{"b":"c"}}', FieldError("more[...]", "Expected `int`, got `str`", "send a whole number")),
        (b"[]", FieldError("body", "Expected `object`, got `array`", "send an object")),
        (b"null", FieldError("body", "Expected `object`, got `null`", "send an object")),
    ],
)
def test_a_wrong_field_is_named_with_its_reason_and_mend(raw: bytes, error: FieldError) -> None:
    with pytest.raises(InvalidField) as caught:
        json.decode(raw, BODY, LIMITS)
    assert caught.value.errors == (error,)


def test_the_path_of_a_field_can_be_put_behind_another() -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        BODY.decode(b'{"name":"a","parts":["b",2]}')
    assert json.field_error(caught.value, "results[3]").field == "results[3].parts[1]"
    with pytest.raises(msgspec.ValidationError) as caught:
        BODY.decode(b"{}")
    assert json.field_error(caught.value, "results[3]").field == "results[3].name"
    with pytest.raises(msgspec.ValidationError) as caught:
        BODY.decode(b"7")
    assert json.field_error(caught.value, "results[3]").field == "results[3]"


@given(st.text(max_size=20))
def test_any_name_of_an_unknown_field_is_refused(name: str) -> None:
    raw = stdlib_json.dumps({"name": "a", name: "b"}).encode()
    if name not in {"name", "count", "parts", "more"}:
        assert refusal(raw, BODY).reason


# --- payloads ----------------------------------------------------------------------------------------------------


def test_a_payload_may_be_as_large_as_the_limit() -> None:
    limits = Limits(payload_bytes_max=5)
    assert json.check_payload(b'"abc"', limits, "input") == b'"abc"'
    with pytest.raises(TooLarge) as caught:
        json.check_payload(b'"abcd"', limits, "input")
    assert caught.value.http_status == 413
    assert caught.value.errors == (
        FieldError(
            "input",
            "6 bytes are more than 5 (payload_bytes_max)",
            "keep the data elsewhere and send a reference to it, or raise payload_bytes_max",
        ),
    )


def test_refusals_are_errors_that_a_caller_may_see() -> None:
    assert issubclass(InvalidJson, OrchestratorError)
    assert InvalidJson.http_status == 400
    assert InvalidField.http_status == 422
