"""Processes that are killed: whatever was acknowledged comes to its end."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.process.server import Server, done, until
from tests.process.worker import Worker

KILLS = 2
RUNS_BETWEEN_KILLS = 60


class Client:
    """Triggers runs one after another, each until it is acknowledged."""

    def __init__(self, server: Server, name: str) -> None:
        self.acknowledged: dict[str, str] = {}
        """Run by key."""
        self._server = server
        self._name = name
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._trigger, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _trigger(self) -> None:
        number = 0
        while not self._stopped.is_set():
            key = f"{self._name}-{number}"
            try:
                self.acknowledged[key] = self._server.trigger(payload=[key], **{"Idempotency-Key": key})
            except (OSError, http.client.HTTPException):
                self._stopped.wait(0.02)
                continue
            number += 1


def test_every_acknowledged_run_completes_though_the_server_is_killed(server: Server) -> None:
    server.define("flow", "one", "two", "three")
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(server, f"w{number}", "one", "two", "three")) for number in range(2)]
        clients = [Client(server, f"c{number}") for number in range(3)]

        def acknowledged() -> int:
            return sum(len(client.acknowledged) for client in clients)

        for kill in range(1, KILLS + 1):
            most = kill * RUNS_BETWEEN_KILLS
            until(partial(has_grown, acknowledged, most))
            server.kill()
            server.start()
        until(partial(has_grown, acknowledged, (KILLS + 1) * RUNS_BETWEEN_KILLS))
        for client in clients:
            client.stop()
        runs = {key: run_id for client in clients for key, run_id in client.acknowledged.items()}
        for key, run_id in runs.items():
            run = server.show(run_id, wait=20)
            assert (run["status"], run["finalOutput"]) == ("COMPLETED", [key, "one", "two", "three"]), run
            assert server.trigger(payload=[key], **{"Idempotency-Key": key}) == run_id
    assert len(set(runs.values())) == len(runs)
    listed = [run["runId"] for run in all_runs(server)]
    # A client that was cut off may have started one run more than it knows of; it asks again with the same key.
    assert len(listed) == len(set(listed)) == len(runs)
    completed = {f"{run_id}:{step}" for run_id in runs.values() for step in range(3)}
    assert {job for worker in workers for job, _ in worker.done} == completed


def has_grown(count: Callable[[], int], most: int) -> bool:
    return count() >= most


def all_runs(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: str | None = "/workflow/runs?limit=500&view=summary"
    while path is not None:
        answer = server.call("GET", path)
        found += answer.json()
        link = answer.headers.get("link")
        path = None if link is None else link[1 : link.index(">")]
    return found


def test_what_was_in_hand_when_the_server_was_killed_can_still_be_reported(server: Server) -> None:
    server.define("flow", "act")
    server.register("w", "act")
    runs = [server.trigger(payload=number) for number in range(3)]
    jobs = server.exchange("w", capacity=2)["jobs"]
    # A lease is recorded when it has lasted a while; the second is younger than that when the server dies.
    until(lambda: any(one["type"] == "AttemptStarted" for one in server.call("GET", events(runs[0])).json()))
    (late,) = server.exchange("w", capacity=1)["jobs"]
    server.kill()
    server.start()
    assert server.call("POST", "/workers/w/exchange", {}).status == 404
    server.register("w", "act")
    assert "rejected" not in server.exchange("w", results=[done(job, "out") for job in [*jobs, late]])
    assert [server.show(run_id)["status"] for run_id in runs] == ["COMPLETED"] * 3
    server.register("other", "act")
    assert server.exchange("other", capacity=5) == {}


def events(run_id: str) -> str:
    return f"/workflow/run/{run_id}/events"


def test_everything_is_there_again_after_a_restart(server: Server) -> None:
    server.define("flow", "act", retry={"maxRetries": 1, "delay": "300ms"})
    server.define("doomed", "act", retry={"maxRetries": 0})
    server.define("flow", "act", "more", retry={"maxRetries": 1, "delay": "300ms"})
    server.register("w", "act", "more")
    doomed = server.trigger("doomed", "in")
    (job,) = server.exchange("w", capacity=1)["jobs"]
    server.exchange("w", results=[{"jobId": job["jobId"], "attempt": 1, "status": "failed"}])
    waiting = server.trigger(payload=[1.5], **{"Idempotency-Key": "k"})
    (job,) = server.exchange("w", capacity=1)["jobs"]
    server.exchange("w", results=[{"jobId": job["jobId"], "attempt": 1, "status": "failed"}])
    cancelled = server.trigger()
    server.call("POST", f"/workflow/run/{cancelled}/cancel", {"reason": "no more"})
    queued = server.trigger(payload="queued")
    paths = [
        "/workflow/",
        "/workflow/flow/versions",
        f"/workflow/run/{doomed}",
        f"/workflow/run/{cancelled}",
        events(waiting),
        events(cancelled),
        "/dead-letters",
    ]
    before = {path: server.call("GET", path).body for path in paths}
    server.stop()
    server.start()
    assert server.call("GET", "/workers").json() == []
    for path in paths:
        if path != events(waiting):
            assert server.call("GET", path).body == before[path]
    assert server.trigger(payload=[1.5], **{"Idempotency-Key": "k"}) == waiting
    server.register("w", "act", "more")
    found: list[dict[str, Any]] = []

    def all_taken() -> bool:
        found.extend(server.exchange("w", capacity=5, wait=1).get("jobs", []))
        return len(found) >= 2

    until(all_taken)
    assert {(job["workflowRunId"], job["attempt"]) for job in found} == {(waiting, 2), (queued, 1)}
    assert server.call("GET", events(waiting)).body.startswith(before[events(waiting)][:-1])


def test_a_server_in_memory_keeps_nothing(tmp_path: Path) -> None:
    server = Server(None)
    with server:
        server.define("flow", "act")
        server.trigger()
        server.stop()
        server.start()
        assert server.call("GET", "/workflow/").json() == []
        assert server.call("GET", "/workflow/runs").json() == []
    assert list(tmp_path.iterdir()) == []


WORKER = """
import json, sys, urllib.request
url = sys.argv[1]
def post(path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), method="POST")
    return json.load(urllib.request.urlopen(request, timeout=60))
post("/workers", {"workerId": "mortal", "actions": ["act"], "lease": 1})
print(json.dumps(post("/workers/mortal/exchange", {"capacity": 1, "wait": 30})["jobs"][0]), flush=True)
sys.stdin.read()
"""


def test_a_job_whose_worker_was_killed_comes_back_after_its_lease_and_runs_alone(shared: Server) -> None:
    shared.define("mortal", "act", retry={"delay": 0})
    run_id = shared.trigger("mortal", "in")
    url = f"http://127.0.0.1:{shared.port}"
    command = [sys.executable, "-c", WORKER, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lost = json.loads(process.stdout.readline())
        process.kill()
    killed = time.monotonic()
    assert lost["jobId"] == f"{run_id}:0"
    shared.register("fresh", "act")
    (job,) = shared.exchange("fresh", capacity=5, wait=30)["jobs"]
    assert time.monotonic() - killed < 5
    assert (job["jobId"], job["attempt"], job["alone"], job["payload"]) == (lost["jobId"], 2, True, "in")
    shared.exchange("fresh", results=[done(job)])
    run = shared.show(run_id)
    assert [attempt["status"] for attempt in run["steps"][0]["attempts"]] == ["LOST", "COMPLETED"]
    assert run["steps"][0]["attempts"][0]["worker"] == "mortal"
