"""Who gets what: JSON for programs, pages for browsers, problems for what cannot be."""

from __future__ import annotations

import re

import pytest

from orchestrator.api.app import make_app
from orchestrator.model.role import Role
from tests.api.driver import PROBLEM, Api, check_problem, failed

PAGES = ["/workflow/runs", "/workflow/", "/workflow/flow", "RUN", "/workers", "/dead-letters", "LETTER"]
DATA_ONLY = ["/workflow/flow/versions", "/workflow/flow/versions/1", "EVENTS", "/workers/w", "/openapi.json"]

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.fixture
def paths(api: Api) -> dict[str, str]:
    """What the names in the lists above stand for."""
    api.define("flow", "act", retry={"maxRetries": 0})
    api.register()
    run_id = api.trigger()
    api.exchange(results=[failed(api.take()[0])])
    (letter,) = api.get("/dead-letters").json()
    run = f"/workflow/run/{run_id}"
    return {"RUN": run, "EVENTS": f"{run}/events", "LETTER": f"/dead-letters/{letter['id']}"}


# --- pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_browser_gets_a_page_and_others_get_json(api: Api, paths: dict[str, str], name: str) -> None:
    path = paths.get(name, name)
    for target in (path, f"{path.rstrip('/')}/"):
        page = api.get(target, accept=BROWSER)
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.text.startswith("<!doctype html>")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["vary"] == "Accept"
    for accept in ("*/*", "application/json", "", "text/plain", "application/*"):
        data = api.get(path, accept=accept)
        assert (data.status, data.kind, data.headers["vary"]) == (200, "application/json", "Accept")
        data.json()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_the_browser_has_is_not_sent_again(api: Api, paths: dict[str, str], name: str) -> None:
    path = paths.get(name, name)
    page = api.get(path, accept=BROWSER)
    tag = page.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]+"', tag)
    for held in (tag, f"W/{tag}"):
        again = api.get(path, accept=BROWSER, if_none_match=held)
        assert (again.status, again.body) == (304, b"")
        assert (again.headers["etag"], again.headers["vary"]) == (tag, "Accept")
    assert api.get(path, accept=BROWSER, if_none_match='"other"').status == 200
    assert api.get(path, if_none_match=tag).kind == "application/json"


def test_a_page_that_has_changed_has_another_tag(api: Api) -> None:
    before = api.html("/workflow/")
    api.define()
    after = api.html("/workflow/", if_none_match=before.headers["etag"])
    assert after.status == 200
    assert after.headers["etag"] != before.headers["etag"]


@pytest.mark.parametrize("name", DATA_ONLY)
def test_what_has_no_page_is_json_for_browsers_too(api: Api, paths: dict[str, str], name: str) -> None:
    answer = api.get(paths.get(name, name), accept=BROWSER)
    assert (answer.status, answer.kind) == (200, "application/json")


def test_a_page_loads_only_what_is_there(api: Api, paths: dict[str, str]) -> None:
    page = api.html(paths["RUN"]).text
    assets = set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', page))
    assert assets
    for path in assets:
        answer = api.get(path)
        assert answer.status == 200
        assert answer.body
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["app.css", "..", "%2e%2e%2fassets.py", "", "%00", "x" * 5_000])
def test_an_asset_that_is_not_there(api: Api, name: str) -> None:
    check_problem(api.get(f"/assets/{name}"), 404, "path-not-found")


def test_a_list_of_runs_is_filtered_on_its_page_too(api: Api, paths: dict[str, str]) -> None:
    run_id = paths["RUN"].rpartition("/")[2]
    assert run_id in api.html("/workflow/runs?status=FAILED&workflow=flow&from=&to=").text
    assert run_id not in api.html("/workflow/runs?status=COMPLETED").text


def test_the_front_door_leads_to_the_runs(api: Api) -> None:
    for accept in (BROWSER, "*/*"):
        answer = api.get("/", accept=accept)
        assert (answer.status, answer.headers["location"]) == (302, "/workflow/runs")


@pytest.mark.parametrize("accept", [BROWSER, "*/*"])
@pytest.mark.parametrize("name", [*PAGES, *DATA_ONLY, "/", "/health/live", "/health/ready"])
def test_head_is_get_without_its_body(api: Api, paths: dict[str, str], name: str, accept: str) -> None:
    path = paths.get(name, name)
    head = api.run(api.call("HEAD", path, headers={"accept": accept}))
    got = api.get(path, accept=accept)
    assert (head.status, head.kind, head.body) == (got.status, got.kind, b"")
    assert head.headers.keys() == got.headers.keys()
    assert "HEAD" in api.run(api.call("OPTIONS", path)).headers["allow"]


def test_head_is_not_for_what_changes_something(api: Api) -> None:
    api.define()
    answer = api.run(api.call("HEAD", "/workflow/flow/trigger"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_a_version_of_http_that_is_not_spoken_is_told(api: Api, version: str) -> None:
    check_problem(api.run(api.call("GET", "/workflow/", http_version=version)), 400, "request-invalid")


# --- problems ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/workflow/nobody", 404),
        ("/workflow/run/nobody", 404),
        ("/dead-letters/nobody", 404),
        ("/nowhere", 404),
        ("/workflow/runs?limit=0", 400),
        ("/workers?x=1", 400),
    ],
)
def test_a_problem_is_a_page_for_browsers(api: Api, path: str, status: int) -> None:
    page = api.get(path, accept=BROWSER)
    assert (page.status, page.kind) == (status, "text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert api.get(path, accept=BROWSER, if_none_match=page.headers["etag"]).status == status
    for accept in ("*/*", "application/json", PROBLEM, "text/plain"):
        assert (api.get(path, accept=accept).status, api.get(path, accept=accept).kind) == (status, PROBLEM)


def test_what_a_caller_sent_is_no_markup_on_an_error_page(api: Api) -> None:
    for path in ("/workflow/%3Cscript%3E1%3C%2Fscript%3E", "/%3Cscript%3E1", "/workflow/runs?%3Cscript%3E=1"):
        page = api.html(path)
        assert page.status in (400, 404)
        assert "<script>1" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/workflow/flow/nowhere",
        "/workflow/a/b/c/d",
        "/workflow//flow",
        "/workflow/flow//",
        "/workflow/a%2Fb",
        "/WORKFLOW",
        "/workers/w/nowhere",
        "/health",
        "/health/dead",
        "/favicon.ico",
        "/%00",
        "/%FF",
        "/é".encode().decode("latin-1"),
        "/" + "x" * 10_000,
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_paths_that_lead_nowhere(api: Api, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "PUT"):
        problem = check_problem(api.run(api.call(method, path)), 404, "path-not-found")
        assert "errors" not in problem


ALLOWED = {
    "/workflow/": {"GET", "POST"},
    "/workflow/flow": {"GET"},
    "/workflow/flow/versions": {"GET"},
    "/workflow/flow/versions/1": {"GET"},
    "/workflow/flow/trigger": {"POST"},
    "/workflow/runs": {"GET"},
    "/workflow/run/x": {"GET"},
    "/workflow/run/x/events": {"GET"},
    "/workflow/run/x/cancel": {"POST"},
    "/workers": {"GET", "POST"},
    "/workers/w": {"GET", "DELETE"},
    "/workers/w/exchange": {"POST"},
    "/workers/w/heartbeat": {"POST"},
    "/workers/w/drain": {"POST"},
    "/dead-letters": {"GET"},
    "/dead-letters/x": {"GET", "DELETE"},
    "/dead-letters/x/redrive": {"POST"},
    "/health/live": {"GET"},
    "/health/ready": {"GET"},
    "/openapi.json": {"GET"},
    "/": {"GET"},
}


@pytest.mark.parametrize("path", ALLOWED)
def test_methods_that_a_path_does_not_have(api: Api, path: str) -> None:
    allowed = ALLOWED[path] | ({"HEAD"} if "GET" in ALLOWED[path] else set())
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE", "CONNECT"} - allowed:
        answer = api.run(api.call(method, path, b"{}"))
        assert (answer.status, answer.kind) == (405, PROBLEM), method
        assert {*answer.headers["allow"].split(", ")} == allowed | {"OPTIONS"}
        if method == "HEAD":
            assert answer.body == b""
        else:
            check_problem(answer, 405, "method-not-allowed")
    options = api.run(api.call("OPTIONS", path))
    assert (options.status, {*options.headers["allow"].split(", ")}) == (200, allowed)


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "X" * 5_000, "G\x00T"])
def test_methods_that_are_not_known(api: Api, method: str) -> None:
    answer = api.run(api.call(method, "/workflow/runs"))
    assert answer.status in (400, 405)
    check_problem(answer, answer.status, "request-invalid" if answer.status == 400 else "method-not-allowed")


@pytest.mark.parametrize("slash", ["", "/"])
def test_health(api: Api, slash: str) -> None:
    for name in ("live", "ready"):
        answer = api.get(f"/health/{name}{slash}")
        assert (answer.status, answer.kind, answer.json()["status"]) == (200, "application/json", name)
        assert answer.json()["time"].endswith("Z")


def test_a_process_without_the_api_says_so_and_still_says_how_it_is() -> None:
    with Api() as api:
        api.orchestrator.life.roles = frozenset({Role.ENGINE, Role.TIMERS})
        api.app = make_app(api.orchestrator, None)
        for method, path in (("GET", "/"), ("GET", "/workflow/runs"), ("POST", "/workflow/"), ("POST", "/workers")):
            answer = api.run(api.call(method, path))
            check_problem(answer, 421, "role-missing")
            assert "engine and timers only" in answer.json()["detail"]
        for path in ("/health/live", "/health/ready", "/errors/role-missing"):
            assert api.get(path).status == 200


def test_nothing_is_ready_before_it_runs() -> None:
    with Api() as api:
        services = api.orchestrator.life.services
        api.orchestrator.life.services = []
        answer = api.get("/health/ready")
        check_problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get("/health/live").status == 200
        api.orchestrator.life.services = services
        assert api.get("/health/ready").status == 200
