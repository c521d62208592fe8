"""What is armed, how it is refused, and that it costs nothing where it is not."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from orchestrator.adapters.failpoints.armed import Failpoints, FailpointsNotValid
from orchestrator.adapters.failpoints.names import ACTIONS, FAILPOINTS
from orchestrator.app.pipeline import Point
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.errors import Unavailable
from orchestrator.settings import Settings, SettingsError, load_settings


def test_every_point_of_the_pipeline_is_one() -> None:
    assert [name for name in Point.__args__ if name not in FAILPOINTS] == []  # type: ignore[attr-defined]


def test_every_failpoint_says_what_is_under_way_and_knows_its_actions() -> None:
    for point in FAILPOINTS.values():
        assert point.meaning.endswith(".")
        assert set(point.actions) <= ACTIONS.keys()
        assert "kill" in point.actions


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("batch.begun=error", [1]),
        ("batch.begun=error@3", [3]),
        (" batch.begun=error@2n ,", [2, 4, 6]),
        ("batch.begun=error@1,batch.begun=error@4", [1, 4]),
        ("", []),
    ],
)
def test_a_failpoint_acts_at_its_time(text: str, times: list[int]) -> None:
    points = Failpoints.parse(text)
    failed = []
    for time in range(1, 7):
        try:
            points.reach("batch.begun")
        except Unavailable:
            failed.append(time)
    assert failed == times


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("batch.done=kill", "there is no failpoint 'batch.done'; there are batch.begun, "),
        ("batch.begun=burn", "batch.begun takes kill, error, delay, and no 'burn'"),
        ("batch.begun=done-then-error", "and no 'done-then-error'"),
        ("results.take=error", "results.take takes kill, delay, done-then-kill"),
        ("batch.begun=delay", "a delay needs seconds"),
        ("batch.begun=kill:3", "nothing else takes any"),
        ("batch.begun=kill@0", "the first time is 1"),
        ("batch.begun", "is no failpoint: write NAME=ACTION@NTH"),
        ("batch.begun=kill@", "is no failpoint"),
        ("batch.begun=kill@7nn", "is no failpoint"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(FailpointsNotValid) as caught:
        Failpoints.parse(text)
    assert reason in str(caught.value)
    with pytest.raises(SettingsError) as refused:
        load_settings({}, {"ORCHESTRATOR_FAILPOINTS": text}, None)
    assert reason in str(refused.value)


def test_only_the_variable_arms(tmp_path: Path) -> None:
    assert load_settings({}, {"ORCHESTRATOR_FAILPOINTS": "batch.begun=kill"}, None).failpoints == "batch.begun=kill"
    file = tmp_path / "orchestrator.toml"
    file.write_text('failpoints = "batch.begun=kill"\n', "utf-8")
    with pytest.raises(SettingsError, match="by ORCHESTRATOR_FAILPOINTS only"):
        load_settings({}, {}, file)


def test_a_process_that_is_armed_says_so_and_one_that_is_not_has_nothing_around_its_ports(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def open_and_close(failpoints: str) -> str:
        async with open_orchestrator(Settings(data=tmp_path / "data", failpoints=failpoints)) as orchestrator:
            return type(orchestrator._store).__module__

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(open_and_close("")) == "orchestrator.adapters.sqlite.store"
        assert "FAILPOINTS" not in caplog.text
        assert asyncio.run(open_and_close("batch.begun=kill@9")) == "orchestrator.adapters.failpoints.ports"
        assert "FAILPOINTS ARE ARMED: this process will fail on purpose at batch.begun" in caplog.text
