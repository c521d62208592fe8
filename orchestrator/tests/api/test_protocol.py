"""A connection on a real socket: what is written on it, and when it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from orchestrator.api.asgi import Asgi, Receive, Scope, Send
from orchestrator.api.protocol import Protocol

SECONDS = 30
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = [(b"content-length", b"2")]


def answering(headers: list[tuple[bytes, bytes]], body: bytes = b"ok", status: int = 200) -> Asgi:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


class Site:
    """A server and one connection to it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, protocol: Protocol) -> None:
        self.reader = reader
        self.writer = writer
        self.protocol = protocol

    async def ask(self, request: bytes = REQUEST) -> bytes:
        """Send a request, and read the head of its answer and a body of two bytes."""
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        return head + await self.reader.readexactly(2)


@contextlib.asynccontextmanager
async def serving(app: Asgi, keep_alive: float = SECONDS) -> AsyncIterator[Site]:
    config = uvicorn.Config(app, http=Protocol, ws="none", lifespan="off", log_config=None)
    config.load()
    made: list[Protocol] = []

    def make() -> Protocol:
        protocol = Protocol(config, ServerState(), {})
        protocol.timeout_keep_alive = keep_alive  # type: ignore[assignment]
        made.append(protocol)
        return protocol

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            while not made:
                await asyncio.sleep(0)
            yield Site(reader, writer, made[0])
        finally:
            writer.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    uvloop.run(main())


def test_a_connection_is_closed_when_it_was_idle_for_long_enough() -> None:
    async def test() -> None:
        async with serving(answering(OK), keep_alive=0.1) as site:
            await site.ask()
            begun = time.monotonic()
            assert await site.reader.read() == b""
            assert time.monotonic() - begun > 0.05

    run(test)


def test_a_connection_that_was_used_meanwhile_stays() -> None:
    async def test() -> None:
        async with serving(answering(OK)) as site:
            for _ in range(3):
                await site.ask()
                site.protocol.timeout_keep_alive_handler()
            site.protocol.timeout_keep_alive = 0
            site.protocol.timeout_keep_alive_handler()
            assert await site.reader.read() == b""

    run(test)


def test_a_connection_with_a_request_is_not_idle_however_long_that_takes() -> None:
    async def test() -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/slow":
                asked.set()
                await answer.wait()
            await answering(OK)(scope, receive, send)

        async with serving(app) as site:
            await site.ask()
            site.protocol.timeout_keep_alive = 0
            slow = asyncio.ensure_future(site.ask(REQUEST.replace(b"/ ", b"/slow ")))
            await asked.wait()
            site.protocol.timeout_keep_alive_handler()
            answer.set()
            assert (await slow).endswith(b"ok")
            assert await site.reader.read() == b""

    run(test)


def test_requests_that_come_at_once_are_answered_one_after_the_other() -> None:
    async def test() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            body = (await receive())["body"]
            await answering(OK, body)(scope, receive, send)

        async with serving(app) as site:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
            answers = [await site.ask(head + b"aa" + head + b"bb" + head + b"cc")]
            answers += [await site.ask(b""), await site.ask(b"")]
            assert [answer[-2:] for answer in answers] == [b"aa", b"bb", b"cc"]

    run(test)


@pytest.mark.parametrize(
    "headers",
    [
        [*OK, (b"location", b"/x\r\nset-cookie: a=b")],
        [*OK, (b"location", b"/x\n")],
        [*OK, (b"a b", b"c")],
        [(b"content-type", b"text/plain")],
    ],
)
def test_an_answer_that_would_be_taken_for_another_is_a_fault(headers: list[tuple[bytes, bytes]]) -> None:
    async def test() -> None:
        async with serving(answering(headers)) as site:
            site.writer.write(REQUEST)
            answer = await site.reader.read()
            assert answer.startswith(b"HTTP/1.1 500 ")
            assert b"set-cookie" not in answer

    run(test)


@pytest.mark.parametrize("body", [b"", b"o", b"okay"])
def test_a_body_of_another_length_than_its_head_says_is_not_sent(body: bytes) -> None:
    async def test() -> None:
        async with serving(answering(OK, body)) as site:
            site.writer.write(REQUEST)
            assert await site.reader.read() == b""

    run(test)


@pytest.mark.parametrize(
    ("request_line", "status", "headers", "ends"),
    [
        (b"HEAD / HTTP/1.1", 200, OK, b"content-length: 2\r\n\r\n"),
        (b"GET / HTTP/1.1", 304, [(b"etag", b"x")], b"etag: x\r\n\r\n"),
        (b"DELETE / HTTP/1.1", 204, [], b" No Content\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(
    request_line: bytes, status: int, headers: list[tuple[bytes, bytes]], ends: bytes
) -> None:
    async def test() -> None:
        body = b"ok" if status == 200 else b""
        async with serving(answering(headers, body, status)) as site:
            for _ in range(2):
                site.writer.write(request_line + b"\r\nHost: localhost\r\n\r\n")
                assert (await site.reader.readuntil(b"\r\n\r\n")).endswith(ends)

    run(test)


@pytest.mark.parametrize(
    ("request_bytes", "headers"),
    [
        (REQUEST, [*OK, (b"connection", b"close")]),
        (REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), OK),
        (REQUEST.replace(b"1.1", b"1.0"), OK),
    ],
)
def test_a_connection_that_was_to_be_closed_is(request_bytes: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    async def test() -> None:
        async with serving(answering(headers)) as site:
            site.writer.write(request_bytes)
            answer = await site.reader.read()
            assert answer.count(b"connection: close\r\n") == 1
            assert answer.endswith(b"\r\n\r\nok")

    run(test)


def test_the_server_lets_a_request_end_before_it_goes() -> None:
    async def test() -> None:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            asked.set()
            await answer.wait()
            await answering(OK)(scope, receive, send)

        async with serving(app) as site:
            site.writer.write(REQUEST)
            await asked.wait()
            site.protocol.shutdown()
            answer.set()
            whole: Any = await site.reader.read()
            assert b"connection: close\r\n" in whole
            assert whole.endswith(b"ok")

    run(test)
