"""What only real processes and real connections show."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.process.site import free_port, site

KILLED = """
import json, os, sys, urllib.request
body = json.dumps({"capacity": 10, "wait": 10}).encode()
answer = urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/workers/victim/exchange", body)
print(len(json.load(answer)["jobs"]), flush=True)
sys.stdin.read()
"""


def test_every_acknowledged_run_completes_after_the_server_was_killed(tmp_path: Path) -> None:
    """Killed with runs that wait, a job in hand and results just acknowledged."""
    with site(tmp_path / "data") as server:
        server.define("one", "two", "three")
        server.register("worker", "one", "two", "three")
        runs = [server.trigger({"number": number}) for number in range(30)]
        first = server.take("worker", 20)
        server.report("worker", *first[:15])
        in_hand = server.take("worker", 5)
        server.kill()
        server.start_again()
        assert server.call("POST", "/workers/worker/exchange", {})[1]["code"] == "worker-not-found"
        server.register("worker", "one", "two", "three")
        server.report("worker", *in_hand, *first[15:])
        while jobs := server.take("worker", 100, wait=1):
            server.report("worker", *jobs)
        for number, run_id in enumerate(runs):
            run = server.run(run_id, wait=10)
            assert run["status"] == "COMPLETED"
            assert run["finalOutput"] == {"number": number}
            assert [result["stepIndex"] for result in run["stepResults"]] == [0, 1, 2]


def test_what_is_in_memory_is_gone_with_the_process() -> None:
    with site(None) as server:
        server.define("one")
        server.kill()
        server.start_again()
        assert server.call("GET", "/workflow/")[1] == []


def test_who_waits_is_answered_when_the_server_is_asked_to_go(tmp_path: Path) -> None:
    with site(tmp_path / "data") as server:
        server.define("one")
        server.register("worker", "other")
        run_id = server.trigger("kept")
        waits = server.begin("GET", f"/workflow/run/{run_id}?wait=60")
        polls = server.begin("POST", "/workers/worker/exchange", {"capacity": 1, "wait": 60})
        server.until(lambda: server.call("GET", "/workers/worker")[1]["status"] == "CONNECTED")
        assert server.terminate() == 0
        assert waits.result(10)[1]["status"] == "RUNNING"
        assert polls.result(10) == (200, {})
        server.start_again()
        assert server.run(run_id)["input"] == "kept"


def test_a_caller_that_went_away_takes_no_job_with_it() -> None:
    """The connection of a killed worker is closed; the next job goes to the living one at once."""
    with site(None) as server:
        server.define("one")
        server.register("dead", "one", lease=3_600)
        body = json.dumps({"capacity": 1, "wait": 60})
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("POST", "/workers/dead/exchange", body)
        server.until(lambda: server.call("GET", "/workers/dead")[1]["status"] == "CONNECTED")
        connection.close()
        server.register("alive", "one")
        waits = server.begin("POST", "/workers/alive/exchange", {"capacity": 1, "wait": 10})
        run_id = server.trigger()
        assert len(waits.result(10)[1]["jobs"]) == 1
        assert server.run(run_id)["steps"][0]["attempts"][0]["worker"] == "alive"


def test_jobs_of_a_killed_worker_come_back_and_run_alone() -> None:
    with site(None) as server:
        server.define("one", retry={"delay": 0})
        server.register("victim", "one", lease=1)
        runs = [server.trigger(number) for number in range(2)]
        command = [sys.executable, "-c", KILLED, str(server.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "2\n"
            worker.send_signal(signal.SIGKILL)
        server.register("heir", "one")
        for _ in runs:
            (job,) = server.take("heir", 10)
            assert job["alone"]
            assert job["attempt"] == 2
            server.report("heir", job)
        for run_id in runs:
            attempts = server.run(run_id, wait=10)["steps"][0]["attempts"]
            assert [attempt["status"] for attempt in attempts] == ["LOST", "COMPLETED"]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with site(tmp_path / "data") as server:
        second = start_and_wait("--port", str(free_port()), "--data", str(tmp_path / "data"))
        assert second.returncode == 1
        assert str(server.process.pid) in second.stderr
        assert "in use" in second.stderr


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start_and_wait("--port", str(port), "--memory")
    assert refused.returncode == 1
    assert str(port) in refused.stderr


def test_five_hundred_triggers_at_once_with_one_key_make_one_run() -> None:
    with site(None) as server:
        server.define("one")
        head = "POST /workflow/flow/trigger HTTP/1.1\r\nHost: localhost\r\n"
        head += "Idempotency-Key: k\r\nContent-Length: 11\r\n\r\n"
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
        for connection in connections:
            connection.sendall(head.encode() + b'{"input":1}')
        answers = [connection.recv(4_096) for connection in connections]
        for connection in connections:
            connection.close()
        assert len({answer.rsplit(b"\r\n", 1)[1] for answer in answers}) == 1
        assert sum(b" 201 " in answer.split(b"\r\n")[0] for answer in answers) == 1
        assert len(server.call("GET", "/workflow/runs")[1]) == 1


def start_and_wait(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start a server that is expected to give up."""
    command = [sys.executable, "-m", "orchestrator", "server", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
