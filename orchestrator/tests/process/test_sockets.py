"""What only a real connection can do: break off, send rubbish, send too much."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.process.server import Server, ask, until

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def flow(shared: Server) -> None:
    shared.define("flow", "act")


def status_of(answer: bytes) -> int:
    """Read the status of the first answer; 0 where there is none."""
    line = answer.partition(b"\r\n")[0].split(b" ")
    return int(line[1]) if line[0].startswith(b"HTTP/1.") else 0


# --- breaking off ------------------------------------------------------------------------------------------------


def poll_and_break_off(server: Server, worker_id: str, hard: bool) -> None:
    """Begin to wait for a job, and go away without a word."""
    body = b'{"capacity": 1, "wait": 60}'
    head = f"POST /workers/{worker_id}/exchange HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head.encode() + body)
    until(lambda: server.call("GET", f"/workers/{worker_id}").json()["lastSeenAt"])
    if hard:
        # With nothing to linger for, the other side gets a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.mark.parametrize("hard", [False, True])
def test_a_worker_that_breaks_off_while_it_waits_takes_no_job_with_it(shared: Server, hard: bool) -> None:
    name = f"break-{hard}"
    shared.define(name, name)
    shared.register(f"dead-{hard}", name, lease="1h")
    shared.register(f"live-{hard}", name)
    for _ in range(5):
        poll_and_break_off(shared, f"dead-{hard}", hard)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shared.exchange, f"live-{hard}", capacity=1, wait=30)
        begun = time.monotonic()
        run_id = shared.trigger(name)
        (job,) = waiting.result(10)["jobs"]
    assert time.monotonic() - begun < 2
    assert (job["workflowRunId"], job["attempt"]) == (run_id, 1)
    assert shared.call("GET", f"/workers/dead-{hard}").json()["inHand"] == []


def test_a_job_that_comes_right_after_the_break_is_not_lost(shared: Server) -> None:
    """Nobody else waits: the job stays in the queue for who comes next."""
    shared.define("alone", "alone")
    shared.register("dead", "alone", lease="1h")
    shared.register("next", "alone")
    poll_and_break_off(shared, "dead", True)
    until(lambda: shared.call("GET", "/workers/dead").json()["inHand"] == [])
    run_id = shared.trigger("alone")
    (job,) = shared.exchange("next", capacity=1, wait=10)["jobs"]
    assert (job["workflowRunId"], job["attempt"]) == (run_id, 1)


def test_who_breaks_off_while_a_trigger_waits_has_still_started_the_run(shared: Server) -> None:
    head = b"POST /workflow/flow/trigger?wait=60s HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: broken\r\n"
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.sendall(head + b"Content-Length: 2\r\n\r\n{}")
        until(lambda: shared.call("GET", "/workflow/runs?workflow=flow").json())
    answer = shared.call("POST", "/workflow/flow/trigger", b"{}", headers={"Idempotency-Key": "broken"})
    assert answer.status == 200


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 12\r\n\r\n",
        b"Content-Length: 12\r\n\r\n ",
        b'Content-Length: 12\r\n\r\n{"input":1',
        b"Transfer-Encoding: chunked\r\n\r\n",
        b'Transfer-Encoding: chunked\r\n\r\nc\r\n{"input":1',
        b'Transfer-Encoding: chunked\r\n\r\n9\r\n{"input":\r\n',
    ],
)
def test_a_body_that_breaks_off_starts_nothing(shared: Server, framed: bytes) -> None:
    before = shared.call("GET", "/workflow/runs?limit=500&view=summary").body
    with socket.create_connection(("127.0.0.1", shared.port)) as connection:
        connection.sendall(b"POST /workflow/flow/trigger HTTP/1.1\r\nHost: localhost\r\n" + framed)
    shared.call("GET", "/health/live")
    assert shared.call("GET", "/workflow/runs?limit=500&view=summary").body == before


# --- too much ----------------------------------------------------------------------------------------------------


def test_a_body_beyond_the_limit_is_answered_though_all_of_it_is_sent(shared: Server) -> None:
    """A worker learns from the 413 that it has to send fewer results at once: it must not get a reset instead."""
    shared.register("large", "act")
    body = b'{"results": [], "x": "' + b"x" * (17 * MIB) + b'"}'
    for _ in range(3):
        answer = shared.call("POST", "/workers/large/exchange", body)
        assert (answer.status, answer.json()["code"]) == (413, "too-large")


def test_a_body_in_pieces_beyond_the_limit_is_answered(shared: Server) -> None:
    connection = shared.connect()
    pieces = (b"x" * MIB for _ in range(18))
    connection.request("POST", "/workflow/flow/trigger", pieces, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "too-large")
    connection.close()


def test_a_client_that_asks_before_it_sends_is_told_not_to(shared: Server) -> None:
    head = b"POST /workflow/flow/trigger HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", shared.port), 5) as connection:
        connection.sendall(head % (17 * MIB))
        answer = connection.recv(65_536)
    assert status_of(answer) in (100, 413)
    with socket.create_connection(("127.0.0.1", shared.port), 5) as connection:
        connection.sendall(head % 2)
        assert status_of(connection.recv(65_536)) == 100
        connection.sendall(b"{}")
        assert status_of(connection.recv(65_536)) == 201


@pytest.mark.parametrize(
    "request_line", [b"GET /workflow/" + b"x" * 200_000, b"GET /workflow/runs?cursor=" + b"x" * 200_000]
)
def test_a_path_without_end_is_refused(shared: Server, request_line: bytes) -> None:
    try:
        answer = shared.raw(request_line + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    except ConnectionError:
        answer = b""
    assert status_of(answer) == 0 or 400 <= status_of(answer) < 500
    assert shared.call("GET", "/health/live").status == 200


def test_headers_without_end_are_refused(shared: Server) -> None:
    try:
        answer = shared.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2_000_000)
    except ConnectionError:
        answer = b""
    assert status_of(answer) in (0, 431)
    assert shared.call("GET", "/health/live").status == 200


def test_headers_that_are_too_many_are_told_so(shared: Server) -> None:
    answer = shared.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (MIB // 6))
    assert status_of(answer) == 431
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (problem["code"], problem["errors"][0]["field"]) == ("head-too-large", "headers")


def test_large_headers_one_after_the_other_do_not_add_up(shared: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for _ in range(6):
        connection.request("GET", "/health/live", headers={"X": "x" * 60_000, "Y": "y" * 60_000})
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (200, False)
        answer.read()
    connection.close()


# --- rubbish -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        b"/workflow/%ff",
        b"/workflow/%ED%A0%80",
        b"/workflow/%00",
        b"/workflow/%",
        b"/workflow/%zz",
        b"/workflow/%2e%2e/x",
        b"/workflow/run/%f0%9f%98%80",
        b"/workflow/run/%C3%28?wait=%ff",
        b"/dead-letters?cursor=%ED%A0%80",
        b"/workflow/runs?workflow=%ED%A0%80",
        b"/../../etc/passwd",
        b"/assets/..%2f..%2fsettings.py",
        b"//evil.example/x",
        b"/workflow/runs?a=1&&&=&%",
        b"/;/?#",
        b"/workflow/\x7f",
    ],
)
def test_odd_paths_get_an_answer(shared: Server, path: bytes) -> None:
    for method in (b"GET", b"POST", b"DELETE"):
        for accept in (b"*/*", b"text/html"):
            answer = shared.raw(
                method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n"
                b"Accept: " + accept + b"\r\n\r\n{}"
            )
            assert 200 <= status_of(answer) < 500, answer[:300]
            assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /workflow/\r\n\r\n",
        b"GET /workflow/ HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\n\r\n",
        b"GET /workflow/ HTTP/1.0\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/workflow/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\nHost: localhost\r\nAccept: \xff;q=x\r\nConnection: close\r\n\r\n",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n{}",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1_0\r\n\r\n{}",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
        b"POST /workflow/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /workflow/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n",
    ],
    ids=lambda value: repr(value)[2:].replace("HTTP/1.1\\r\\nHost: localhost\\r\\n", "")[:70],
)
def test_rubbish_is_no_fault_and_harms_nobody(shared: Server, request_bytes: bytes) -> None:
    answer = shared.raw(request_bytes)
    assert status_of(answer) < 500, answer[:300]
    assert b"Traceback" not in answer
    assert shared.call("GET", "/health/ready").status == 200


def test_the_answer_does_not_say_who_serves(shared: Server) -> None:
    assert "server" not in shared.call("GET", "/workflow/").headers


# --- connections -------------------------------------------------------------------------------------------------


def test_one_connection_serves_many_requests_after_problems_too(shared: Server) -> None:
    connection = shared.connect()
    for _ in range(3):
        assert ask(connection, "GET", "/health/live").status == 200
        assert ask(connection, "POST", "/workflow/", b"{").status == 400
        assert ask(connection, "GET", "/nowhere").status == 404
        assert ask(connection, "PUT", "/workflow/", b"{}").status == 405
        assert ask(connection, "GET", "/", headers={"Host": "evil.example"}).status == 403
        assert ask(connection, "POST", "/workflow/flow/trigger", b"{}").status == 201
        assert ask(connection, "GET", "/workflow/", headers={"Accept": "text/html"}).status == 200
    connection.close()


def test_requests_sent_without_waiting_for_answers_are_answered_in_order(shared: Server) -> None:
    requests = b"".join(
        b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (path, b"Connection: close\r\n" if path == b"/last" else b"")
        for path in (b"/health/live", b"/nowhere", b"/health/ready", b"/last")
    )
    with socket.create_connection(("127.0.0.1", shared.port), 5) as connection:
        connection.sendall(requests)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    answers = b"".join(parts).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"200", b"404"]


def test_many_connections_wait_at_once(shared: Server) -> None:
    shared.register("many", "nothing")
    connections: list[http.client.HTTPConnection] = []
    try:
        for _ in range(100):
            connection = shared.connect()
            connection.request("POST", "/workers/many/exchange", b'{"capacity": 1, "wait": 60}')
            connections.append(connection)
        assert shared.call("GET", "/health/ready").status == 200
        shared.call("POST", "/workers/many/drain")
        for connection in connections:
            assert json.loads(connection.getresponse().read()) == {"draining": True}
    finally:
        for connection in connections:
            connection.close()
