"""One bad result never costs its neighbours: it fails its own attempt, and the others of the call are recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.driver import Api, check_problem, done

DEEP = [65, 66, 100, 500, *range(940, 1_000, 4), 1_000, 2_000, 20_000]

FATAL = [
    pytest.param(b'"result":NaN', id="NaN"),
    pytest.param(b'"result":[1,-Infinity]', id="Infinity"),
    pytest.param(b'"result":"\\ud800"', id="half a surrogate pair"),
    pytest.param(b'"result":{"a":"\\udc00\\ud800"}', id="a pair the wrong way round"),
    pytest.param(b'"result":"\x00"', id="NUL"),
    pytest.param(b'"result":"a\nb"', id="line break"),
    pytest.param(b'"result":01', id="leading zero"),
    pytest.param(b'"result":{"a" 1}', id="no colon"),
    pytest.param(b'"result":undefined', id="undefined"),
    pytest.param(b'"result":' + b"7" * 1_001, id="long number"),
    pytest.param(b'"result":1e' + b"7" * 1_001, id="long exponent"),
    pytest.param(b'"status":"done"', id="status that is not known"),
    pytest.param(b'"status":7', id="status that is a number"),
    pytest.param(b'"status":null', id="status that is null"),
    pytest.param(b'"status":"failed","error":"it broke"', id="error that is a text"),
    pytest.param(b'"status":"failed","error":{"type":null}', id="type that is null"),
    pytest.param(b'"status":"failed","error":{"message":["no"]}', id="message that is a list"),
    pytest.param(b'"status":"failed","error":{"message":"\\ud83d"}', id="message with half a surrogate pair"),
    pytest.param(b'"status":"failed","error":{"retryable":"no"}', id="retryable that is a text"),
    pytest.param(b'"status":"failed","error":{"retryAfter":{}}', id="retryAfter that is an object"),
    pytest.param(b'"status":"failed","error":{"retryAfter":1e999}', id="retryAfter beyond all numbers"),
    pytest.param(b'"result":"' + b"x" * (2 * 1024 * 1024 - 1) + b'"', id="too large"),
    pytest.param(b'"result":NaN,"more":[{"jobId":"other:0","attempt":7}]', id="names in nested objects"),
    pytest.param(b'"result":"\\", \\"jobId\\": \\"other:0\\"","x":NaN', id="names in a text"),
    *(pytest.param(b'"result":' + b"[" * deep + b"]" * deep, id=f"{deep} arrays deep") for deep in DEEP),
    pytest.param(b'"result":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000, id="5000 objects deep"),
]


def call(*results: bytes, rest: bytes = b'"capacity":0') -> bytes:
    return b'{"results":[' + b",".join(results) + b"]," + rest + b"}"


def write(job: dict[str, Any], fields: bytes = b'"result":"good"') -> bytes:
    return b'{"jobId":"%s",%s,"attempt":%d}' % (job["jobId"].encode(), fields, job["attempt"])


@pytest.fixture
def jobs(api: Api) -> list[dict[str, Any]]:
    """Three jobs in one worker's hands, of which none has a retry."""
    api.define("flow", "act", retry={"maxRetries": 3, "delay": 0})
    api.register()
    for _ in range(3):
        api.trigger()
    return api.take(capacity=3)


def statuses(api: Api, jobs: list[dict[str, Any]]) -> list[str]:
    return [api.show(job["workflowRunId"])["status"] for job in jobs]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", FATAL)
def test_a_bad_result_fails_its_attempt_for_good(api: Api, jobs: list[dict[str, Any]], bad: bytes, place: int) -> None:
    results = [write(job, bad if number == place else b'"result":"good"') for number, job in enumerate(jobs)]
    answer = api.post("/workers/w/exchange", call(*results))
    assert answer.status == 200, answer
    (rejected,) = answer.json()["rejected"]
    job = jobs[place]
    assert (rejected["jobId"], rejected["attempt"], rejected["code"]) == (job["jobId"], 1, "result-invalid")
    assert rejected["reason"]
    assert statuses(api, jobs) == ["FAILED" if number == place else "COMPLETED" for number in range(3)]
    run = api.show(job["workflowRunId"])
    assert run["error"] == {"type": "ResultInvalid", "message": rejected["reason"], "stack": None}
    assert [attempt["status"] for attempt in run["steps"][0]["attempts"]] == ["FAILED"]
    assert api.get("/workers/w").json()["inHand"] == []


NAMELESS = [
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b'{"jobId":7,"attempt":1}',
    b'{"jobId":null,"attempt":1}',
    b'{"attempt":1}',
    b'{"jobId":"x:0"}',
    b'{"jobId":"x:0","attempt":"1"}',
    b'{"jobId":"x:0","attempt":1.5}',
    b'{"jobId":"x:0","attempt":null}',
    b'{"jobId":"x:0","attempt":1e999}',
    b'{"jobId":"\\ud800:0","attempt":1}',
    b"NaN",
    b"[NaN]",
    b"{NaN}",
    b"[" * 3_000 + b"]" * 3_000,
]


@pytest.mark.parametrize("bad", NAMELESS, ids=lambda value: value[:30].decode())
def test_a_result_that_names_no_attempt_is_rejected_and_the_others_recorded(
    api: Api, jobs: list[dict[str, Any]], bad: bytes
) -> None:
    answer = api.post("/workers/w/exchange", call(write(jobs[0]), bad, write(jobs[1])))
    (rejected,) = answer.json()["rejected"]
    assert rejected["code"] == "result-invalid"
    assert None in (rejected["jobId"], rejected["attempt"])
    assert statuses(api, jobs) == ["COMPLETED", "COMPLETED", "RUNNING"]


def test_every_result_may_be_bad_in_its_own_way(api: Api, jobs: list[dict[str, Any]]) -> None:
    fields = (b'"result":NaN', b'"status":"done"', b'"result":' + b"[" * 2_000 + b"]" * 2_000)
    results = [write(job, bad) for job, bad in zip(jobs, fields, strict=True)]
    answer = api.post("/workers/w/exchange", call(*results))
    assert [one["jobId"] for one in answer.json()["rejected"]] == [job["jobId"] for job in jobs]
    assert statuses(api, jobs) == ["FAILED"] * 3


@pytest.mark.parametrize("rest", [b'"capacity":2,"wait":1', b'"x":[["results"]],"capacity":2', b'"capacity" : 2'])
def test_the_rest_of_the_call_counts_as_ever(api: Api, jobs: list[dict[str, Any]], rest: bytes) -> None:
    api.trigger()
    api.trigger()
    answer = api.post("/workers/w/exchange", call(write(jobs[0], b'"result":NaN'), write(jobs[1]), rest=rest))
    assert len(answer.json()["jobs"]) == 2
    assert statuses(api, jobs) == ["FAILED", "COMPLETED", "RUNNING"]


@pytest.mark.parametrize(
    "shape",
    [
        b'{"capacity":0,"results":[%s]}',
        b'{ "x" : {"results":[1]} , "results" :\n [ %s ] }',
        b'{"results":[%s],"y":"],["}',
        b'{"x":"\\"results\\":[","results":[%s]}',
    ],
)
def test_results_are_found_wherever_they_stand(api: Api, jobs: list[dict[str, Any]], shape: bytes) -> None:
    raw = shape % b" , ".join([write(jobs[0]), write(jobs[1], b'"result":NaN'), write(jobs[2])])
    assert len(api.post("/workers/w/exchange", raw).json()["rejected"]) == 1
    assert statuses(api, jobs) == ["COMPLETED", "FAILED", "COMPLETED"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"results":[%s, {"jobId": "x:0", "attempt": 1, "result": NaN}',
        b'{"results":[%s, {"jobId": "x:0", "attempt": 1, "result": NaN}]',
        b'{"results":[%s, {"jobId": "x:0", "attempt": 1, "result": "]}',
        b'{"results":[%s, {"jobId": "x:0", "attempt": 1, "result": NaN}], "capacity": NaN}',
        b'{"results":[%s, NaN]} x',
        b'{"results":[%s, NaN]}{}',
        b"{results:[%s, NaN]}",
        b'[{"results":[%s, NaN]}]',
        b'["results",[%s, NaN]]',
        b'{"results":[%s, NaN}]',
    ],
)
def test_a_call_that_cannot_be_told_apart_is_refused_as_a_whole(
    api: Api, jobs: list[dict[str, Any]], raw: bytes
) -> None:
    answer = api.post("/workers/w/exchange", raw % write(jobs[0]))
    assert answer.status in (400, 422), answer
    check_problem(answer, answer.status, "json-invalid" if answer.status == 400 else "field-invalid")
    assert statuses(api, jobs) == ["RUNNING"] * 3


def test_a_bad_result_of_a_job_that_is_over_changes_nothing(api: Api, jobs: list[dict[str, Any]]) -> None:
    job = jobs[0]
    api.exchange(results=[done(job, "good")])
    answer = api.post("/workers/w/exchange", call(write(job, b'"result":NaN')))
    assert [one["code"] for one in answer.json()["rejected"]] == ["result-invalid"]
    assert api.show(job["workflowRunId"])["finalOutput"] == "good"


def test_numbers_of_fields_that_are_not_known_have_no_limit(api: Api, jobs: list[dict[str, Any]]) -> None:
    answer = api.post("/workers/w/exchange", call(write(jobs[0], b'"took":' + b"7" * 5_000)))
    assert answer.json() == {}
