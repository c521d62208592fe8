"""Triggers: the answer in every form, what a run gets as input, and one run for one key."""

from __future__ import annotations

import asyncio
import json
import re
import uuid

import pytest

from orchestrator.model.limits import Limits
from tests.api.driver import Answer, Api, Caller, check_problem, done, settle

RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


# --- the answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_answer_is_the_bare_run_id(api: Api, slash: str) -> None:
    api.define()
    answer = api.post(f"/workflow/flow/trigger{slash}", b'{"input": "Hello World"}')
    assert answer.status == 201
    assert answer.kind == "text/plain"
    assert RUN_ID.fullmatch(answer.text)
    assert answer.headers["location"] == f"/workflow/run/{answer.text}"
    assert answer.headers["vary"] == "Accept"
    run = api.get(answer.headers["location"]).json()
    assert (run["runId"], run["workflowId"], run["input"]) == (answer.text, "flow", "Hello World")


def test_the_answer_is_json_when_asked_for(api: Api) -> None:
    api.define()
    answer = api.post("/workflow/flow/trigger", b"{}", accept="application/json")
    assert (answer.status, answer.kind) == (201, "application/json")
    assert answer.json().keys() == {"runId"}
    assert answer.headers["location"] == f"/workflow/run/{answer.json()['runId']}"


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/html", "", "application/xml"])
def test_any_other_accept_gets_the_bare_run_id(api: Api, accept: str) -> None:
    api.define()
    answer = api.post("/workflow/flow/trigger", b"{}", accept=accept)
    assert RUN_ID.fullmatch(answer.text)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", "nonsense", ""]
)
def test_the_content_type_does_not_matter(api: Api, kind: str) -> None:
    definition = b'{"id":"flow","steps":[{"action":"act"}]}'
    assert api.post("/workflow/", definition, content_type=kind).status == 201
    answer = api.post("/workflow/flow/trigger", b'{"input": {"a": "b&c=d"}}', content_type=kind)
    assert api.show(answer.text)["input"] == {"a": "b&c=d"}


@pytest.mark.parametrize("body", [b"", b" \r\n", b"{}", b'{"input": null}', b'{"input":1,"input":null}'])
def test_without_input_a_run_gets_null(api: Api, body: bytes) -> None:
    api.define()
    api.register()
    run_id = api.post("/workflow/flow/trigger", body).text
    assert api.show(run_id)["input"] is None
    assert api.take()[0]["payload"] is None


def test_a_body_may_come_in_pieces(api: Api) -> None:
    api.define()
    pieces = [b'{"inp', b"", b'ut": "\xc3', b'\xa9"}']
    answer = api.run(api.call("POST", "/workflow/flow/trigger", pieces))
    assert api.show(answer.text)["input"] == "é"


def test_a_caller_that_goes_away_in_the_middle_of_its_body_starts_nothing(api: Api) -> None:
    api.define()

    for part in (b"", b" ", b'{"input": '):
        caller = Caller([part], complete=False)
        headers = {"content-length": "12", "idempotency-key": "k"}
        answer = api.run(api.call("POST", "/workflow/flow/trigger", [], headers, caller))
        check_problem(answer, 400, "request-invalid")
        caller = Caller([part], complete=False)
        check_problem(api.run(api.call("POST", "/workflow/flow/trigger", [], {}, caller)), 400, "request-invalid")
    assert api.counts() == (1, 0)


# --- waiting -----------------------------------------------------------------------------------------------------


def test_a_trigger_can_wait_for_the_end_of_its_run(api: Api) -> None:
    api.define("flow", "one")
    api.register("w", "one")

    async def scene() -> tuple[Answer, Answer]:
        async def work() -> None:
            taken = (await api.send("/workers/w/exchange", {"capacity": 2, "wait": 5})).json()["jobs"]
            if len(taken) < 2:
                taken += (await api.send("/workers/w/exchange", {"capacity": 1, "wait": 5})).json()["jobs"]
            await api.send("/workers/w/exchange", {"results": [done(job, "done") for job in taken]})

        working = asyncio.create_task(work())
        as_json = api.send("/workflow/flow/trigger?wait=30s", {"input": 1}, accept="application/json")
        answers = await asyncio.gather(as_json, api.send("/workflow/flow/trigger?wait=30", {"input": 1}))
        await working
        return answers

    as_json, as_text = api.run(scene())
    assert as_json.status == as_text.status == 201
    assert as_json.json()["status"] == "COMPLETED"
    assert as_json.json()["finalOutput"] == "done"
    assert as_json.json()["steps"][0]["attempts"][0]["status"] == "COMPLETED"
    assert as_json.headers["location"] == f"/workflow/run/{as_json.json()['runId']}"
    assert api.show(as_text.text)["status"] == "COMPLETED"


@pytest.mark.parametrize("wait", ["50ms", "0.05", "0.05s", "0", ""])
def test_when_the_time_is_over_the_run_is_shown_as_it_is(api: Api, wait: str) -> None:
    api.define()
    answer = api.post(f"/workflow/flow/trigger?wait={wait}", b"", accept="application/json")
    assert answer.status == 201
    assert answer.json().get("status", "RUNNING") == "RUNNING"


@pytest.mark.parametrize("wait", ["soon", "-1", "1e3", "1w", "%00", "99999999999999999999"])
def test_a_wait_that_is_no_duration_starts_nothing(api: Api, wait: str) -> None:
    api.define()
    problem = check_problem(api.post(f"/workflow/flow/trigger?wait={wait}", b""), 422, "field-invalid")
    assert problem["errors"][0]["field"] == "wait"
    assert problem["errors"][0]["mend"]
    assert api.counts() == (1, 0)


def test_a_parameter_that_is_not_known_starts_nothing(api: Api) -> None:
    api.define()
    problem = check_problem(api.post("/workflow/flow/trigger?Wait=1", b""), 400, "parameter-invalid")
    assert problem["errors"][0]["field"] == "Wait"
    check_problem(api.post("/workflow/flow/trigger?wait=1&wait=2", b""), 400, "parameter-invalid")
    assert api.counts() == (1, 0)


def test_a_run_that_begins_while_too_many_wait_is_still_told() -> None:
    with Api(Limits(waits_open_max=1)) as api:
        api.define()

        async def scene() -> Answer:
            first = Caller()
            waiting = asyncio.create_task(api.call("POST", "/workflow/flow/trigger?wait=60s", caller=first))
            await first.watched()
            second = await api.send("/workflow/flow/trigger?wait=60s", b"{}")
            check_problem(await api.call("GET", f"/workflow/run/{second.text}?wait=60s"), 503, "busy")
            first.go()
            await waiting
            return second

        answer = api.run(scene())
        assert answer.status == 201
        assert RUN_ID.fullmatch(answer.text)
        assert api.counts() == (1, 2)


# --- what is refused ---------------------------------------------------------------------------------------------


def test_a_workflow_that_is_not_defined_is_not_run(api: Api) -> None:
    for name in ("nobody", "%00", "a%20b", "x" * 10_000):
        problem = check_problem(api.post(f"/workflow/{name}/trigger", b"{}"), 404, "workflow-not-found")
        assert "POST /workflow/" in problem["detail"]
    check_problem(api.post("/workflow/a%2Fb/trigger", b"{}"), 404, "path-not-found")
    assert api.counts() == (0, 0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "body"),
        ("text", "body"),
        (7, "body"),
        (None, "body"),
        ({"inputs": 1}, "inputs"),
        ({"input": 1, "Input": 2}, "Input"),
    ],
)
def test_a_body_of_another_form_starts_nothing(api: Api, body: object, field: str) -> None:
    api.define()
    problem = check_problem(api.post("/workflow/flow/trigger", body), 422, "field-invalid")
    (error,) = problem["errors"]
    assert error["field"] == field
    assert error["mend"]
    assert api.counts() == (1, 0)


# --- one run for one key -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["k", "unique request id", "a" * 255, str(uuid.UUID(int=7)), '"quoted"', "a,b;c=d"])
def test_a_key_starts_one_run(api: Api, key: str) -> None:
    api.define()
    answers = [api.post("/workflow/flow/trigger", b'{"input": [1]}', idempotency_key=key) for _ in range(3)]
    assert [answer.status for answer in answers] == [201, 200, 200]
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1
    as_json = api.post("/workflow/flow/trigger", b'{"input": [1]}', idempotency_key=key, accept="application/json")
    assert (as_json.status, as_json.json()) == (200, {"runId": answers[0].text})
    assert api.counts() == (1, 1)


def test_without_a_key_every_trigger_starts_a_run(api: Api) -> None:
    api.define()
    assert api.trigger() != api.trigger()
    assert api.trigger(idempotency_key="a") != api.trigger(idempotency_key="b")
    assert api.counts() == (1, 4)


@pytest.mark.parametrize(
    "same",
    [
        b'{"input":{"a":1,"b":[1.10,"x"]}}',
        b'{\n  "input" : {"b": [1.10, "x"], "a": 1}\n}',
        b'{"input":{"\\u0061":1,"b":[1.10,"\\u0078"]}}',
    ],
)
def test_white_space_and_the_order_of_fields_make_no_other_request(api: Api, same: bytes) -> None:
    api.define()
    first = api.post("/workflow/flow/trigger", b'{"input": {"a": 1, "b": [1.10, "x"]}}', idempotency_key="k")
    second = api.post("/workflow/flow/trigger", same, idempotency_key="k")
    assert (second.status, second.text) == (200, first.text)


@pytest.mark.parametrize(
    "other",
    [
        b"",
        b"{}",
        b'{"input": {"a": 1, "b": [1.1, "x"]}}',
        b'{"input": {"a": 1, "b": ["x", 1.10]}}',
        b'{"input": {"a": "1", "b": [1.10, "x"]}}',
        b'{"input": {"a": 1.0, "b": [1.10, "x"]}}',
        b'{"input": {"a": 1, "b": [1.10, "x"], "c": null}}',
    ],
)
def test_a_key_with_another_body_is_a_conflict(api: Api, other: bytes) -> None:
    api.define()
    first = api.post("/workflow/flow/trigger", b'{"input": {"a": 1, "b": [1.10, "x"]}}', idempotency_key="k")
    check_problem(api.post("/workflow/flow/trigger", other, idempotency_key="k"), 409, "idempotency-conflict")
    assert api.trigger(payload={"a": 1}, idempotency_key="other") != first.text
    assert api.counts() == (1, 2)


def test_a_key_with_another_workflow_is_a_conflict(api: Api) -> None:
    api.define("one")
    api.define("two")
    api.trigger("one", 1, idempotency_key="k")
    check_problem(api.post("/workflow/two/trigger", {"input": 1}, idempotency_key="k"), 409, "idempotency-conflict")
    assert api.counts() == (2, 1)


def test_a_key_that_failed_with_its_trigger_is_not_remembered(api: Api) -> None:
    check_problem(api.post("/workflow/flow/trigger", b"{}", idempotency_key="k"), 404, "workflow-not-found")
    api.define()
    assert api.post("/workflow/flow/trigger", b"{}", idempotency_key="k").status == 201


def test_a_key_still_stands_when_its_run_has_ended_and_the_workflow_has_changed(api: Api) -> None:
    api.define()
    api.register()
    run_id = api.trigger(payload=1, idempotency_key="k")
    api.exchange(results=[done(api.take()[0])])
    api.define("flow", "other")
    assert api.trigger(payload=1, idempotency_key="k") == run_id
    assert api.show(run_id)["status"] == "COMPLETED"


@pytest.mark.parametrize("key", ["", " ", "\t", "a" * 256, "a" * 10_000, "\x7f", "a\x01b", "\x80", "\xa0", "\xe9"])
def test_an_odd_key_starts_nothing(api: Api, key: str) -> None:
    api.define()
    problem = check_problem(api.post("/workflow/flow/trigger", b"{}", idempotency_key=key), 422, "field-invalid")
    assert problem["errors"][0]["field"] == "Idempotency-Key"
    assert problem["errors"][0]["mend"]
    assert api.counts() == (1, 0)


@pytest.mark.parametrize("second", ["key", "other"])
def test_of_two_keys_none_is_chosen(api: Api, second: str) -> None:
    api.define()
    twice = [("Idempotency-Key", "key"), ("Idempotency-Key", second)]
    answer = api.run(api.call("POST", "/workflow/flow/trigger", b"{}", more=twice))
    problem = check_problem(answer, 400, "parameter-invalid")
    assert problem["errors"][0] == {
        "field": "Idempotency-Key",
        "reason": "it comes more than once",
        "mend": "send it once",
    }
    assert api.counts() == (1, 0)


def test_a_key_is_forgotten_after_its_time() -> None:
    with Api(Limits(idempotency_seconds=0.2)) as api:
        api.define()
        first = api.trigger(payload=1, idempotency_key="k")
        assert api.trigger(payload=1, idempotency_key="k") == first

        async def forgotten() -> bool:
            return (await api.send("/workflow/flow/trigger", {"input": 1}, idempotency_key="k")).status == 201

        api.run(settle(forgotten))
        second = api.trigger(payload=1, idempotency_key="k")
        assert second != first
        assert api.counts() == (1, 2)


def test_many_triggers_with_one_key_at_once_make_one_run(api: Api) -> None:
    api.define()

    async def scene() -> list[Answer]:
        body = json.dumps({"input": list(range(10))}).encode()
        return await asyncio.gather(
            *(api.send("/workflow/flow/trigger", body, idempotency_key="k") for _ in range(500))
        )

    answers = api.run(scene())
    assert sorted(answer.status for answer in answers) == [200] * 499 + [201]
    assert len({answer.text for answer in answers}) == 1
    assert api.counts() == (1, 1)
    api.register()
    assert len(api.take(capacity=1_000)) == 1


def test_of_many_different_bodies_with_one_key_at_once_one_wins(api: Api) -> None:
    api.define()

    async def scene() -> list[Answer]:
        bodies = [{"input": number % 10} for number in range(100)]
        return await asyncio.gather(*(api.send("/workflow/flow/trigger", body, idempotency_key="k") for body in bodies))

    statuses = sorted(answer.status for answer in api.run(scene()))
    assert statuses == [200] * 9 + [201] + [409] * 90
    assert api.counts() == (1, 1)
