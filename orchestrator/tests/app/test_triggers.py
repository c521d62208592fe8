"""Idempotency keys: one run for one intention, however its body is written."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.model.errors import IdempotencyConflict
from tests.app.stage import make_stage

INPUT = b'{"b": [1, 2.50], "a": {"y": "\xc3\xa4", "x": null}}'


@pytest.mark.parametrize(
    "same",
    [
        b'{"a": {"x": null, "y": "\xc3\xa4"}, "b": [1, 2.50]}',
        b'{"b":[1,2.50],"a":{"y":"\xc3\xa4","x":null}}',
        b'{\n  "b" : [ 1 ,\t2.50 ] ,\r\n "a": {"y": "\\u00e4", "x": null} }',
    ],
    ids=["order of fields", "white space", "escapes"],
)
async def test_bodies_that_say_the_same_are_one_request(same: bytes) -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        assert await stage.trigger(INPUT, "k") == await stage.trigger(same, "k")
        assert len(await stage.runs()) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"1", b"1.0"),
        (b"1.0", b"1.00"),
        (b"1", b'"1"'),
        (b"12345678901234567890.1", b"12345678901234567890.2"),
        (b"10000000000000001", b"10000000000000002"),
        (b"1e400", b"1e401"),
        (b"[1, 2]", b"[2, 1]"),
        (b"null", b'""'),
        (b"{}", b"[]"),
        (b'{"a": 1}', b'{"a": 1, "b": null}'),
        (b'"a"', b'"A"'),
    ],
)
async def test_bodies_that_differ_in_a_digit_are_two_requests(one: bytes, other: bytes) -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.trigger(one, "k")
        with pytest.raises(IdempotencyConflict):
            await stage.trigger(other, "k")
        assert len(await stage.runs()) == 1


async def test_the_same_input_for_another_workflow_is_another_request() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.define("calm", workflow_id="other")
        await stage.trigger(b"1", "k")
        with pytest.raises(IdempotencyConflict):
            await stage.trigger(b"1", "k", workflow_id="other")


async def test_a_crowd_with_one_key_in_one_batch_starts_one_run() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        before = stage.reached.count("batch.committed")
        answers = await asyncio.gather(*(stage.orchestrator.trigger("flow", b'{"input": 1}', "k") for _ in range(50)))
        assert stage.reached.count("batch.committed") == before + 1
        assert len({answer.run_id for answer in answers}) == 1
        assert sum(answer.created for answer in answers) == 1


async def test_in_one_batch_the_first_body_of_a_key_wins() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        answers = await asyncio.gather(stage.trigger(b"1", "k"), stage.trigger(b"2", "k"), return_exceptions=True)
        assert isinstance(answers[0], str)
        assert isinstance(answers[1], IdempotencyConflict)
        assert len(await stage.runs()) == 1


async def test_a_key_is_remembered_for_its_time_and_then_free() -> None:
    async with make_stage(idempotency_seconds=100) as stage:
        await stage.define("calm")
        first = await stage.trigger(b"1", "k")
        await asyncio.sleep(99)
        assert await stage.trigger(b"1", "k") == first
        await asyncio.sleep(2)
        assert await stage.trigger(b"2", "k") != first


async def test_without_a_key_every_trigger_is_a_run() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await asyncio.gather(*(stage.trigger(b"1") for _ in range(5)))
        assert len(await stage.runs()) == 5


async def test_a_key_of_a_trigger_that_was_not_committed_is_not_remembered() -> None:
    async with make_stage() as stage:
        await stage.define("calm")
        await stage.restart_after(stage.trigger(b"1", "k"), "batch.written")
        run_id = await stage.trigger(b"2", "k")
        assert await stage.runs() == [run_id]
