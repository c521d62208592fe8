"""The doctor looks at the database and the brokers that the settings name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.cli.app import run
from stack.ports import free_port
from tests.broker.site import Site


def findings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    run(["doctor", "--json", *arguments])
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)}


def test_parts_that_are_there_are_well_and_missing_topics_are_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_DATABASE", site.database)
    monkeypatch.setenv("ORCHESTRATOR_KAFKA", site.kafka)
    monkeypatch.setenv("ORCHESTRATOR_KAFKA_PREFIX", site.prefix)
    found = findings(capsys)
    assert (found["database"]["state"], found["kafka"]["state"]) == ("OK", "OK")
    assert site.topics.jobs in found["kafka"]["found"]
    monkeypatch.setenv("ORCHESTRATOR_TOPICS", "check")
    assert findings(capsys)["kafka"]["state"] == "FAIL"


def test_parts_that_are_not_there_are_told_without_their_passwords(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setattr("orchestrator.cli.reach.REACH_SECONDS", 1.0)
    monkeypatch.setenv("ORCHESTRATOR_DATABASE", f"postgresql://me:hunter22@127.0.0.1:{port}/flows")
    monkeypatch.setenv("ORCHESTRATOR_KAFKA", f"127.0.0.1:{port}")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter23")
    found = findings(capsys)
    assert (found["database"]["state"], found["kafka"]["state"]) == ("FAIL", "FAIL")
    assert found["database"]["fix"]
    assert found["kafka"]["fix"]
    assert "hunter2" not in json.dumps(found)


def test_settings_that_are_wrong_are_a_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_KAFKA_PROP_ACKS", "1")
    assert "acks cannot be set" in findings(capsys)["settings"]["found"]
