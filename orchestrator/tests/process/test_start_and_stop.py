"""How a server begins, what it refuses to begin with, and how it goes."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from tests.process.server import START_SECONDS, Server, done, until


def refused(server: Server) -> tuple[int, str]:
    """Start a server that ends by itself; gives its exit code and what it said."""
    with contextlib.closing(server):
        server.launch()
        return server.ended(START_SECONDS)


def test_a_second_server_on_the_same_folder_is_refused(server: Server) -> None:
    server.define("flow", "act")
    code, said = refused(Server(server.folder))
    assert code != 0
    assert "in use" in said
    assert str(server.folder) in said
    assert "--data" in said
    assert "Traceback" not in said
    assert server.trigger()


def test_a_folder_is_free_again_when_its_server_was_killed(server: Server) -> None:
    server.define("flow", "act")
    server.kill()
    with Server(server.folder) as other:
        assert [one["id"] for one in other.call("GET", "/workflow/").json()] == ["flow"]


def test_a_port_that_is_taken_is_refused_and_the_folder_left_alone(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused(Server(tmp_path / "data", port=port))
    assert code != 0
    assert str(port) in said
    assert "--port" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data").exists()


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text("[limits]\njson_depth_max = 'deep'\n")
    code, said = refused(Server(None, "--config", str(config)))
    assert code != 0
    assert "json_depth_max" in said
    assert str(config) in said
    assert "Traceback" not in said


def test_settings_of_a_file_hold(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text("hosts = 'flows.example'\n[limits]\njson_depth_max = 3\n")
    with Server(tmp_path / "data", "--config", str(config)) as server:
        server.define("flow", "act")
        assert server.call("POST", "/workflow/flow/trigger", b'{"input":[[[]]]}').status == 201
        assert server.call("POST", "/workflow/flow/trigger", b'{"input":[[[[]]]]}').status == 400
        assert server.call("GET", "/workflow/", headers={"Host": "flows.example"}).status == 200
        assert server.call("GET", "/workflow/", headers={"Host": "evil.example"}).status == 403


def test_who_waits_is_answered_when_the_server_is_asked_to_go(server: Server) -> None:
    server.define("flow", "act")
    server.register("idle", "nothing")
    server.register("w", "act")
    run_id = server.trigger()
    (job,) = server.exchange("w", capacity=1)["jobs"]
    connections = {name: server.connect() for name in ("poll", "other poll", "wait", "trigger")}
    for name in ("poll", "other poll"):
        connections[name].request("POST", "/workers/idle/exchange", b'{"capacity": 1, "wait": 60}')
    connections["wait"].request("GET", f"/workflow/run/{run_id}?wait=60s")
    connections["trigger"].request("POST", "/workflow/flow/trigger?wait=60s", b"{}")
    until(lambda: len(server.call("GET", "/workflow/runs").json()) == 2)
    sockets = [connection.sock for connection in connections.values()]
    assert select.select(sockets, [], [], 0.2)[0] == []
    begun = time.monotonic()
    server.ask_to_stop()
    answers = {name: connection.getresponse() for name, connection in connections.items()}
    bodies = {name: answer.read() for name, answer in answers.items()}
    code, said = server.ended()
    assert code == 0, said
    assert time.monotonic() - begun < 3
    assert "Traceback" not in said
    for connection in connections.values():
        connection.close()
    assert {name: answer.status for name, answer in answers.items()} == {
        "poll": 200,
        "other poll": 200,
        "wait": 200,
        "trigger": 201,
    }
    assert bodies["poll"] == bodies["other poll"] == b"{}"
    assert json.loads(bodies["wait"])["status"] == "RUNNING"
    server.start()
    assert server.show(bodies["trigger"].decode())["status"] == "RUNNING"
    server.register("w", "act")
    assert "rejected" not in server.exchange("w", results=[done(job, "out")])
    assert server.show(run_id)["finalOutput"] == "out"


def test_a_connection_that_is_kept_open_does_not_keep_the_server(server: Server) -> None:
    connection = server.connect()
    connection.request("GET", "/health/live")
    assert connection.getresponse().read()
    begun = time.monotonic()
    server.stop()
    assert time.monotonic() - begun < 3
    connection.close()


def test_results_that_arrive_while_the_server_goes_are_recorded_or_not_answered(server: Server) -> None:
    """An answer of 200 is a promise, up to the last one."""
    server.define("flow", "act", retry={"delay": "1h"})
    server.register("w", "act")
    for _ in range(300):
        server.trigger()
    jobs = server.exchange("w", capacity=300)["jobs"]
    recorded: list[str] = []

    def report() -> None:
        for job in jobs:
            try:
                answer = server.call("POST", "/workers/w/exchange", {"results": [done(job)]})
            except OSError:
                return
            if answer.status == 200:
                recorded.append(job["workflowRunId"])

    thread = threading.Thread(target=report)
    thread.start()
    until(lambda: len(recorded) >= 20)
    server.stop()
    thread.join(10)
    server.start()
    completed = server.call("GET", "/workflow/runs?status=COMPLETED&limit=500&view=summary").json()
    assert set(recorded) <= {run["runId"] for run in completed}


def test_a_server_says_where_it_is_and_nothing_of_what_it_is_sent(tmp_path: Path) -> None:
    secret: Any = {"password": "correct horse battery staple"}
    with Server(tmp_path / "data", "--log-level", "debug") as server:
        server.define("flow", "act", retry={"maxRetries": 0})
        server.register("w", "act")
        server.trigger(payload=secret, **{"Idempotency-Key": "k"})
        (job,) = server.exchange("w", capacity=1)["jobs"]
        server.exchange("w", results=[done(job, secret), done(job, secret)])
        server.call("POST", "/workflow/flow/trigger", b'{"inputs":"correct horse battery staple"}')
        server.call("GET", "/workflow/correct-horse-battery-staple?x=correct%20horse")
        server.ask_to_stop(signal.SIGINT)
        code, said = server.ended()
    assert code == 0
    assert f"http://127.0.0.1:{server.port}" in said
    assert "correct" not in said
