"""A process that can record nothing says so to balancers, and comes back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.sqlite.store import SqliteStore
from tests.api.driver import Api, check_problem, settle


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An orchestrator on a data folder."""
    with Api(data=tmp_path / "data") as running:
        yield running


def leave_room(api: Api, pages: int) -> None:
    """Let the file of the database grow by so many pages and no more, as on a disk that is full then."""
    store = api.orchestrator._store
    assert isinstance(store, SqliteStore)
    writer = store._database.writer
    (count,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={count + pages}")


async def is_ready(api: Api) -> bool:
    return (await api.call("GET", "/health/ready")).status == 200


def test_a_process_whose_disk_is_full_is_not_ready_until_there_is_room(api: Api) -> None:
    api.define()
    leave_room(api, 1)
    assert api.get("/health/ready").status == 200
    refused = check_problem(api.post("/workflow/flow/trigger", {"input": "x" * 100_000}), 503, "unavailable")
    assert "disk is full" in refused["detail"]
    unready = check_problem(api.get("/health/ready"), 503, "unavailable")
    assert "nothing can be recorded" in unready["detail"]
    assert "disk is full" in unready["detail"]
    assert api.get("/health/live").status == 200
    # What is there can be read.
    assert api.get("/workflow/flow").status == 200
    leave_room(api, 1_000)
    # Nobody has to send anything for that.
    api.run(settle(lambda: is_ready(api)))
    assert api.trigger(payload="x" * 100_000)


def test_what_the_store_refuses_for_another_reason_keeps_nobody_away(api: Api) -> None:
    api.define()
    check_problem(api.post("/workflow/none/trigger"), 404, "workflow-not-found")
    assert api.get("/health/ready").status == 200
