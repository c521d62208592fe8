"""Whatever bytes come in, no answer is a fault of ours."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.api.driver import PROBLEM, Answer, Api

POSTS: Final = [
    "/workflow/",
    "/workflow/flow/trigger",
    "/workflow/run/RUN/cancel",
    "/workers",
    "/workers/w/exchange",
    "/workers/w/heartbeat",
    "/workers/w/drain",
    "/dead-letters/nobody/redrive",
]

NAMES: Final = [
    *("id", "steps", "action", "stepIndex", "retry", "maxRetries", "delay", "backoff", "jitter", "timeout", "input"),
    *("reason", "workerId", "actions", "lease", "pid", "results", "capacity", "wait", "jobId", "attempt", "status"),
    *("result", "error", "type", "message", "retryable", "retryAfter", "inFlight", "details"),
]
LEAVES: Final = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=True)
    | st.text(max_size=8)
    | st.sampled_from(["flow", "act", "RUN:0", "1s", "500ms", "-1", "completed", "failed", "released", "fixed"])
)
SHAPED: Final = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=12,
)
BROKEN: Final = st.tuples(SHAPED, st.binary(max_size=6), st.integers(0, 400)).map(
    lambda drawn: (raw := json.dumps(drawn[0]).encode())[: drawn[2]] + drawn[1] + raw[drawn[2] :]
)


@pytest.fixture(scope="module")
def api() -> Any:
    with Api() as served:
        served.define()
        served.register("w")
        yield served


def check(answer: Answer) -> None:
    assert 200 <= answer.status < 500, answer
    if answer.status >= 400:
        assert answer.kind == PROBLEM
        assert answer.json()["status"] == answer.status


@pytest.mark.parametrize("path", POSTS)
def test_any_bytes_get_an_answer(api: Api, path: str) -> None:
    path = path.replace("RUN", api.trigger())

    @given(st.binary(max_size=200) | BROKEN)
    @example(b"")
    @example(b"\x00")
    @example(b"[" * 5_000)
    @example(b'{"results":[' + b"[" * 5_000)
    @example(b'{"results":[{"jobId":"x:0","attempt":1,"result":' + b"[" * 985 + b"]" * 985 + b"}]}")
    @example(b'{"inFlight":[{"jobId":"x:0","attempt":1,"details":' + b"[" * 985 + b"]" * 985 + b"}]}")
    def answers(raw: bytes) -> None:
        check(api.post(path, raw))

    answers()


@pytest.mark.parametrize("path", POSTS)
def test_any_value_gets_an_answer(api: Api, path: str) -> None:
    run_id = api.trigger()
    path = path.replace("RUN", run_id)

    @given(st.dictionaries(st.sampled_from(NAMES), SHAPED, max_size=8))
    def answers(value: dict[str, object]) -> None:
        # A wait that is drawn has to stay short.
        body = json.dumps({**value, "wait": 0} if "wait" in value else value).replace("RUN", run_id)
        check(api.post(path, body.encode()))

    answers()


QUERIES: Final = ["status", "workflow", "from", "to", "limit", "cursor", "view", "after", "action", "steps", "x"]


@pytest.mark.parametrize(
    "path",
    ["/workflow/runs", "/workflow/", "/workflow/run/RUN/events", "/workers", "/dead-letters", "/workflow/run/RUN"],
)
def test_any_query_gets_an_answer(api: Api, path: str) -> None:
    path = path.replace("RUN", api.trigger())
    bytes_in_url = st.binary(max_size=12).map(lambda raw: "".join(f"%{byte:02X}" for byte in raw))
    plain = st.text(st.characters(codec="ascii", exclude_characters="#"), max_size=12)
    values = bytes_in_url | plain

    @given(st.lists(st.tuples(st.sampled_from(QUERIES) | values, values), max_size=4), st.booleans())
    def answers(pairs: list[tuple[str, str]], as_page: bool) -> None:
        target = f"{path}?{'&'.join(f'{name}={value}' for name, value in pairs)}"
        answer = api.html(target) if as_page else api.get(target)
        assert 200 <= answer.status < 500, answer

    answers()


def test_any_path_and_headers_get_an_answer(api: Api) -> None:
    pieces = st.sampled_from(
        ["workflow", "run", "runs", "flow", "trigger", "workers", "w", "versions", "errors", "assets"]
    )
    latin = st.text(st.characters(codec="latin-1"), max_size=12)
    names = st.sampled_from(["accept", "origin", "host", "idempotency-key", "if-none-match", "content-type"])

    @given(
        st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"]),
        st.lists(pieces | st.binary(max_size=6).map(lambda raw: "".join(f"%{byte:02X}" for byte in raw)), max_size=5),
        st.dictionaries(names, latin, max_size=3),
    )
    def answers(method: str, parts: list[str], headers: dict[str, str]) -> None:
        answer = api.run(api.call(method, "/" + "/".join(parts), b"{}", headers))
        assert 200 <= answer.status < 500, answer

    answers()
