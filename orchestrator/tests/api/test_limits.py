"""Each limit that the edge keeps, at its last good value and one beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, check_problem

MIB = 1024 * 1024


def flow(**fields: object) -> dict[str, Any]:
    return {"id": "flow", "steps": [{"action": "act"}], **fields}


def define(api: Api, **fields: object) -> Answer:
    return api.post("/workflow/", flow(**fields))


def define_bytes(api: Api, size: int) -> Answer:
    body = b'{"id":"flow","steps":[{"action":"act"}],"description":"%s"}'
    return api.post("/workflow/", body % (b"x" * (size - len(body) + 2)))


def trigger(api: Api, value: bytes, **headers: str) -> Answer:
    api.define()
    return api.post("/workflow/flow/trigger", b'{"input":' + value + b"}", **headers)


def request(api: Api, size: int) -> Answer:
    """Send a body of so many bytes, most of them white space."""
    api.register()
    return api.post("/workers/w/heartbeat", b"{}".rjust(size))


def request_in_pieces(api: Api, size: int) -> Answer:
    api.register()
    body = b"{}".rjust(size)
    pieces = [body[start : start + MIB] for start in range(0, size, MIB)]
    return api.run(api.call("POST", "/workers/w/heartbeat", pieces))


def register(api: Api, **fields: object) -> Answer:
    return api.post("/workers", {"actions": ["a"], **fields})


class Case(NamedTuple):
    """What is sent, and what comes back when it is one too many."""

    send: Callable[[Api, int], Answer]
    most: int
    code: str
    field: str
    more: int = 1


CASES = {
    "request_bytes_max": Case(request, 16 * MIB, "too-large", "body"),
    "request_bytes_max in pieces": Case(request_in_pieces, 16 * MIB, "too-large", "body"),
    "payload_bytes_max": Case(lambda api, n: trigger(api, b'"' + b"x" * (n - 2) + b'"'), 2 * MIB, "too-large", "input"),
    "definition_bytes_max": Case(define_bytes, 512 * 1024, "too-large", "body"),
    "definition_steps_max": Case(
        lambda api, n: define(api, steps=[{"action": "a"}] * n), 1_000, "definition-invalid", "steps"
    ),
    "json_depth_max": Case(lambda api, n: trigger(api, b"[" * n + b"]" * n), 64, "json-invalid", "body"),
    "json_depth_max in objects": Case(
        lambda api, n: trigger(api, b'{"a":' * n + b"1" + b"}" * n), 64, "json-invalid", "body"
    ),
    "json_number_digits_max": Case(lambda api, n: trigger(api, b"7" * n), 1_000, "json-invalid", "body"),
    "id_length_max of a workflow": Case(lambda api, n: define(api, id="x" * n), 128, "definition-invalid", "id"),
    "id_length_max of an action": Case(
        lambda api, n: define(api, steps=[{"action": "x" * n}]), 128, "definition-invalid", "steps[0].action"
    ),
    "id_length_max of a worker": Case(lambda api, n: register(api, workerId="x" * n), 128, "field-invalid", "workerId"),
    "id_length_max of a worker's action": Case(
        lambda api, n: register(api, actions=["x" * n]), 128, "field-invalid", "actions[0]"
    ),
    "actions_per_worker_max": Case(
        lambda api, n: register(api, actions=[f"a{number}" for number in range(n)]), 1_000, "field-invalid", "actions"
    ),
    "lease_seconds_max": Case(lambda api, n: register(api, lease=n), 3_600, "field-invalid", "lease"),
    "lease_seconds_max in milliseconds": Case(
        lambda api, n: register(api, lease=f"{n}ms"), 3_600_000, "field-invalid", "lease"
    ),
    "idempotency_key_length_max": Case(
        lambda api, n: trigger(api, b"1", idempotency_key="k" * n), 255, "field-invalid", "Idempotency-Key"
    ),
    "max_retries_max": Case(
        lambda api, n: define(api, retry={"maxRetries": n}), 10_000, "definition-invalid", "retry.maxRetries"
    ),
    "duration_seconds_max": Case(lambda api, n: define(api, timeout=n), 366 * 86_400, "definition-invalid", "timeout"),
    "duration_seconds_max of a delay": Case(
        lambda api, n: define(api, retry={"delay": f"{n}d"}), 366, "definition-invalid", "retry.delay"
    ),
    "stepIndex": Case(
        lambda api, n: define(api, steps=[{"action": "a", "stepIndex": n}]),
        2**31 - 1,
        "definition-invalid",
        "steps[0].stepIndex",
    ),
    "list_limit_max": Case(lambda api, n: api.get(f"/workflow/runs?limit={n}"), 500, "parameter-invalid", "limit"),
    "list_limit_max of dead letters": Case(
        lambda api, n: api.get(f"/dead-letters?limit={n}"), 500, "parameter-invalid", "limit"
    ),
    "the name of an SDK": Case(lambda api, n: register(api, sdk="x" * n), 128, "field-invalid", "sdk"),
    "the least lease": Case(lambda api, n: register(api, lease=f"{n}ms"), 1_000, "field-invalid", "lease", -1),
    "the least limit": Case(lambda api, n: api.get(f"/workflow/runs?limit={n}"), 1, "parameter-invalid", "limit", -1),
    "the least stepIndex": Case(
        lambda api, n: define(api, steps=[{"action": "a", "stepIndex": n}]),
        0,
        "definition-invalid",
        "steps[0].stepIndex",
        -1,
    ),
    "the least number of retries": Case(
        lambda api, n: define(api, retry={"maxRetries": n}), 0, "definition-invalid", "retry.maxRetries", -1
    ),
    "the least timeout": Case(lambda api, n: define(api, timeout=f"{n}ms"), 1, "definition-invalid", "timeout", -1),
}


@pytest.mark.parametrize("name", CASES)
def test_the_last_good_value_is_taken_and_one_beyond_is_not(api: Api, name: str) -> None:
    case = CASES[name]
    answer = case.send(api, case.most)
    assert answer.status in (200, 201), answer
    problem = check_problem(case.send(api, case.most + case.more), _status(case.code), case.code)
    (error,) = problem["errors"]
    assert error["field"] == case.field
    assert error["mend"]


def _status(code: str) -> int:
    return {"too-large": 413, "json-invalid": 400, "parameter-invalid": 400}.get(code, 422)


@pytest.mark.parametrize(
    "name", ["id_length_max of a workflow", "idempotency_key_length_max", "json_depth_max", "list_limit_max"]
)
def test_a_limit_that_was_set_lower_holds(name: str) -> None:
    with Api(
        Limits(
            id_length_max=10, idempotency_key_length_max=10, json_depth_max=10, list_limit_max=10, list_limit_default=5
        )
    ) as api:
        assert CASES[name].send(api, 10).status in (200, 201)
        assert CASES[name].send(api, 11).status in (400, 422)


def test_a_wait_beyond_its_limit_is_no_error(api: Api) -> None:
    api.register()
    api.define()
    run_id = api.trigger()
    api.post("/workers/w/drain")
    assert api.exchange(wait=61) == {"draining": True}
    assert api.exchange(wait="1d") == {"draining": True}
    api.post(f"/workflow/run/{run_id}/cancel")
    assert api.show(run_id, wait=86_400)["status"] == "CANCELLED"
