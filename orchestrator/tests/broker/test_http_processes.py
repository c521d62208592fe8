"""Workers over HTTP and several processes of the orchestrator, one of which is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.site import PATIENCE_SECONDS, Site
from tests.process.server import Server, done, until

pytestmark = pytest.mark.timeout(240)
START_SECONDS = 60.0


@pytest.fixture
def start(site: Site, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Start a process of the installation; killed at the end."""
    servers: list[Server] = []

    config = tmp_path / "orchestrator.toml"
    config.write_text(
        f'database = "{site.database}"\nkafka = "{site.kafka}"\nkafka_prefix = "{site.prefix}"\npartitions = 3\n'
    )

    def begin() -> Server:
        server = Server(tmp_path, "--config", str(config))
        servers.append(server)
        process = server.launch()

        def is_ready() -> bool:
            assert process.poll() is None, server.said()
            try:
                return server.call("GET", "/health/ready").status == 200
            except OSError:
                return False

        until(is_ready, START_SECONDS)
        return server

    yield begin
    for server in servers:
        server.close()


def jobs(server: Server, worker_id: str, *results: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
    """Exchange until so many jobs have come."""
    found: list[dict[str, Any]] = []
    given = list(results)

    def ask() -> bool:
        answer = server.exchange(worker_id, results=given, capacity=count - len(found), wait=2)
        given.clear()
        found.extend(answer.get("jobs", []))
        return len(found) == count

    until(ask, PATIENCE_SECONDS)
    return found


def beat(server: Server, worker_id: str, job: dict[str, Any]) -> dict[str, Any]:
    named = {"jobId": job["jobId"], "attempt": job["attempt"]}
    answer = server.call("POST", f"/workers/{worker_id}/heartbeat", {"inFlight": [named]})
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found


def test_the_worker_of_a_killed_process_goes_on_at_another(start: Callable[[], Server]) -> None:
    here, there = start(), start()
    here.define("flow", "a", "b")
    here.register("w", "a", "b")
    run_id = there.trigger("flow", "in")
    (job,) = jobs(here, "w")
    # The other one has not heard of it, and it does not matter.
    assert there.call("POST", "/workers/w/exchange", {}).status == 404
    here.kill()
    there.register("w", "a", "b")
    assert beat(there, "w", job) == {"cancelled": [], "unknown": [], "draining": False}
    (job,) = jobs(there, "w", done(job, "one"))
    assert (job["action"], job["payload"]) == ("b", "one")
    assert "rejected" not in there.exchange("w", results=[done(job, "two")])
    run = there.show(run_id, wait=PATIENCE_SECONDS)
    assert (run["status"], run["finalOutput"]) == ("COMPLETED", "two")
    assert [[attempt["status"] for attempt in step["attempts"]] for step in run["steps"]] == [["COMPLETED"]] * 2


def test_what_the_worker_of_a_killed_process_does_not_finish_goes_out_again_alone(start: Callable[[], Server]) -> None:
    here, there = start(), start()
    here.define("flow", "a", retry={"delay": 0})
    here.register("w", "a", lease=3)
    run_id = there.trigger("flow", "in")
    (job,) = jobs(here, "w")
    # Its sign of life is in the store: so is its name.
    assert beat(here, "w", job)["unknown"] == []
    here.kill()
    there.register("other", "a")
    (again,) = jobs(there, "other")
    assert (again["jobId"], again["attempt"], again["alone"]) == (job["jobId"], 2, True)
    # The first one comes back too late, elsewhere.
    there.register("w", "a")
    (rejected,) = there.exchange("w", results=[done(job, "late")])["rejected"]
    assert rejected["code"] == "attempt-superseded"
    there.exchange("other", results=[done(again, "done")])
    run = there.show(run_id, wait=PATIENCE_SECONDS)
    assert (run["status"], run["finalOutput"]) == ("COMPLETED", "done")
    lost, made = run["steps"][0]["attempts"]
    assert (lost["status"], made["status"], made["worker"]) == ("LOST", "COMPLETED", "other")
    assert "worker w gave no sign of life" in lost["error"]["message"]


def test_jobs_that_a_killed_process_had_read_for_its_workers_come_to_others(start: Callable[[], Server]) -> None:
    here, there = start(), start()
    here.define("flow", "a")
    here.register("w", "a")
    first = there.trigger("flow", "first")
    (long,) = jobs(here, "w")
    runs = [there.trigger("flow", number) for number in range(30)]
    here.kill()
    there.register("other", "a")
    taken = jobs(there, "other", count=30)
    assert {job["attempt"] for job in taken} == {1}
    there.exchange("other", results=[done(job) for job in taken])
    there.register("w", "a")
    there.exchange("w", results=[done(long)])
    assert {there.show(run_id, wait=PATIENCE_SECONDS)["status"] for run_id in (first, *runs)} == {"COMPLETED"}
