"""Writes what ``protocol/`` has from the source: run by ``make docs``, compared by a test.

The examples there are written by hand: they are what the source is tested against.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from orchestrator.api import asyncapi, openapi
from orchestrator.model import wire
from orchestrator.model.topics import TOPICS

FOLDER: Final = Path(__file__).parents[3] / "protocol"
EXAMPLES: Final = FOLDER / "examples"

RECORDS: Final = {"job": "JobRecord", "result": "ResultRecord", "heartbeat": "HeartbeatRecord", "stop": "StopRecord"}
"""File names of the records on topics, and their types."""
BODIES: Final = {
    "register": wire.RegisterBody,
    "registered": wire.Registered,
    "exchange": wire.ExchangeBody,
    "exchange-answer": wire.ExchangeAnswer,
    "worker-heartbeat": wire.HeartbeatBody,
    "worker-heartbeat-answer": wire.HeartbeatAnswer,
}
"""File names of the bodies over HTTP, and their types."""

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_DEFS: Final = "#/$defs/{name}"
_WORKER_PATHS: Final = (
    "/workers",
    "/workers/{worker_id}",
    "/workers/{worker_id}/exchange",
    "/workers/{worker_id}/heartbeat",
)


def files() -> dict[Path, str]:
    """Give each file and its text."""
    documents = {
        "asyncapi.json": asyncapi.document(TOPICS),
        "openapi.json": gateway(),
        **{f"schemas/{name}.schema.json": schema for name, schema in schemas().items()},
    }
    return {
        FOLDER / name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents.items()
    }


def gateway() -> dict[str, Any]:
    """Take what workers need out of the server's OpenAPI document."""
    whole = openapi.document()
    paths = {
        path: {method: one for method, one in whole["paths"][path].items() if method != "get"} for path in _WORKER_PATHS
    }
    return {
        **whole,
        "info": {**whole["info"], "title": "Workflow Orchestrator: workers over HTTP"},
        "tags": [tag for tag in whole["tags"] if tag["name"] == "workers"],
        "paths": paths,
        "components": {"schemas": _needed(paths, whole["components"]["schemas"])},
    }


def schemas() -> dict[str, dict[str, Any]]:
    """Give the JSON Schema of every record and body, each by itself."""
    records = asyncapi.schemas(_DEFS)
    found = {name: _alone(type_, records) for name, type_ in RECORDS.items()}
    for name, type_ in BODIES.items():
        (_, bodies) = msgspec.json.schema_components([type_], ref_template=_DEFS)
        for title, body in bodies.items():
            for field, described in body["properties"].items():
                described.update(openapi.rule(field))
                if text := asyncapi.MEANINGS.get(title, {}).get(field):
                    described.setdefault("description", text)
        found[name] = _alone(type_.__name__, bodies)
    return found


def _alone(name: str, components: dict[str, Any]) -> dict[str, Any]:
    schema = {"$schema": _DRAFT, **components[name]}
    parts = _needed(components[name], components)
    return {**schema, "$defs": parts} if parts else schema


def _needed(value: Any, components: dict[str, Any]) -> dict[str, Any]:
    """Give the components that a value refers to, and those that these refer to."""
    found: dict[str, Any] = {}
    waiting = list(_references(value))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = components[name]
            waiting += _references(components[name])
    return {name: found[name] for name in sorted(found)}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for member in value.values():
            yield from _references(member)
    elif isinstance(value, list):
        for member in value:
            yield from _references(member)


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
