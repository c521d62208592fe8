"""The HTTP client against a server that sends exact bytes."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.running import eventually
from workersdk.errors import InvalidUrlError
from workersdk.http1 import Endpoint, HttpClient, HttpError, Response, StaleConnectionError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(serve: Serve) -> AsyncIterator[HttpClient]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = HttpClient(Endpoint.parse(f"http://127.0.0.1:{port}/prefix/"), user_agent="test")
    try:
        yield client
    finally:
        client.close()
        server.close()
        await server.wait_closed()


def sending(*pieces: bytes) -> Serve:
    """Answer each request with these pieces, one write after the other."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if b"close" in pieces[0] or b"HTTP/1.0" in pieces[0]:
                return

    return serve


async def get(client: HttpClient, timeout: float = 5) -> Response:
    return await client.request("GET", "/thing", timeout=timeout)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 5\r\n", b"\r\nhel", b"lo"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"5\r\nhel",
            b"lo\r",
            b"\n0\r\nTrailer: x\r\n",
            b"\r\n",
        ],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhe", b"llo"],
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
    ],
    ids=["length", "pieces", "continue", "chunks", "chunks in pieces", "until close", "http 1.0"],
)
async def test_every_kind_of_body_is_read(pieces: list[bytes]) -> None:
    async with served(sending(*pieces)) as client:
        for _ in range(2):
            response = await get(client)
            assert (response.status, response.body) == (200, b"hello")


async def test_an_answer_without_a_body_ends_with_its_head() -> None:
    async with served(sending(b"HTTP/1.1 204 No Content\r\nX-Mark: Yes\r\n\r\n")) as client:
        response = await get(client)
        assert (response.status, response.body, response.headers["x-mark"]) == (204, b"", "Yes")


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000], "too long"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello"], "longer than it says"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"], "chunk of size"),
        ([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhello"], "closed"),
    ],
    ids=["other protocol", "long head", "long body", "broken chunk", "short body"],
)
async def test_what_is_not_an_answer_is_an_error(pieces: list[bytes], reason: str) -> None:
    async with served(sending(*pieces)) as client:
        with pytest.raises(HttpError, match=reason):
            await get(client)


async def test_connections_are_kept_and_requests_are_written_out() -> None:
    seen: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) if b"ength" in head else 0
            seen.append(head + await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(serve) as client:
        await client.request("POST", "/x", body=[b"[1,", b"2]"], headers=[("X-Key", "k")], timeout=5)
        await get(client)
    assert connections == 1
    assert seen[0].startswith(b"POST /prefix/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nUser-Agent: test\r\nX-Key: k\r\nContent-Type: application/json\r\n" in seen[0]
    assert seen[0].endswith(b"\r\n\r\n[1,2]")
    assert seen[1].startswith(b"GET /prefix/thing HTTP/1.1\r\n")


async def test_a_kept_connection_that_was_closed_meanwhile_is_told_apart() -> None:
    """The second request finds the connection open and closed under its hands, before any answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")

    async with served(serve) as client:
        await get(client)
        with pytest.raises(StaleConnectionError):
            await get(client)
        await get(client)


async def test_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with served(serve) as client:
        for _ in range(3):
            await get(client)
            await eventually(lambda: not client._kept[0].can_be_kept)


async def test_silence_ends_with_a_timeout() -> None:
    async with served(sending(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")) as client:
        with pytest.raises(HttpError, match="no answer within"):
            await get(client, timeout=0.05)


async def test_a_cancelled_request_closes_its_connection() -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        assert await reader.read(1) == b""
        gone.set()

    async with served(serve) as client:
        task = asyncio.create_task(get(client))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)


async def test_nobody_there() -> None:
    client = HttpClient(Endpoint.parse("http://127.0.0.1:1"), user_agent="test")
    with pytest.raises(HttpError, match="refused"):
        await get(client)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_tls_is_spoken_and_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, "localhost", 0, ssl=context)
    endpoint = Endpoint.parse(f"https://localhost:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(HttpError, match="certificate"):
        await get(HttpClient(endpoint, user_agent="test"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert (await get(HttpClient(endpoint, user_agent="test"))).body == b"hello"
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host", ("http://host", "host", 80, False, "")),
        ("https://host/p/", ("https://host/p", "host", 443, True, "/p")),
        ("http://[::1]:8080/", ("http://[::1]:8080", "::1", 8080, False, "")),
        ("http://user:secret@host:1", ("http://host:1", "host", 1, False, "")),
    ],
)
def test_an_address_is_taken_apart_and_shown_without_a_password(url: str, expected: tuple[Any, ...]) -> None:
    endpoint = Endpoint.parse(url)
    assert (endpoint.url, endpoint.host, endpoint.port, endpoint.is_tls, endpoint.prefix) == expected


def test_a_password_goes_as_basic_authentication() -> None:
    assert b"Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in Endpoint.parse("http://user:secret@host").fixed_headers


@pytest.mark.parametrize("url", ["http://", "http://host:port", "ftp://host", "host"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidUrlError):
        Endpoint.parse(url)
