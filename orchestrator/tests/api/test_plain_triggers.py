"""A trigger that is answered on the short way is answered as on the long one, in every respect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, Caller, check_problem

TWICE = (("x-other", "1"), ("x-other", "2"))
"""Makes a request unusual, without a meaning of its own."""
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUN = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


async def unreached(*_: Any) -> None:
    raise AssertionError("the application was asked")


def short(api: Api, target: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Trigger on the short way; an answer that is not the application's."""
    application, api.app._application = api.app._application, unreached  # type: ignore[attr-defined]
    try:
        return api.run(api.call("POST", target, body, headers))
    finally:
        api.app._application = application  # type: ignore[attr-defined]


def long(api: Api, target: str, body: bytes, headers: dict[str, str]) -> Answer:
    return api.run(api.call("POST", target, body, headers, more=TWICE))


def alike(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """Give all of an answer but for the id of the run, with the headers in their order."""
    headers = [(name, RUN.sub("ID", value)) for name, value in answer.headers.items()]
    return answer.status, headers, RUN.sub("ID", answer.text).encode()


@pytest.fixture
def api() -> Iterator[Api]:
    """An orchestrator that this caller was at before, with a short wait."""
    with Api(Limits(wait_seconds_max=0.01, payload_bytes_max=100)) as served:
        served.define("flow", "act")
        long(served, "/workflow/flow/trigger?wait=1s", b"", {})
        yield served


@pytest.mark.parametrize("target", ["/workflow/flow/trigger", "/workflow/flow/trigger?wait=1s"])
@pytest.mark.parametrize("body", [b"", b"{}", b" ", b'{"input": [1, "\xc3\xa9"]}'])
@pytest.mark.parametrize("headers", [{}, {"Accept": "text/html"}, {"traceparent": TRACE, "tracestate": "a=b"}])
def test_both_ways_begin_a_run_alike(api: Api, target: str, body: bytes, headers: dict[str, str]) -> None:
    one, other = short(api, target, body, headers), long(api, target, body, headers)
    assert one.status == 201
    assert alike(one) == alike(other)
    shown, expected = (api.show(answer.text) for answer in (one, other))
    for name in ("input", "status", "version"):
        assert shown.get(name) == expected.get(name)
    assert one.headers["location"] == f"/workflow/run/{one.text}"


def test_a_key_means_the_same_run_on_both_ways(api: Api) -> None:
    headers = {"Idempotency-Key": "k"}
    first = short(api, "/workflow/flow/trigger", b"{}", headers)
    again = short(api, "/workflow/flow/trigger", b"{}", headers)
    other = long(api, "/workflow/flow/trigger", b"{}", headers)
    assert (first.status, again.status, other.status) == (201, 200, 200)
    assert first.text == again.text == other.text
    assert alike(again) == alike(other)


@pytest.mark.parametrize(
    ("target", "body", "headers", "status"),
    [
        ("/workflow/none/trigger", b"", {}, 404),
        ("/workflow/run/trigger", b"", {}, 405),
        ("/workflow/flow/trigger?wait=x", b"", {}, 422),
        ("/workflow/flow/trigger?other=1s", b"", {}, 400),
        ("/workflow/flow/trigger", b"{", {}, 400),
        ("/workflow/flow/trigger", b"\xff", {}, 400),
        ("/workflow/flow/trigger", b'{"other": 1}', {}, 422),
        ("/workflow/flow/trigger", b'{"input": "%s"}' % (b"x" * 100), {}, 413),
        ("/workflow/flow/trigger", b"", {"Idempotency-Key": " "}, 422),
        ("/workflow/flow/trigger", b"", {"Idempotency-Key": "x" * 1_000}, 422),
        ("/workflow/flow/trigger", b"", {"Content-Encoding": "gzip"}, 415),
        ("/workflow/flow/trigger", b"", {"Origin": "http://evil.example"}, 403),
        ("/workflow/flow/trigger", b"", {"Host": "evil.example"}, 403),
        ("/workflow/flow/trigger", b"{}", {"Content-Length": "x"}, 400),
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_what_is_refused_is_refused_alike(
    api: Api, target: str, body: bytes, headers: dict[str, str], status: int, accept: str
) -> None:
    one = api.run(api.call("POST", target, body, {**headers, "Accept": accept}))
    other = long(api, target, body, {**headers, "Accept": accept})
    assert one.status == status
    assert alike(one) == alike(other)


def test_a_fault_is_a_problem_and_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("insides")

    monkeypatch.setattr(api.orchestrator, "trigger", fail)
    answer = api.post("/workflow/flow/trigger", b"{}")
    assert "insides" not in check_problem(answer, 500, "fault")["detail"]


def test_a_body_in_pieces_takes_the_long_way(api: Api) -> None:
    caller = Caller([b'{"inp', b'ut": 7}'])
    answer = api.run(api.call("POST", "/workflow/flow/trigger", headers={"Content-Length": "12"}, caller=caller))
    assert answer.status == 201
    assert api.show(answer.text)["input"] == 7


@pytest.mark.parametrize("more", [(), TWICE])
def test_who_has_gone_before_the_server_looked_starts_nothing(api: Api, more: tuple[tuple[str, str], ...]) -> None:
    before = api.counts()
    caller = Caller()
    caller.taken = 1
    answer = api.run(api.call("POST", "/workflow/flow/trigger", caller=caller, more=more))
    assert answer == (0, {}, b"")
    assert api.counts() == before


def test_an_answer_in_json_takes_the_long_way(api: Api) -> None:
    answer = api.run(api.call("POST", "/workflow/flow/trigger", b"{}", {"Accept": "application/json"}))
    assert (answer.status, list(answer.json())) == (201, ["runId"])


def test_both_ways_are_counted_together(api: Api) -> None:
    counted = api.app._served  # type: ignore[attr-defined]
    key = ("POST", "/workflow/{workflow_id}/trigger")
    for way in (short, long):
        before = counted.requests[*key, "201"], sum(counted.seconds[key].counts)
        way(api, "/workflow/flow/trigger?wait=1s", b"", {})
        assert (counted.requests[*key, "201"], sum(counted.seconds[key].counts)) == (before[0] + 1, before[1] + 1)
    api.run(api.call("POST", "/workflow/none/trigger", b""))
    assert counted.requests[*key, "404"] == 1


def test_a_process_that_leaves_closes_the_connection(api: Api) -> None:
    api.orchestrator.life.leave()
    one, other = short(api, "/workflow/flow/trigger", b"", {}), long(api, "/workflow/flow/trigger", b"", {})
    assert one.headers["connection"] == "close"
    assert dict(one.headers).keys() == dict(other.headers).keys()


def test_only_so_many_queries_are_remembered(api: Api) -> None:
    waits = api.app._trigger.waits  # type: ignore[attr-defined]
    long(api, f"/workflow/flow/trigger?wait={'0' * 9}1{' ' * 40}s".replace(" ", "%20"), b"", {})
    assert len(waits) == 2
    for number in range(100):
        long(api, f"/workflow/flow/trigger?wait={number}ms", b"", {})
    assert len(waits) == 64
    assert short(api, "/workflow/flow/trigger?wait=1s", b"", {}).status == 201
