"""Every operation of the OpenAPI document, with inputs drawn from its schemas and against them."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import negative_data_rejection
from schemathesis.config import SchemathesisConfig
from schemathesis.python import asgi
from schemathesis.specs.openapi.schemas import OpenApiSchema

from orchestrator.api.app import make_app
from orchestrator.api.asgi import Asgi
from orchestrator.api.operations import OPERATIONS
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.limits import Limits
from orchestrator.settings import Settings

EXAMPLES: Final = 15

UNCONSTRAINED: Final = frozenset(
    {"listWorkflows", "listWorkers", "getDeadLetter", "discardDeadLetter", "redriveDeadLetter", "live", "ready"}
)
"""Operations whose inputs no schema forbids anything."""
CASES: Final = [
    (operation.name, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.name not in UNCONSTRAINED
]


class Served:
    """The application and the orchestrator behind it, opened and closed by ASGI's lifespan events."""

    _app: Asgi

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        limits = Limits(wait_seconds_max=0.01)
        async with contextlib.AsyncExitStack() as stack:
            orchestrator = await stack.enter_async_context(open_orchestrator(Settings(memory=True, limits=limits)))
            self._app = make_app(orchestrator, {asgi.HOST})
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@pytest.fixture(scope="module")
def document() -> OpenApiSchema:
    served = Served()
    with asgi.get_client(served) as client:
        client.post("/workflow/", json={"id": "flow", "steps": [{"action": "act"}], "retry": {"maxRetries": 0}})
        client.post("/workers", json={"workerId": "w", "actions": ["act"]})
        runs = [client.post("/workflow/flow/trigger").text for _ in range(6)]
        jobs = client.post("/workers/w/exchange", json={"capacity": 3}).json()["jobs"]
        failed = [{"jobId": job["jobId"], "attempt": 1, "status": "failed"} for job in jobs]
        client.post("/workers/w/exchange", json={"results": failed})
        letters = [letter["id"] for letter in client.get("/dead-letters").json()]
    assert len(runs) == 6
    assert len(letters) == 3
    paths = {
        "workflow_id": ["flow"],
        "worker_id": ["w"],
        "run_id": runs,
        "letter_id": letters,
        "number": [1],
        "code": ["fault", "busy"],
    }
    known = {f"path.{name}": values for name, values in paths.items()}
    # Only the list itself can make a cursor, and no schema says what lies before 1970.
    query = {"query.cursor": [""], "query.from": ["2001-01-01T00:00:00Z", ""], "query.to": ["2101-01-01T00:00:00Z", ""]}
    config = SchemathesisConfig.from_dict(
        {
            "seed": 7,
            "dictionaries": {name: {"values": values} for name, values in (known | query).items()},
            "parameters": {
                **{name: {"dictionary": name, "probability": 0.7} for name in known},
                **{name: {"dictionary": name, "probability": 1} for name in query},
            },
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 404, 409, 422]}},
            "generation": {"deterministic": True, "max-examples": EXAMPLES, "database": "none"},
        }
    )
    return schemathesis.openapi.from_asgi("/openapi.json", served, config=config)


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_answers_are_what_the_document_says(document: OpenApiSchema, name: str, mode: GenerationMode) -> None:
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=document.find_operation_by_id(name).as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(excluded_checks=[negative_data_rejection] if name == "exchange" else [])

    # An exchange takes results that break the schema: each of them is rejected alone, in an answer of 200.
    check()
