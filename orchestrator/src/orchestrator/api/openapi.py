"""The OpenAPI 3.1 document, made of the structs that the edge decodes and encodes."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec

from orchestrator import __version__
from orchestrator.api.operations import ID, OPERATIONS, TAGS, Operation
from orchestrator.model.definition import STEP_INDEX_MAX
from orchestrator.model.limits import Limits
from orchestrator.model.problem import Problem

_REF: Final = "#/components/schemas/{name}"
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_TITLES: Final = {
    400: "The request is not valid: a parameter, or the body is not JSON",
    403: "The Host or Origin is not this server's",
    404: "There is no such thing",
    409: "The state of the thing forbids it",
    413: "The body or a payload is too large",
    415: "The body is compressed",
    422: "A field has a wrong type or value",
    503: "Not now; Retry-After says when",
}
_DURATION: Final = {
    "description": 'Seconds, or a string with a unit: "500ms", "20s", "5m", "2h", "1d"',
    "minimum": 0,
    "pattern": r"^\s*[0-9]{1,15}(\.[0-9]{1,6})?\s*(ms|s|m|h|d)?\s*$",
}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("id", "workflowId", "workerId", "action"), ID),
    "actions": {"items": {"type": "string", **ID}},
    **dict.fromkeys(("timeout", "stepTimeout", "heartbeatTimeout", "delay", "maxDelay", "wait", "lease"), _DURATION),
    "stepIndex": {"minimum": 0, "maximum": STEP_INDEX_MAX},
    "maxRetries": {"minimum": 0, "maximum": Limits().max_retries_max},
    "jitter": {"minimum": 0, "maximum": 1},
}
"""Rules that the edge checks after decoding, by the name of the field; each holds only for values of its type."""


@cache
def document() -> dict[str, Any]:
    """Make the document."""
    types = [type_ for operation in OPERATIONS for type_ in operation.types()]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REF)
    for component in components.values():
        for name, described in component.get("properties", {}).items():
            described.update(rule(name))
    by_type = dict(zip([str(type_) for type_ in [*types, Problem]], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Workflow Orchestrator",
            "version": __version__,
            "description": "Define workflows, start runs, and write workers in any language.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": components},
    }


def rule(field: str) -> dict[str, Any]:
    """Give what the edge checks of a field of this name, after decoding."""
    return _FIELDS.get(field, {})


def _describe(operation: Operation, by_type: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [parameter.describe() for parameter in operation.parameters],
        "responses": {},
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": by_type[str(operation.body)]}},
        }
    for answer in operation.answers:
        kinds = [by_type[str(type_)] for type_ in answer.types()]
        content: dict[str, Any] = {}
        if kinds:
            content["application/json"] = {"schema": kinds[0] if len(kinds) == 1 else {"anyOf": kinds}}
        content |= {media: {"schema": {"type": "string"}} for media in answer.media}
        response: dict[str, Any] = {"description": answer.text}
        if content:
            response["content"] = content
        if answer.headers:
            response["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
            }
        described["responses"][str(answer.status)] = response
    for status in operation.problems:
        described["responses"][str(status)] = {"description": _TITLES[status], "content": _PROBLEM}
    return described
