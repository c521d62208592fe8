"""Workflow definitions: what is filled in, what is refused and where, and that nothing is lost on the way back."""

from __future__ import annotations

import json as stdlib_json
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.model.definition import (
    STEP_INDEX_MAX,
    RetryPolicy,
    StepDefinition,
    WorkflowDefinition,
    digest,
    id_problem,
    parse_definition,
    to_body,
)
from orchestrator.model.errors import FieldError, InvalidDefinition, InvalidJson, InvalidRequest, TooLarge
from orchestrator.model.limits import Limits
from orchestrator.model.times import MICROS, Duration

LIMITS: Final = Limits()
YEAR: Final = 366 * 86_400 * MICROS
SECONDS_MEND: Final = 'send a number of seconds or a string such as "30s"'
ID_MEND: Final = "use letters, digits and . _ : @ -, beginning with a letter, a digit or _"


def seconds(count: float) -> Duration:
    return Duration(round(count * MICROS))


def make_body(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Give a definition as users write it, with one step unless there are others."""
    return {"id": "order", "steps": list(steps) or [{"action": "charge"}], **fields}


def parse(body: object, limits: Limits = LIMITS) -> WorkflowDefinition:
    return parse_definition(stdlib_json.dumps(body).encode(), limits)


def errors_of(body: object, limits: Limits = LIMITS) -> tuple[FieldError, ...]:
    with pytest.raises(InvalidDefinition) as caught:
        parse(body, limits)
    assert caught.value.http_status == 422
    return caught.value.errors


# --- defaults ----------------------------------------------------------------------------------------------------


def test_an_id_and_an_action_are_enough() -> None:
    assert parse({"id": "greet", "steps": [{"action": "hello"}]}) == WorkflowDefinition(
        id="greet",
        description="",
        timeout=None,
        steps=(
            StepDefinition(
                action="hello",
                step_index=0,
                retry=RetryPolicy(
                    max_retries=3,
                    delay=seconds(1),
                    backoff="fixed",
                    max_delay=None,
                    jitter=0.0,
                    non_retryable=(),
                ),
                timeout=None,
                heartbeat_timeout=None,
            ),
        ),
    )


def test_every_field_is_read() -> None:
    body = {
        "id": "order",
        "description": "from cart to door",
        "timeout": "1h",
        "retry": {
            "maxRetries": 5,
            "delay": "500ms",
            "backoff": "exponential",
            "maxDelay": "1m",
            "jitter": 0.2,
            "nonRetryable": ["InvalidOrder"],
        },
        "stepTimeout": "5m",
        "heartbeatTimeout": 30,
        "steps": [
            {"action": "reserve", "stepIndex": 0},
            {
                "action": "charge",
                "stepIndex": 1,
                "retry": {"maxRetries": 10, "backoff": "fixed"},
                "timeout": "20s",
                "heartbeatTimeout": 0.5,
            },
        ],
    }
    default = RetryPolicy(
        max_retries=5,
        delay=seconds(0.5),
        backoff="exponential",
        max_delay=seconds(60),
        jitter=0.2,
        non_retryable=("InvalidOrder",),
    )
    assert parse(body) == WorkflowDefinition(
        id="order",
        description="from cart to door",
        timeout=seconds(3600),
        steps=(
            StepDefinition(
                action="reserve", step_index=0, retry=default, timeout=seconds(300), heartbeat_timeout=seconds(30)
            ),
            StepDefinition(
                action="charge",
                step_index=1,
                retry=msgspec.structs.replace(default, max_retries=10, backoff="fixed"),
                timeout=seconds(20),
                heartbeat_timeout=seconds(0.5),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("field", "own", "name", "value"),
    [
        ("maxRetries", 0, "max_retries", 0),
        ("delay", 0, "delay", 0),
        ("delay", "2s", "delay", 2 * MICROS),
        ("backoff", "fixed", "backoff", "fixed"),
        ("maxDelay", 9, "max_delay", 9 * MICROS),
        ("jitter", 0, "jitter", 0.0),
        ("nonRetryable", [], "non_retryable", ()),
        ("nonRetryable", ["A", "B"], "non_retryable", ("A", "B")),
    ],
)
def test_a_step_replaces_the_fields_of_the_policy_that_it_names(field: str, own: Any, name: str, value: Any) -> None:
    """A zero and an empty list are said too; what is left out stays the workflow's."""
    of_workflow = {
        "maxRetries": 7,
        "delay": 3,
        "backoff": "exponential",
        "maxDelay": 60,
        "jitter": 0.5,
        "nonRetryable": ["X"],
    }
    definition = parse(make_body({"action": "a", "retry": {field: own}}, {"action": "b"}, retry=of_workflow))
    first, second = (step.retry for step in definition.steps)
    assert second == RetryPolicy(
        max_retries=7,
        delay=seconds(3),
        backoff="exponential",
        max_delay=seconds(60),
        jitter=0.5,
        non_retryable=("X",),
    )
    assert first == msgspec.structs.replace(second, **{name: value})


@pytest.mark.parametrize("field", ["timeout", "retry", "stepTimeout", "heartbeatTimeout"])
def test_null_is_as_good_as_left_out(field: str) -> None:
    assert parse(make_body(**{field: None})) == parse(make_body())


@pytest.mark.parametrize("field", ["stepIndex", "timeout", "retry", "heartbeatTimeout"])
def test_null_in_a_step_is_as_good_as_left_out(field: str) -> None:
    assert parse(make_body({"action": "charge", field: None})) == parse(make_body())


# --- order -------------------------------------------------------------------------------------------------------


def test_steps_run_in_the_order_of_their_index() -> None:
    body = make_body(
        {"action": "c", "stepIndex": 30}, {"action": "a", "stepIndex": 5}, {"action": "b", "stepIndex": 17}
    )
    assert [(step.action, step.step_index) for step in parse(body).steps] == [("a", 5), ("b", 17), ("c", 30)]


def test_a_step_without_an_index_has_that_of_its_place() -> None:
    body = make_body({"action": "a"}, {"action": "b"}, {"action": "c", "stepIndex": 9}, {"action": "d"})
    assert [(step.action, step.step_index) for step in parse(body).steps] == [("a", 0), ("b", 1), ("d", 3), ("c", 9)]


def test_one_action_may_be_used_in_many_steps() -> None:
    assert len(parse(make_body(*[{"action": "a"}] * 20)).steps) == 20


# --- rules -------------------------------------------------------------------------------------------------------

LEFT_OUT: Final = SECONDS_MEND + ", or leave it out"
A_DURATION: Final = 'a duration is a number of seconds or a string such as "500ms", "30s", "5m", "2h", "1d"'


def step(**fields: Any) -> dict[str, Any]:
    """Give a definition whose second step has these fields."""
    return make_body({"action": "a"}, {"action": "b", **fields})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        # ids
        (make_body(id=""), FieldError("id", "it is empty", ID_MEND)),
        (make_body(id="a" * 129), FieldError("id", "longer than 128 characters", "shorten it")),
        (make_body(id="a/b"), FieldError("id", "'/' cannot stand there", ID_MEND)),
        (make_body(id="a b"), FieldError("id", "' ' cannot stand there", ID_MEND)),
        (make_body(id="a\n"), FieldError("id", "'\\n' cannot stand there", ID_MEND)),
        (make_body(id="\x00"), FieldError("id", "'\\x00' cannot stand there", ID_MEND)),
        (make_body(id="é"), FieldError("id", "'é' cannot stand there", ID_MEND)),
        (make_body(id="٣"), FieldError("id", "'٣' cannot stand there", ID_MEND)),
        (make_body(id="-a"), FieldError("id", "'-' cannot stand there", ID_MEND)),
        (make_body(id=".."), FieldError("id", "'.' cannot stand there", ID_MEND)),
        (make_body(id="runs"), FieldError("id", "'runs' is a path of the API", "choose another id")),
        (step(action=""), FieldError("steps[1].action", "it is empty", ID_MEND)),
        (step(action="b c"), FieldError("steps[1].action", "' ' cannot stand there", ID_MEND)),
        (step(action="b" * 129), FieldError("steps[1].action", "longer than 128 characters", "shorten it")),
        # indexes
        (
            step(stepIndex=-1),
            FieldError("steps[1].stepIndex", f"-1 is not in 0 to {STEP_INDEX_MAX}", "count the steps from 0"),
        ),
        (
            step(stepIndex=2**31),
            FieldError("steps[1].stepIndex", f"{2**31} is not in 0 to {STEP_INDEX_MAX}", "count the steps from 0"),
        ),
        (
            step(stepIndex=0),
            FieldError("steps[1].stepIndex", "0 is used by another step", "give every step its own stepIndex"),
        ),
        # retries
        (
            make_body(retry={"maxRetries": -1}),
            FieldError("retry.maxRetries", "-1 is not in 0 to 10000", "0 means a single attempt"),
        ),
        (
            step(retry={"maxRetries": 10_001}),
            FieldError("steps[1].retry.maxRetries", "10001 is not in 0 to 10000", "0 means a single attempt"),
        ),
        (
            make_body(retry={"jitter": 1.5}),
            FieldError("retry.jitter", "1.5 is not in 0 to 1", "0.2 spreads a delay over its last fifth"),
        ),
        (
            step(retry={"jitter": -0.1}),
            FieldError("steps[1].retry.jitter", "-0.1 is not in 0 to 1", "0.2 spreads a delay over its last fifth"),
        ),
        (make_body(retry={"delay": "soon"}), FieldError("retry.delay", A_DURATION, SECONDS_MEND)),
        (step(retry={"delay": -1}), FieldError("steps[1].retry.delay", "a duration is not negative", SECONDS_MEND)),
        (make_body(retry={"maxDelay": 0}), FieldError("retry.maxDelay", "it has to be longer than nothing", LEFT_OUT)),
        (step(retry={"maxDelay": "1w"}), FieldError("steps[1].retry.maxDelay", A_DURATION, SECONDS_MEND)),
        # timeouts
        (make_body(timeout=0), FieldError("timeout", "it has to be longer than nothing", LEFT_OUT)),
        (make_body(stepTimeout="0s"), FieldError("stepTimeout", "it has to be longer than nothing", LEFT_OUT)),
        (make_body(heartbeatTimeout=""), FieldError("heartbeatTimeout", A_DURATION, SECONDS_MEND)),
        (step(timeout=1e-7), FieldError("steps[1].timeout", "it has to be longer than nothing", LEFT_OUT)),
        (
            step(heartbeatTimeout="367d"),
            FieldError("steps[1].heartbeatTimeout", "longer than 31,622,400 s (duration_seconds_max)", SECONDS_MEND),
        ),
        # types
        (
            make_body(steps=[]),
            FieldError("steps", "Expected `array` of length >= 1", "send at least 1 of them"),
        ),
        ({"steps": [{"action": "a"}]}, FieldError("id", "the field is missing", "add it")),
        ({"id": "a"}, FieldError("steps", "the field is missing", "add it")),
        (make_body({}), FieldError("steps[0].action", "the field is missing", "add it")),
        (make_body(name="x"), FieldError("name", "the field is not known", "leave it out, or correct its name")),
        (
            step(stepindex=1),
            FieldError("steps[1].stepindex", "the field is not known", "leave it out, or correct its name"),
        ),
        (
            step(retry={"max_retries": 1}),
            FieldError("steps[1].retry.max_retries", "the field is not known", "leave it out, or correct its name"),
        ),
        (step(action=1), FieldError("steps[1].action", "Expected `str`, got `int`", "send a string")),
        (
            step(stepIndex=True),
            FieldError("steps[1].stepIndex", "Expected `int | null`, got `bool`", "send a whole number or null"),
        ),
        (
            step(stepIndex=1.5),
            FieldError("steps[1].stepIndex", "Expected `int | null`, got `float`", "send a whole number or null"),
        ),
        (
            step(retry={"nonRetryable": ["A", 1]}),
            FieldError("steps[1].retry.nonRetryable[1]", "Expected `str`, got `int`", "send a string"),
        ),
        (
            step(retry={"backoff": "linear"}),
            FieldError(
                "steps[1].retry.backoff",
                "Invalid enum value 'linear'",
                "see the field's description in /openapi.json",
            ),
        ),
        ([], FieldError("body", "Expected `object`, got `array`", "send an object")),
    ],
    ids=lambda value: f"{value.field}: {value.reason:.60}" if isinstance(value, FieldError) else "body",
)
def test_a_broken_rule_is_told_with_field_and_mend(body: object, error: FieldError) -> None:
    assert errors_of(body) == (error,)


@pytest.mark.parametrize(
    "value",
    ["a", "A9", "_", "0", "order.v2", "team:order@eu-1", "a" * 128, "run1", "Run"],
)
def test_an_id_of_allowed_characters_is_taken(value: str) -> None:
    assert parse(make_body({"action": value}, id=value)).id == value


@pytest.mark.parametrize("value", ["run", "runs", "events"])
def test_a_path_of_the_api_may_be_an_action(value: str) -> None:
    assert errors_of(make_body(id=value))[0].field == "id"
    assert parse(make_body({"action": value})).steps[0].action == value


@pytest.mark.parametrize("field", ["timeout", "stepTimeout", "heartbeatTimeout"])
def test_a_duration_may_be_as_long_as_the_limit(field: str) -> None:
    parse(make_body(**{field: YEAR / MICROS}))
    (error,) = errors_of(make_body(**{field: YEAR / MICROS + 0.000_001}))
    assert (error.field, error.reason) == (field, "longer than 31,622,400 s (duration_seconds_max)")


@pytest.mark.parametrize("field", ["delay", "maxDelay"])
def test_a_delay_may_be_as_long_as_the_limit(field: str) -> None:
    parse(make_body(retry={field: "366d"}))
    (error,) = errors_of(make_body(retry={field: "366.00001d"}))
    assert error.field == f"retry.{field}"


def test_limits_are_those_that_are_set() -> None:
    limits = Limits(definition_steps_max=2, max_retries_max=5, duration_seconds_max=10, id_length_max=5)
    parse(make_body({"action": "a"}, {"action": "b"}, timeout=10, retry={"maxRetries": 5}), limits)
    assert [
        error.field
        for error in errors_of(make_body(*[{"action": "abcdef"}] * 3, timeout=10.1, retry={"maxRetries": 6}), limits)
    ] == ["steps", "retry.maxRetries", "steps[0].action", "steps[1].action", "steps[2].action", "timeout"]


def test_a_definition_may_have_as_many_steps_as_the_limit() -> None:
    assert len(parse(make_body(*[{"action": "a"}] * 1_000)).steps) == 1_000
    (error,) = errors_of(make_body(*[{"action": "a"}] * 1_001))
    assert error == FieldError("steps", "more than 1000 steps", "split the workflow in two")


def test_everything_that_is_wrong_is_told_at_once() -> None:
    body = make_body(
        {"action": "", "timeout": 0},
        {"action": "b", "stepIndex": 0, "retry": {"jitter": 2, "delay": "x"}},
        id="events",
        timeout="never",
    )
    with pytest.raises(InvalidDefinition, match="7 fields are wrong") as caught:
        parse(body)
    assert [error.field for error in caught.value.errors] == [
        "id",
        "steps[0].action",
        "steps[0].timeout",
        "steps[1].retry.jitter",
        "steps[1].retry.delay",
        "steps[1].stepIndex",
        "timeout",
    ]


def test_one_wrong_field_is_counted_as_one() -> None:
    with pytest.raises(InvalidDefinition, match="1 field is wrong"):
        parse(make_body(id="run"))


@pytest.mark.parametrize("value", ["", "-", "a/b", "x" * 129])
def test_an_id_problem_has_no_field_of_its_own(value: str) -> None:
    problem = id_problem(value, LIMITS)
    assert problem is not None
    assert problem.field == ""
    assert id_problem("order", LIMITS) is None


# --- size --------------------------------------------------------------------------------------------------------


def test_a_definition_may_have_as_many_bytes_as_the_limit() -> None:
    raw = stdlib_json.dumps(make_body()).encode()
    room = LIMITS.definition_bytes_max - len(raw)
    assert parse_definition(raw + b" " * room, LIMITS) == parse(make_body())
    with pytest.raises(TooLarge, match="524,288 bytes") as caught:
        parse_definition(raw + b" " * (room + 1), LIMITS)
    assert caught.value.http_status == 413


# --- digest ------------------------------------------------------------------------------------------------------

PLAIN: Final = make_body({"action": "a"}, {"action": "b"})


@pytest.mark.parametrize(
    "text",
    [
        b'{"steps": [{"action": "a"}, {"action": "b"}], "id": "order"}',
        b'{"id":"order","steps":[{"action":"b","stepIndex":1},{"stepIndex":0,"action":"a"}]}',
        b'{"id":"order","description":"","timeout":null,"retry":{},"steps":[{"action":"a"},{"action":"b","retry":{}}]}',
        b'{"id":"order","retry":{"maxRetries":3,"delay":"1000ms","jitter":0},"steps":[{"action":"a"},{"action":"b"}]}',
        b'{"id":"\\u006frder","steps":[{"action":"a","retry":{"delay":1.0,"backoff":"fixed"}},{"action":"b"}]}',
    ],
)
def test_two_texts_that_say_the_same_have_one_digest(text: bytes) -> None:
    assert digest(parse_definition(text, LIMITS)) == digest(parse(PLAIN))


@pytest.mark.parametrize(
    "body",
    [
        make_body({"action": "b"}, {"action": "a"}),
        make_body({"action": "a"}, {"action": "b", "stepIndex": 2}),
        make_body({"action": "a"}, {"action": "b"}, description="x"),
        make_body({"action": "a"}, {"action": "b"}, timeout=1),
        make_body({"action": "a"}, {"action": "b", "timeout": 1}),
        make_body({"action": "a"}, {"action": "b", "heartbeatTimeout": 1}),
        make_body({"action": "a"}, {"action": "b", "retry": {"jitter": 0.1}}),
        make_body({"action": "a"}, {"action": "b"}, retry={"maxRetries": 2}),
        make_body({"action": "a"}, {"action": "b"}, id="order2"),
    ],
)
def test_another_meaning_has_another_digest(body: dict[str, Any]) -> None:
    assert digest(parse(body)) != digest(parse(PLAIN))


def test_the_digest_is_stored_and_so_never_changes() -> None:
    assert digest(parse(PLAIN)) == "f6591dc3f65b37929fdb1b5d3d80ba8fb6f5690f1ff67c576fce038cbcb1e1e1"


# --- the way back ------------------------------------------------------------------------------------------------


def test_a_definition_is_read_with_every_default_spelled_out() -> None:
    body = make_body({"action": "a", "timeout": "90s", "retry": {"delay": "250ms", "nonRetryable": ["X"]}})
    assert to_body(parse(body)) == {
        "id": "order",
        "description": "",
        "timeout": None,
        "steps": [
            {
                "action": "a",
                "stepIndex": 0,
                "retry": {
                    "maxRetries": 3,
                    "delay": 0.25,
                    "backoff": "fixed",
                    "maxDelay": None,
                    "jitter": 0.0,
                    "nonRetryable": ["X"],
                },
                "timeout": 90,
                "heartbeatTimeout": None,
            }
        ],
    }


names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._:@-]{0,20}", fullmatch=True)
timeouts = st.none() | st.integers(1, YEAR).map(Duration)
policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 10_000),
    delay=st.integers(0, YEAR).map(Duration),
    backoff=st.sampled_from(["fixed", "exponential"]),
    max_delay=timeouts,
    jitter=st.floats(0, 1),
    non_retryable=st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
steps = st.builds(
    StepDefinition,
    action=names,
    step_index=st.integers(0, STEP_INDEX_MAX),
    retry=policies,
    timeout=timeouts,
    heartbeat_timeout=timeouts,
)
definitions = st.builds(
    WorkflowDefinition,
    id=names.filter(lambda name: name not in {"run", "runs", "events"}),
    steps=st.lists(steps, min_size=1, max_size=4, unique_by=lambda step: step.step_index).map(
        lambda drawn: tuple(sorted(drawn, key=lambda step: step.step_index))
    ),
    description=st.text(max_size=20),
    timeout=timeouts,
)


@given(definitions)
def test_what_users_read_can_be_sent_back_and_means_the_same(definition: WorkflowDefinition) -> None:
    again = parse_definition(msgspec.json.encode(to_body(definition)), LIMITS)
    assert again == definition
    assert digest(again) == digest(definition)


@given(definitions)
def test_a_stored_definition_reads_back(definition: WorkflowDefinition) -> None:
    assert msgspec.json.decode(msgspec.json.encode(definition), type=WorkflowDefinition) == definition


# --- whatever is sent --------------------------------------------------------------------------------------------


def answers_in_words(raw: bytes, limits: Limits = LIMITS) -> None:
    """Read a definition; the only errors that may come are those that tell the caller what is wrong."""
    refused: InvalidRequest | None = None
    try:
        assert parse_definition(raw, limits).steps
    except InvalidRequest as error:
        refused = error
    except TooLarge:
        assert len(raw) > limits.definition_bytes_max
    if refused is not None:
        assert refused.http_status in {400, 422}
        assert refused.errors
        assert all(one.reason and one.mend for one in refused.errors)


@given(st.binary())
@example(b"")
@example(b"\x00")
@example(b"null")
@example(b"[" * 70)
@example(b'{"id":"a","steps":[{"action":"a"}]')
def test_any_bytes_are_a_definition_or_an_error_in_words(raw: bytes) -> None:
    answers_in_words(raw)


JUNK: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**300, 10**310)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=10)
    | st.sampled_from(["fixed", "exponential", "1s", "99999999999d", "0", "-1s", "\x00", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def fields_of(*known: str) -> st.SearchStrategy[dict[str, object]]:
    return st.dictionaries(st.sampled_from(known) | st.text(max_size=3), JUNK, max_size=4)


NEAR_MISSES: Final = st.builds(
    lambda top, retry, steps, own: {**top, "retry": retry, "steps": [{"action": "a", **step, **own} for step in steps]},
    fields_of("id", "description", "timeout", "stepTimeout", "heartbeatTimeout"),
    fields_of("maxRetries", "delay", "backoff", "maxDelay", "jitter", "nonRetryable") | JUNK,
    st.lists(fields_of("action", "stepIndex", "timeout", "heartbeatTimeout"), max_size=3),
    st.fixed_dictionaries({}, optional={"retry": fields_of("maxRetries", "delay", "jitter") | JUNK}),
)


@given(NEAR_MISSES, st.sampled_from(["order", "", "run"]))
def test_anything_in_any_field_is_a_definition_or_an_error_in_words(body: dict[str, object], name: str) -> None:
    answers_in_words(stdlib_json.dumps({"id": name, **body}).encode())


@given(st.data())
def test_a_definition_with_a_byte_changed_is_a_definition_or_an_error_in_words(data: st.DataObject) -> None:
    raw = bytearray(stdlib_json.dumps(make_body({"action": "a", "retry": {"delay": "1s"}}, timeout=10)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    answers_in_words(bytes(raw))


def test_a_definition_that_is_not_json_says_so() -> None:
    with pytest.raises(InvalidJson) as caught:
        parse_definition(b"id: order", LIMITS)
    assert caught.value.http_status == 400
