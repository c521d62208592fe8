"""Failpoints of a real process: it dies or fails where it was told to, and the next one goes on."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.process.server import Server, until

KEY = {"Idempotency-Key": "k"}


@pytest.mark.parametrize(
    ("failpoint", "runs"),
    [("transaction.commit=kill@2", 0), ("batch.committed=kill@2", 1), ("batch.published=kill@2", 1)],
)
def test_a_process_dies_where_it_was_told_to_and_the_next_one_knows(tmp_path: Path, failpoint: str, runs: int) -> None:
    with Server(tmp_path / "data", variables={"ORCHESTRATOR_FAILPOINTS": failpoint}) as server:
        server.define("flow", "step1")
        with pytest.raises((OSError, http.client.HTTPException)):
            server.trigger(**KEY)
        code, said = server.ended(30)
        assert code == -9
        assert "FAILPOINTS ARE ARMED" in said
        server.variables.clear()
        server.start()
        assert len(server.call("GET", "/workflow/runs").json()) == runs
        run_id = server.trigger(**KEY)
        assert [run["runId"] for run in server.call("GET", "/workflow/runs").json()] == [run_id]


def test_a_process_one_of_whose_services_has_failed_ends(tmp_path: Path) -> None:
    """What lives on without its pipeline takes records and requests, and does nothing with them."""
    with Server(tmp_path / "data", variables={"ORCHESTRATOR_FAILPOINTS": "batch.committed=error@2"}) as server:
        server.define("flow", "step1")
        assert server.call("POST", "/workflow/flow/trigger", {}, headers=KEY).status == 503
        code, said = server.ended(30)
        assert code == 1
        assert "the pipeline service has stopped" in said
        assert "start it again" in said
        server.variables.clear()
        server.start()
        run_id = server.trigger(**KEY)
        until(lambda: server.show(run_id)["status"] == "RUNNING")


def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", variables={"ORCHESTRATOR_FAILPOINTS": "batch.gone=kill"})
    server.launch()
    code, said = server.ended(30)
    assert code == 1
    assert "there is no failpoint 'batch.gone'" in said
    assert "batch.committed" in said
    server.close()
