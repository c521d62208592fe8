"""How parts are is asked when somebody wants to know, once at a time."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.app import readiness
from orchestrator.app.readiness import Readiness
from orchestrator.model.errors import Unavailable


async def test_a_part_is_asked_once_however_many_want_to_know() -> None:
    asked: list[None] = []

    async def answers() -> None:
        asked.append(None)

    found = Readiness({"database": answers})
    assert await asyncio.gather(*(found.fault("database") for _ in range(10))) == [""] * 10
    assert await found.fault("database") == ""
    assert len(asked) == 1


async def test_what_a_part_says_is_the_fault_and_is_gone_when_the_part_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 0)
    errors = [Unavailable("it is away"), None]

    async def recovers() -> None:
        if (error := errors.pop(0)) is not None:
            raise error

    found = Readiness({"database": recovers})
    assert [await found.fault("database"), await found.fault("database")] == ["it is away", ""]


async def test_a_silent_part_is_a_fault_and_has_one_question_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "LOOK_SECONDS", 0)
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    asked: list[None] = []

    async def silent() -> None:
        asked.append(None)
        await asyncio.Event().wait()

    found = Readiness({"database": silent})
    for _ in range(3):
        assert "has not answered" in await found.fault("database")
    assert len(asked) == 1
    found.close()
