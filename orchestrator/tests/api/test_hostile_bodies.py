"""Bodies that nobody should send: each gets an answer that says what is wrong, and leaves nothing behind."""

from __future__ import annotations

import gzip
import json
import time
from decimal import Decimal

import pytest

from tests.api.driver import Answer, Api, Caller, check_problem

MIB = 1024 * 1024

WHERE = ["/workflow/", "/workflow/flow/trigger", "/workers", "/workers/w/exchange", "/workers/w/heartbeat", "CANCEL"]
"""Every path that takes a body; the last is the cancel of a run."""


@pytest.fixture
def run_id(api: Api) -> str:
    api.define()
    api.register("w", "nothing")
    return api.trigger(payload="untouched")


def path_of(where: str, run_id: str) -> str:
    return f"/workflow/run/{run_id}/cancel" if where == "CANCEL" else where


def check_untouched(api: Api, run_id: str) -> None:
    assert api.counts() == (1, 1)
    run = api.show(run_id)
    assert (run["status"], run["input"]) == ("RUNNING", "untouched")
    assert len(api.get("/workers").json()) == 1


def check_refusal(answer: Answer, *codes: str) -> None:
    assert 400 <= answer.status < 500, answer
    problem = check_problem(answer, answer.status, answer.json()["code"])
    assert problem["code"] in codes
    assert problem["errors"][0]["mend"]


# --- what is compressed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("encoding", ["gzip", "br", "gzip, identity", "x" * 10_000])
def test_a_body_that_is_compressed_is_refused_as_that(api: Api, run_id: str, where: str, encoding: str) -> None:
    answer = api.post(path_of(where, run_id), gzip.compress(b"{}"), content_encoding=encoding)
    problem = check_problem(answer, 415, "encoding-unsupported")
    assert answer.headers["accept-encoding"] == "identity"
    assert problem["errors"][0]["field"] == "Content-Encoding"
    assert len(answer.body) < 1_000
    check_refusal(answer, "encoding-unsupported")
    check_untouched(api, run_id)


def test_a_body_that_says_it_is_as_it_is_is_taken(api: Api) -> None:
    api.define()
    for encoding in ("identity", "Identity"):
        assert api.post("/workflow/flow/trigger", {"input": 1}, content_encoding=encoding).status == 201


# --- what is not JSON --------------------------------------------------------------------------------------------

NOT_JSON = [
    pytest.param(b"{", id="cut off"),
    pytest.param(b'{"input"', id="cut off in a name"),
    pytest.param(b'{"input":"', id="cut off in a text"),
    pytest.param(b'{"input":"\\', id="cut off in an escape"),
    pytest.param(b"{} x", id="something after the end"),
    pytest.param(b"{}{}", id="two values"),
    pytest.param(b"{}\x00", id="NUL after the end"),
    pytest.param(b"\x00{}", id="NUL before"),
    pytest.param(b"\x00", id="NUL"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param("{}".encode("utf-16"), id="UTF-16"),
    pytest.param("{}".encode("utf-32"), id="UTF-32"),
    pytest.param(b'{"input":"\xff"}', id="not UTF-8"),
    pytest.param(b'{"input":"\xed\xa0\x80"}', id="half a surrogate pair in UTF-8"),
    pytest.param(b'{"input":"\xc0\x80"}', id="overlong NUL"),
    pytest.param(b"{'input':1}", id="single quotes"),
    pytest.param(b"{input:1}", id="name without quotes"),
    pytest.param(b"{,}", id="comma"),
    pytest.param(b"input=1", id="a form"),
    pytest.param(b"<input/>", id="XML"),
    pytest.param(b"--- {}", id="YAML"),
    pytest.param(b"[" * 100_000, id="brackets that are not closed"),
    pytest.param(b'{"a":' * 20_000, id="objects that are not closed"),
]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("raw", NOT_JSON)
def test_what_is_not_json_is_refused(api: Api, run_id: str, where: str, raw: bytes) -> None:
    # A field that is wrong may be met before what is not JSON.
    check_refusal(api.post(path_of(where, run_id), raw), "json-invalid", "field-invalid", "definition-invalid")
    check_untouched(api, run_id)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"7", b'"{}"', b"true", b"1e999", b"[{}]"])
@pytest.mark.parametrize("where", WHERE)
def test_what_is_no_object_is_refused(api: Api, run_id: str, where: str, raw: bytes) -> None:
    check_refusal(api.post(path_of(where, run_id), raw), "field-invalid", "definition-invalid", "json-invalid")
    check_untouched(api, run_id)


@pytest.mark.parametrize("raw", [b"", b"  \n"])
@pytest.mark.parametrize("where", ["/workflow/", "/workers", "/workers/w/exchange", "/workers/w/heartbeat"])
def test_nothing_at_all_is_refused_where_something_is_needed(api: Api, run_id: str, where: str, raw: bytes) -> None:
    check_refusal(api.post(where, raw), "json-invalid")
    check_untouched(api, run_id)


BAD_VALUES = [
    pytest.param(b"NaN", id="NaN"),
    pytest.param(b"-Infinity", id="Infinity"),
    pytest.param(b'"\\ud800"', id="half a surrogate pair"),
    pytest.param(b'"\\udc00"', id="the other half"),
    pytest.param(b'"\x00"', id="NUL"),
    pytest.param(b'"a\tb"', id="tab"),
    pytest.param(b'"\\x41"', id="escape that JSON lacks"),
    pytest.param(b"01", id="leading zero"),
    pytest.param(b"+1", id="plus"),
    pytest.param(b".5", id="no digit before the point"),
    pytest.param(b"1.", id="no digit after the point"),
    pytest.param(b"0x10", id="hexadecimal"),
    pytest.param(b"[1,]", id="comma too many"),
    pytest.param(b"7" * 1_001, id="1001 digits"),
    pytest.param(b"0." + b"7" * 1_001, id="1001 digits after the point"),
    pytest.param(b"1e" + b"7" * 1_001, id="1001 digits in the exponent"),
    pytest.param(b"[" * 65 + b"]" * 65, id="65 arrays deep"),
    pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="65 objects deep"),
    pytest.param(b"[" * 1_000 + b"]" * 1_000, id="1000 deep"),
    pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100000 deep"),
    pytest.param(b'{"a":[' * 50_000 + b"]}" * 50_000, id="100000 deep by turns"),
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_an_input_that_other_readers_could_not_take_is_refused(api: Api, run_id: str, value: bytes) -> None:
    begun = time.monotonic()
    check_refusal(api.post("/workflow/flow/trigger", b'{"input":' + value + b"}"), "json-invalid")
    assert time.monotonic() - begun < 5
    check_untouched(api, run_id)


@pytest.mark.parametrize("value", [one for one in BAD_VALUES if one.id not in ("65 arrays deep", "65 objects deep")])
@pytest.mark.parametrize("where", ["/workflow/", "/workers", "/workers/w/exchange", "/workers/w/heartbeat", "CANCEL"])
def test_bad_values_anywhere_else_are_no_fault(api: Api, run_id: str, where: str, value: bytes) -> None:
    """Where a field is not known it may be ignored; it must not be stored, and it must not be an error of ours."""
    raw = b'{"actions":["x"],"id":"x","steps":[{"action":"x"}],"more":' + value + b"}"
    answer = api.post(path_of(where, run_id), raw)
    if where in ("/workflow/", "CANCEL"):
        check_refusal(answer, "json-invalid", "field-invalid", "definition-invalid")
        check_untouched(api, run_id)
    else:
        assert answer.status < 500


# --- what is large -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_refused_and_its_rest_not_read(
    api: Api, run_id: str, where: str, chunked: bool
) -> None:
    piece = b'{"input":"' + b"x" * (MIB - 10)
    caller = Caller([piece] * 40)
    headers = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(40 * MIB)}
    answer = api.run(api.call("POST", path_of(where, run_id), [], headers, caller))
    check_problem(answer, 413, "too-large")
    check_refusal(answer, "too-large")
    assert caller.taken <= (18 if chunked else 1)
    check_untouched(api, run_id)


def test_a_payload_of_ten_megabytes_is_refused(api: Api, run_id: str) -> None:
    raw = b'{"input":"' + b"x" * (10 * MIB) + b'"}'
    for body in (raw, [raw[start : start + 65_536] for start in range(0, len(raw), 65_536)]):
        answer = api.run(api.call("POST", "/workflow/flow/trigger", body))
        problem = check_problem(answer, 413, "too-large")
        assert problem["errors"][0]["field"] == "input"
        assert "payload_bytes_max" in problem["errors"][0]["mend"]
    check_untouched(api, run_id)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"[]," * (4 * MIB // 3) + b"[]", id="arrays"),
        pytest.param(b'"\\"[",' * (4 * MIB // 6) + b"1", id="texts"),
        pytest.param(b"7" * 1_000 + (b"," + b"7" * 1_000) * 4_000, id="numbers"),
        pytest.param(b'"' + b"x" * (4 * MIB) + b'"', id="one text"),
    ],
)
def test_to_look_at_a_large_body_takes_no_long_time(api: Api, run_id: str, value: bytes) -> None:
    begun = time.process_time()
    answer = api.post("/workflow/flow/trigger", b'{"input":[' + value + b"]}")
    assert time.process_time() - begun < 2
    check_refusal(answer, "too-large")
    check_untouched(api, run_id)


# --- what is odd but good ----------------------------------------------------------------------------------------

EXACT = [
    b"0",
    b"-0",
    b"-0.0",
    b"1.10",
    b"1.0",
    b"1e400",
    b"1E-400",
    b"-1e+400",
    b"0.1000000000000000055511151231257827",
    b"123456789012345678901234567890",
    b"-9007199254740993",
    b"18446744073709551616",
    b"7" * 1_000,
    b"0." + b"3" * 1_000,
    b'"\\u0000"',
    b'"\\ud83d\\ude00\\u00e9"',
    '"\U0001f600é\u2028\u00a0"'.encode(),
    b'"\\/\\b\\f"',
    b'{"b":1,"a":2,"b":3}',
    b'{"":{"":[]}}',
    b'{"__proto__":{"x":1},"constructor":null}',
    b"[ 1 ,\t2\n]",
    b"[" * 64 + b"]" * 64,
    b'{"a":' * 63 + b"[]" + b"}" * 63,
    b"[" + b",".join([b"[[]]"] * 1_000) + b"]",
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: value[:24].decode())
def test_every_value_comes_through_to_the_last_character(api: Api, value: bytes) -> None:
    """Trigger, job, result, run, list, dead letter: the bytes stay the same."""
    api.define("flow", "one", "two", retry={"maxRetries": 0})
    api.register("w", "one", "two")
    run_id = api.post("/workflow/flow/trigger", b'{"input":' + value + b"}").text
    job = api.post("/workers/w/exchange", {"capacity": 1})
    assert b'"payload":' + value + b"," in job.body
    result = b'{"results":[{"jobId":"%s:0","attempt":1,"result":%s}],"capacity":1}' % (run_id.encode(), value)
    following = api.post("/workers/w/exchange", result)
    assert b'"payload":' + value + b"," in following.body
    shown = api.get(f"/workflow/run/{run_id}").body
    assert b'"input":' + value + b"," in shown
    assert b'"result":' + value + b"," in shown
    api.exchange(results=[{"jobId": f"{run_id}:1", "attempt": 1, "status": "failed"}])
    assert b'"payload":' + value + b"," in api.get("/dead-letters").body
    assert b'"input":' + value + b"," in api.get("/workflow/runs").body


def test_numbers_are_read_exactly_by_a_reader_that_can(api: Api) -> None:
    api.define()
    raw = b'{"input":[12345678901234567890123, 1.10, 1e400]}'
    run_id = api.post("/workflow/flow/trigger", raw).text
    found = json.loads(api.get(f"/workflow/run/{run_id}").body, parse_float=Decimal)["input"]
    assert found == [12345678901234567890123, Decimal("1.10"), Decimal("1e400")]
    assert str(found[1]) == "1.10"


def test_of_two_fields_with_one_name_the_last_counts(api: Api) -> None:
    api.define()
    run_id = api.post("/workflow/flow/trigger", b'{"input":1,"input":2}').text
    assert api.show(run_id)["input"] == 2
    raw = b'{"id":"a","id":"b","steps":[{"action":"x","action":"y"}]}'
    assert api.post("/workflow/", raw).json()["id"] == "b"
    assert api.get("/workflow/b").json()["steps"][0]["action"] == "y"
