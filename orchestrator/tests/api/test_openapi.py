"""The OpenAPI document is valid, complete, and says no more than there is."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import falcon.inspect
import jsonschema_rs
import pytest
import schemathesis

from orchestrator import __version__
from orchestrator.api.operations import OPERATIONS
from orchestrator.model.limits import Limits
from tests.api.driver import PROBLEM, Api, check_problem

METHODS: Final = ("get", "post", "delete")

NOT_IN_THE_DOCUMENT: Final = {
    ("get", path) for path in ("/", "/assets/{name}", "/openapi.json", "/asyncapi", "/metrics")
}
"""What only browsers need, and the documents themselves."""


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    answer = api.get("/openapi.json")
    assert (answer.status, answer.kind) == (200, "application/json")
    found: dict[str, Any] = answer.json()
    return found


def objects(value: object) -> Iterator[dict[str, Any]]:
    """Give every object in a JSON value."""
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from objects(member)
    elif isinstance(value, list):
        for member in value:
            yield from objects(member)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


# --- the document ------------------------------------------------------------------------------------------------


def test_it_is_a_valid_document_of_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["version"] == __version__
    schemathesis.openapi.from_dict(document).validate()


def test_its_schemas_are_valid_and_their_defaults_fit(document: dict[str, Any]) -> None:
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        for field, described in schema.get("properties", {}).items():
            if "default" in described:
                validator = jsonschema_rs.validator_for({**described, "components": document["components"]})
                assert validator.is_valid(described["default"]), f"{name}.{field}"


def test_every_reference_leads_somewhere_and_every_schema_is_used(document: dict[str, Any]) -> None:
    references = {found["$ref"] for found in objects(document) if "$ref" in found}
    assert references == {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}


def test_every_operation_has_a_name_of_its_own_and_a_tag_that_is_explained(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) == len(OPERATIONS)
    tags = {tag["name"] for tag in document["tags"]}
    assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} == tags
    assert all(operation["summary"] for _, _, operation in operations(document))


def test_every_part_of_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        described = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert described == set(re.findall(r"{(\w+)}", path))
        assert all(one["required"] for one in operation["parameters"] if one["in"] == "path")


def test_every_operation_says_how_it_fails(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        failures = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert 403 in failures, path
        assert ("{" in path) <= (404 in failures), path
        assert ("requestBody" in operation) <= ({400, 413, 422} <= failures.keys()), (method, path)
        for answer in failures.values():
            assert answer["content"] == {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_bodies_from_people_forbid_fields_that_are_not_known_and_those_of_workers_do_not(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    for name in ("DefinitionBody", "StepBody", "RetryBody", "TriggerBody", "CancelBody"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("RegisterBody", "ExchangeBody", "ResultBody", "ErrorBody", "HeartbeatBody", "JobInFlight"):
        assert schemas[name].get("additionalProperties", True) is True


def test_limits_in_the_document_are_those_that_hold(document: dict[str, Any]) -> None:
    limits = Limits()
    schemas = document["components"]["schemas"]
    assert schemas["DefinitionBody"]["properties"]["id"]["maxLength"] == limits.id_length_max
    assert schemas["RetryBody"]["properties"]["maxRetries"]["maximum"] == limits.max_retries_max
    (limit,) = (one for one in document["paths"]["/workflow/runs"]["get"]["parameters"] if one["name"] == "limit")
    assert (limit["schema"]["maximum"], limit["schema"]["default"]) == (
        limits.list_limit_max,
        limits.list_limit_default,
    )


# --- the document and the application ----------------------------------------------------------------------------


def test_the_application_has_the_operations_of_the_document_and_no_others(api: Api, document: dict[str, Any]) -> None:
    edge = api.app._application  # type: ignore[attr-defined]
    app = inspect.getclosurevars(edge).nonlocals["app"]
    routes = {
        (method.method.lower(), route.path)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if method.method.lower() in METHODS and not method.internal
    }
    described = {(method, path if path == "/" else path.rstrip("/")) for method, path, _ in operations(document)}
    assert routes - NOT_IN_THE_DOCUMENT == described
    assert described.isdisjoint(NOT_IN_THE_DOCUMENT)


def test_the_example_of_the_worker_protocol_fits_the_document(document: dict[str, Any]) -> None:
    examples = {
        "RegisterBody": {"workerId": "curl-1", "actions": ["hello"], "lease": "30s"},
        "ExchangeBody": {
            "results": [{"jobId": "x:0", "attempt": 1, "result": "Hello World"}],
            "capacity": 1,
            "wait": "20s",
        },
        "HeartbeatBody": {"inFlight": [{"jobId": "x:0", "attempt": 1, "details": {"done": 40}}]},
        "ExchangeAnswer": {
            "jobs": [
                {
                    "jobId": "x:0",
                    "attempt": 1,
                    "workflowRunId": "x",
                    "workflowId": "greet",
                    "stepIndex": 0,
                    "action": "hello",
                    "payload": "World",
                    "lease": 30,
                    "timeout": 60,
                    "deadline": "2026-11-23T10:01:00.000000Z",
                    "heartbeatTimeout": 10,
                    "alone": True,
                    "details": {"done": 40},
                }
            ],
            "cancelled": [{"jobId": "x:1", "attempt": 1}],
            "rejected": [{"jobId": "x:3", "attempt": 2, "code": "attempt-superseded", "reason": "over"}],
            "draining": True,
        },
        "HeartbeatAnswer": {"cancelled": [], "unknown": [{"jobId": "x:0", "attempt": 1}], "draining": False},
    }
    for name, example in examples.items():
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(schema, example)


def test_every_kind_of_problem_is_explained_under_its_type(api: Api) -> None:
    codes = [
        check_problem(api.get("/nowhere"), 404, "path-not-found"),
        check_problem(api.get("/workflow/nobody"), 404, "workflow-not-found"),
        check_problem(api.post("/workflow/", b"{"), 400, "json-invalid"),
        check_problem(api.post("/workflow/", b"{}"), 422, "definition-invalid"),
        check_problem(api.post("/workers", b"{}"), 422, "field-invalid"),
        check_problem(api.get("/workers?x"), 400, "parameter-invalid"),
        check_problem(api.get("/", host="evil.example"), 403, "host-refused"),
        check_problem(api.delete("/workflow/"), 405, "method-not-allowed"),
    ]
    for problem in codes:
        answer = api.get(problem["type"])
        assert answer.status == 200
        explained = answer.json()
        assert {name: explained[name] for name in ("code", "title", "status")} == {
            name: problem[name] for name in ("code", "title", "status")
        }
        assert explained["meaning"]
        assert problem["title"] in api.html(problem["type"]).text
    for name in ("nothing", "", "%00", "Fault"):
        check_problem(api.get(f"/errors/{name}"), 404, "path-not-found")


def test_the_document_is_the_same_every_time(api: Api) -> None:
    assert api.get("/openapi.json").body == api.get("/openapi.json/").body
    assert json.dumps(api.get("/openapi.json", accept="text/html").json())
