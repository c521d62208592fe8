"""Definitions: made, versioned, read, and refused field by field."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.driver import Api, check_problem

FIRST = {"id": "my-first-workflow", "steps": [{"action": "step1", "stepIndex": 0}, {"action": "step2", "stepIndex": 1}]}
RETRY = {
    "maxRetries": 3,
    "delay": 1,
    "backoff": "fixed",
    "maxDelay": None,
    "jitter": 0,
    "nonRetryable": [],
}


@pytest.mark.parametrize("path", ["/workflow/", "/workflow"])
def test_the_first_example_of_the_readme_is_a_definition(api: Api, path: str) -> None:
    answer = api.post(path, FIRST)
    assert answer.status == 201
    assert answer.kind == "application/json"
    assert answer.headers["location"] == "/workflow/my-first-workflow/versions/1"
    shown = answer.json()
    assert shown.pop("createdAt").endswith("Z")
    plain = {"retry": RETRY, "timeout": None, "heartbeatTimeout": None}
    assert shown == {
        "id": "my-first-workflow",
        "version": 1,
        "description": "",
        "timeout": None,
        "steps": [{"action": "step1", "stepIndex": 0, **plain}, {"action": "step2", "stepIndex": 1, **plain}],
    }
    assert api.get(answer.headers["location"]).json() == answer.json()


def test_the_same_content_is_no_new_version(api: Api) -> None:
    first = api.post("/workflow/", FIRST)
    second = api.post(
        "/workflow/", b'{"steps":[{"action":"step1"},{"stepIndex":1,"action":"step2"}],' + b' "id":"my-first-workflow"}'
    )
    assert (first.status, second.status) == (201, 200)
    assert second.json() == first.json()
    assert second.headers["location"] == "/workflow/my-first-workflow/versions/1"
    assert api.counts() == (1, 0)


def test_other_content_is_a_new_version_and_runs_keep_theirs(api: Api) -> None:
    api.define("flow", "one")
    before = api.trigger()
    answer = api.define("flow", "one", "two")
    assert answer.status == 201
    assert answer.json()["version"] == 2
    after = api.trigger()
    assert [version["version"] for version in api.get("/workflow/flow/versions").json()] == [2, 1]
    assert api.get("/workflow/flow").json()["version"] == 2
    assert len(api.get("/workflow/flow/versions/1").json()["steps"]) == 1
    assert (api.show(before)["workflowVersion"], api.show(after)["workflowVersion"]) == (1, 2)


def test_content_of_an_earlier_version_is_a_new_version_again(api: Api) -> None:
    for action, version in (("one", 1), ("two", 2), ("one", 3)):
        assert api.define("flow", action).json()["version"] == version


@pytest.mark.parametrize("slash", ["", "/"])
def test_definitions_are_listed_by_id(api: Api, slash: str) -> None:
    for name in ("b", "c", "a"):
        api.define(name)
    api.define("b", "other")
    listed = api.get(f"/workflow{slash}").json()
    assert [(one["id"], one["version"]) for one in listed] == [("a", 1), ("b", 2), ("c", 1)]
    assert api.get(f"/workflow/b{slash}").json() == listed[1]
    assert api.get(f"/workflow/b/versions{slash}").json()[0] == listed[1]
    assert api.get(f"/workflow/b/versions/2{slash}").json() == listed[1]


def test_every_field_of_a_definition_comes_back_with_its_defaults_filled_in(api: Api) -> None:
    definition = {
        "id": "order",
        "description": "orders",
        "timeout": "1h",
        "retry": {"maxRetries": 5, "delay": "500ms", "maxDelay": "1m", "jitter": 0.5, "nonRetryable": ["Bad"]},
        "stepTimeout": "5m",
        "heartbeatTimeout": 30,
        "steps": [
            {"action": "reserve", "stepIndex": 10},
            {
                "action": "charge",
                "stepIndex": 5,
                "retry": {"maxRetries": 10, "backoff": "exponential"},
                "timeout": "1.5s",
                "heartbeatTimeout": "5s",
            },
        ],
    }
    shown = api.post("/workflow/", definition).json()
    first, second = shown["steps"]
    common = {"delay": 0.5, "maxDelay": 60, "jitter": 0.5, "nonRetryable": ["Bad"]}
    assert shown["description"] == "orders"
    assert shown["timeout"] == 3600
    assert first == {
        "action": "charge",
        "stepIndex": 5,
        "retry": {"maxRetries": 10, "backoff": "exponential", **common},
        "timeout": 1.5,
        "heartbeatTimeout": 5,
    }
    assert second == {
        "action": "reserve",
        "stepIndex": 10,
        "retry": {"maxRetries": 5, "backoff": "fixed", **common},
        "timeout": 300,
        "heartbeatTimeout": 30,
    }


@pytest.mark.parametrize(
    "name", ["a", "_", "9", "A.b_c:d@e-f", "x" * 128, "00000000-0000-0000-0000-000000000000", "workers"]
)
def test_ids_may_look_like_this(api: Api, name: str) -> None:
    api.define(name, name)
    assert api.get(f"/workflow/{name}").json()["steps"][0]["action"] == name
    assert api.show(api.trigger(name))["workflowId"] == name


ODD_NAMES = [
    pytest.param("", id="empty"),
    pytest.param(" ", id="space"),
    pytest.param("a b", id="space inside"),
    pytest.param("a/b", id="slash"),
    pytest.param("..", id="dots"),
    pytest.param("-x", id="dash first"),
    pytest.param("a\x00b", id="NUL"),
    pytest.param("a\nb", id="line break"),
    pytest.param("a\n", id="line break last"),
    pytest.param("é", id="letter beyond ASCII"),
    pytest.param("\U0001f600", id="emoji"),
    pytest.param("٣", id="digit beyond ASCII"),
    pytest.param("a%2Fb", id="percent"),
    pytest.param("<b>", id="brackets"),
    pytest.param("x" * 129, id="one too long"),
    pytest.param("x" * 10_000, id="far too long"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_ids_and_actions_are_refused(api: Api, name: str) -> None:
    for body, field in (
        ({"id": name, "steps": [{"action": "a"}]}, "id"),
        ({"id": "a", "steps": [{"action": "a"}, {"action": name}]}, "steps[1].action"),
    ):
        problem = check_problem(api.post("/workflow/", body), 422, "definition-invalid")
        assert [error["field"] for error in problem["errors"]] == [field]
        assert problem["errors"][0]["mend"]
    assert api.counts() == (0, 0)


@pytest.mark.parametrize("name", ["run", "runs"])
def test_ids_that_are_paths_are_reserved(api: Api, name: str) -> None:
    problem = check_problem(api.post("/workflow/", {"id": name, "steps": [{"action": "a"}]}), 422, "definition-invalid")
    assert problem["errors"][0]["field"] == "id"
    assert api.counts() == (0, 0)


def step(**fields: object) -> dict[str, Any]:
    return {"id": "flow", "steps": [{"action": "a", **fields}]}


def flow(**fields: object) -> dict[str, Any]:
    return {"id": "flow", "steps": [{"action": "a"}], **fields}


WRONG = [
    ({}, "id"),
    ({"id": "flow"}, "steps"),
    ({"steps": [{"action": "a"}]}, "id"),
    (flow(id=None), "id"),
    (flow(id=7), "id"),
    (flow(steps=[]), "steps"),
    (flow(steps={}), "steps"),
    (flow(steps=None), "steps"),
    (flow(steps=[{}]), "steps[0].action"),
    (flow(steps=["a"]), "steps[0]"),
    (flow(steps=[{"action": "a"}, {"acton": "b"}]), "steps[1].acton"),
    (flow(setps=1), "setps"),
    (flow(description=7), "description"),
    (flow(timeout="soon"), "timeout"),
    (flow(timeout=0), "timeout"),
    (flow(timeout=-1), "timeout"),
    (flow(timeout=True), "timeout"),
    (flow(timeout="367d"), "timeout"),
    (flow(timeout=1e300), "timeout"),
    (flow(stepTimeout="1 week"), "stepTimeout"),
    (flow(stepTimeout="0s"), "stepTimeout"),
    (flow(heartbeatTimeout=[]), "heartbeatTimeout"),
    (flow(retry=3), "retry"),
    (flow(retry={"maxRetries": -1}), "retry.maxRetries"),
    (flow(retry={"maxRetries": 10_001}), "retry.maxRetries"),
    (flow(retry={"maxRetries": 1.5}), "retry.maxRetries"),
    (flow(retry={"maxRetries": "3"}), "retry.maxRetries"),
    (flow(retry={"backoff": "linear"}), "retry.backoff"),
    (flow(retry={"jitter": 1.01}), "retry.jitter"),
    (flow(retry={"jitter": -0.01}), "retry.jitter"),
    (flow(retry={"delay": "-1s"}), "retry.delay"),
    (flow(retry={"maxDelay": 0}), "retry.maxDelay"),
    (flow(retry={"nonRetryable": "Bad"}), "retry.nonRetryable"),
    (flow(retry={"nonRetryable": [1]}), "retry.nonRetryable[0]"),
    (flow(retry={"retries": 1}), "retry.retries"),
    (step(stepIndex=-1), "steps[0].stepIndex"),
    (step(stepIndex="0"), "steps[0].stepIndex"),
    (step(stepIndex=0.5), "steps[0].stepIndex"),
    (step(stepIndex=2**31), "steps[0].stepIndex"),
    (step(stepIndex=10**40), "steps[0].stepIndex"),
    (step(timeout="x"), "steps[0].timeout"),
    (step(heartbeatTimeout="x"), "steps[0].heartbeatTimeout"),
    (step(retry={"delay": "x"}), "steps[0].retry.delay"),
    (step(retry={"jitter": 2}), "steps[0].retry.jitter"),
    (flow(steps=[{"action": "a", "stepIndex": 4}, {"action": "b", "stepIndex": 4}]), "steps[1].stepIndex"),
    (flow(steps=[{"action": "a", "stepIndex": 1}, {"action": "b"}]), "steps[1].stepIndex"),
]


@pytest.mark.parametrize(("body", "field"), WRONG, ids=lambda value: str(value)[-60:])
def test_a_wrong_field_is_named_and_nothing_is_kept(api: Api, body: dict[str, Any], field: str) -> None:
    problem = check_problem(api.post("/workflow/", body), 422, "definition-invalid")
    (error,) = problem["errors"]
    assert error["field"] == field
    assert error["mend"]
    assert problem["detail"] == "1 field is wrong"
    assert api.counts() == (0, 0)


def test_all_that_is_wrong_is_said_at_once(api: Api) -> None:
    body = {"id": "a b", "steps": [{"action": ""}, {"action": "a", "stepIndex": 0}], "timeout": "x"}
    problem = check_problem(api.post("/workflow/", body), 422, "definition-invalid")
    fields = {error["field"] for error in problem["errors"]}
    assert fields == {"id", "steps[0].action", "steps[1].stepIndex", "timeout"}
    assert problem["detail"] == "4 fields are wrong"


def test_a_refused_version_leaves_the_latest_as_it_was(api: Api) -> None:
    before = api.define("flow", "one").json()
    check_problem(api.post("/workflow/", flow(timeout="x")), 422, "definition-invalid")
    assert api.get("/workflow/flow").json() == before
    assert api.counts() == (1, 0)


@pytest.mark.parametrize("number", ["0", "2", "x", "-1", "1.0", "99999999999", "%D9%A1"])
def test_a_version_that_is_not_there(api: Api, number: str) -> None:
    api.define()
    check_problem(api.get(f"/workflow/flow/versions/{number}"), 404, "workflow-not-found")


@pytest.mark.parametrize("name", ["nobody", "%00", "%FF", "a%20b", "x" * 5_000])
def test_a_workflow_that_is_not_there(api: Api, name: str) -> None:
    for path in (f"/workflow/{name}", f"/workflow/{name}/versions", f"/workflow/{name}/versions/1"):
        check_problem(api.get(path), 404, "workflow-not-found")
