"""Who may call: a page of another site may not, by whatever name it reaches the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.settings import Settings
from tests.api.driver import Api, check_problem

OWN = "127.0.0.1:8080"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.2:8080",
        "[::1]",
        "[::1]:8080",
    ],
)
def test_a_server_on_loopback_goes_by_its_own_names(api: Api, host: str) -> None:
    assert api.get("/workflow/runs", host=host).status == 200
    assert api.html("/workflow/runs", host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example#localhost",
        "localhost@evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "[::2]",
        "",
        " ",
        "a b",
        "\xff",
        "localhost:x",
        "localhost:",
        "[::1",
        "[",
        "]",
        "::1",
        "x" * 10_000,
    ],
    ids=lambda value: ascii(value)[:26],
)
def test_any_other_name_is_refused_on_every_path(api: Api, host: str) -> None:
    api.define()
    for method, path in (
        ("GET", "/workflow/runs"),
        ("GET", "/health/live"),
        ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
        ("OPTIONS", "/workflow/"),
        ("POST", "/workflow/flow/trigger"),
    ):
        answer = api.run(api.call(method, path, headers={"host": host}))
        if host in ("localhost:x", "localhost:", "[::1", "::1"):
            assert answer.status < 500  # a name of ours, or none that can be read
            continue
        check_problem(answer, 403, "host-refused")
    assert api.run(api.call("GET", "/", headers={"host": host, "accept": "text/html"})).status < 500


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "HTTP://127.0.0.1:8080"])
def test_a_page_of_our_own_may_change_things(api: Api, origin: str) -> None:
    api.define()
    assert api.post("/workflow/flow/trigger", b"{}", origin=origin).status == 201


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:3000",
        "http://localhost:8080",
        "http://127.0.0.1:8080.evil.example",
        "http://127.0.0.1:8080@evil.example",
        "http://evil.example/127.0.0.1:8080",
        "file://",
        "null",
        "",
        "127.0.0.1:8080",
        "http://[",
        "http://[::1",
        "::::",
        "\xff",
    ],
)
def test_a_page_of_another_site_may_change_nothing(api: Api, origin: str) -> None:
    api.define()
    api.register()
    run_id = api.trigger()
    for method, path in (
        ("POST", "/workflow/"),
        ("POST", "/workflow/flow/trigger"),
        ("POST", f"/workflow/run/{run_id}/cancel"),
        ("POST", "/workers/w/drain"),
        ("DELETE", "/workers/w"),
        ("DELETE", "/dead-letters/x"),
        ("PUT", "/workflow/"),
        ("BREW", "/workflow/"),
    ):
        answer = api.run(api.call(method, path, b"{}", {"origin": origin}))
        check_problem(answer, 403, "host-refused")
    assert api.counts() == (1, 1)
    assert api.show(run_id)["status"] == "RUNNING"
    assert api.get("/workers/w").json()["status"] == "CONNECTED"


def test_a_page_of_another_site_may_ask_but_gets_no_leave_to_read(api: Api) -> None:
    answer = api.get("/workflow/runs", origin="http://evil.example")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = api.run(api.call("OPTIONS", "/workflow/", headers=preflight))
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.fixture
def named() -> Iterator[Api]:
    with Api(hosts="Flows.example, other.example") as served:
        yield served


def test_a_server_may_be_given_further_names(named: Api) -> None:
    for host in ("flows.example", "FLOWS.example:443", "other.example", OWN, "localhost"):
        assert named.get("/workflow/runs", host=host).status == 200
    check_problem(named.get("/workflow/runs", host="evil.example"), 403, "host-refused")
    assert (
        named.post("/workers", {"actions": ["a"]}, host="flows.example", origin="https://flows.example").status == 200
    )
    answer = named.post("/workers", {"actions": ["a"]}, host="flows.example", origin="https://evil.example")
    check_problem(answer, 403, "host-refused")


def test_any_name_will_do_where_that_is_asked_for() -> None:
    with Api(hosts="*") as api:
        for host in ("evil.example", "", "localhost:x"):
            assert api.get("/workflow/runs", host=host).status == 200
        answer = api.post("/workers", {"actions": ["a"]}, host="a.example", origin="http://b.example")
        check_problem(answer, 403, "host-refused")


def test_names_by_address_and_setting() -> None:
    local = frozenset({"localhost", "127.0.0.1", "::1"})
    assert Settings().names == local
    assert Settings(host="::1").names == local
    assert Settings(host="localhost", hosts=" a , ,b ").names == local | {"a", "b"}
    assert Settings(hosts="a,*").names is None
    assert Settings(host="0.0.0.0").names is None
    assert Settings(host="0.0.0.0", hosts="a").names == local | {"a", "0.0.0.0"}
