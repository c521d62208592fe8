"""What this package asks of its HTTP library, against a server that sends exact bytes."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from workersdk.errors import ConnectionFailedError, InvalidUrlError, SettingError
from workersdk.http import AnswerTooLargeError, Http, HttpError, Response
from workersdk.rest import Rest

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def served(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[Http]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0)
    port = server.sockets[0].getsockname()[1]
    client = Http(f"http://user:secret@{f'[{host}]' if ':' in host else host}:{port}/prefix/")
    try:
        yield client
    finally:
        await client.close()
        server.close()
        await server.wait_closed()


def sending(answer: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer)

    return serve


async def get(client: Http, timeout: float = 5) -> Response:
    return await client.request("GET", "/thing?a=b%2Fc", timeout=timeout)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) if b"ength: " in head else 0
    return head + await reader.readexactly(length)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_requests_are_plain_and_share_a_connection(host: str) -> None:
    seen: list[bytes] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            seen.append(await read_request(reader))
            writer.write(EMPTY)

    async with served(serve, host) as client:
        await client.request("POST", "/x", b"[1,2]", headers={"X-Key": "k"}, timeout=5)
        await get(client)
        assert connections == 1
        await client.request("POST", "/y", timeout=5, is_repeatable=False)
        assert connections == 2
    assert seen[0].startswith(b"POST /prefix/x HTTP/1.1\r\n")
    assert seen[0].endswith(b"\r\n\r\n[1,2]")
    names = {line.split(b":")[0] for line in seen[0].split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"Host", b"User-Agent", b"Accept", b"Content-Type", b"Authorization", b"X-Key", b"Content-Length"}
    assert b"\r\nAuthorization: Basic dXNlcjpzZWNyZXQ=\r\n" in seen[0]
    assert b"\r\nContent-Type: application/json\r\n" in seen[0]
    assert seen[1].startswith(b"GET /prefix/thing?a=b%2Fc HTTP/1.1\r\n")


async def test_a_large_body_arrives_without_a_warning() -> None:
    body = b"x" * (3 * 1024 * 1024)
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))
        writer.write(EMPTY)

    async with served(serve) as client:
        await client.request("POST", "/x", body, timeout=5)
    assert seen[0].endswith(b"\r\n\r\n" + body)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhello",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3_000_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500_000,
        b"",
    ],
    ids=["other protocol", "short body", "upgrade", "endless header", "endless headers", "nothing"],
)
async def test_what_is_not_an_answer_is_an_error(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    async with served(serve) as client:
        with pytest.raises(HttpError):
            await get(client)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 5\r\nX-Odd: caf\xe9\r\n\r\nabcde",
    ],
    ids=["chunks", "continue", "odd headers"],
)
async def test_ways_to_answer(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            for byte in answer:  # piece by piece: no answer may depend on how it was cut
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

    async with served(serve) as client:
        assert (await get(client)).body == b"abcde"
        assert (await get(client)).body == b"abcde"
        assert len(client._connections) == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_without_a_length_ends_with_its_connection(version: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/%b 200 OK\r\n\r\nabc" % version)
        await writer.drain()
        writer.write(b"de")
        await writer.drain()

    async with served(serve) as client:
        assert (await get(client)).body == b"abcde"
        assert (await get(client)).body == b"abcde"


async def test_a_kept_connection_that_was_closed_meanwhile_costs_no_request() -> None:
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n")
        requests += 1
        writer.write(EMPTY)
        await reader.readuntil(b"\r\n\r\n")  # the next request comes, and is met by a closed door

    async with served(serve) as client:
        for _ in range(3):
            assert (await get(client)).status == 200
    assert requests == 3


async def test_a_connection_on_which_something_came_unasked_is_not_used_again() -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(EMPTY + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake")

    async with served(serve) as client:
        assert (await get(client)).body == b""
        assert (await get(client)).body == b""
    assert connections == 2


async def test_a_header_cannot_smuggle_another() -> None:
    async with served(sending(EMPTY)) as client:
        for value in ("a\r\nX-Evil: 1", "a\nb", "a\x00b", "\u20ac"):
            with pytest.raises(ValueError, match="X-Key"):
                await client.request("GET", "/", headers={"X-Key": value}, timeout=5)


async def test_many_requests_at_once_have_a_connection_each_and_leave_none_open() -> None:
    async with served(sending(EMPTY)) as client:
        answers = await asyncio.gather(*(get(client) for _ in range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len(client._connections) == 50
        await client.close()
        assert not client._connections
        assert (await get(client)).status == 200


async def test_a_redirect_is_not_followed() -> None:
    async with served(sending(b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")) as client:
        response = await get(client)
    assert (response.status, response.reason, response.headers.get("location")) == (302, "Found", "/other")


@pytest.mark.parametrize(
    "length", [b"Content-Length: 11", b"Transfer-Encoding: chunked", b"X-Ends: with the connection"]
)
async def test_an_answer_that_is_too_large_is_not_read_on(length: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_ANSWER_BYTES_MAX", "10")
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (11, b"x" * 11) if b"chunked" in length else b"x" * 11
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await reader.readuntil(b"\r\n\r\n"):
            requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (length, body))
            await writer.drain()
            if b"Ends" in length:
                return

    async with served(serve) as client:
        with pytest.raises(AnswerTooLargeError, match="10 bytes; WORKFLOW_ANSWER_BYTES_MAX"):
            await get(client)
        assert not any(connection.is_usable for connection in client._connections)
        assert (await client.request("GET", "/", timeout=5, more_bytes=1)).body == b"x" * 11
        rest = Rest(client.address)
        with pytest.raises(ConnectionFailedError, match="WORKFLOW_ANSWER_BYTES_MAX"):
            await rest.call("GET", "/")
        await rest.close()
    # It is not asked for again: the same would come.
    assert requests == 3


async def test_an_endless_answer_is_refused_by_its_length_alone() -> None:
    async with served(sending(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 10**17)) as client:
        with pytest.raises(AnswerTooLargeError, match="67,108,864 bytes"):
            await get(client)


@pytest.mark.parametrize("value", ["0", "-1", "many", "1" * 16])
def test_what_is_no_number_of_bytes(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_ANSWER_BYTES_MAX", value)
    with pytest.raises(SettingError, match="WORKFLOW_ANSWER_BYTES_MAX"):
        Http("http://host")


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
    client = Http("http://127.0.0.1:1")
    with pytest.raises(HttpError, match="connection refused"):
        await get(client)
    await client.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_tls_is_spoken_and_the_certificate_is_checked(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)  # noqa: ASYNC221 - nothing else runs yet
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20\r\n\r\n{"status": "FAILED"}')
        writer.close()

    server = await asyncio.start_server(accept, "localhost", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    client = Http(url)
    with pytest.raises(HttpError, match="certificate"):
        await get(client)
    await client.close()
    program = f"from workersdk import Client\nwith Client({url!r}) as client: print(client.get('r-1').status)"
    environment = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=15
    )
    assert done.stdout == "FAILED\n", done.stderr
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    ("url", "address", "prefix"),
    [
        ("http://host", "http://host", ""),
        ("https://host/p/", "https://host/p", "/p"),
        ("http://[::1]:8080/", "http://[::1]:8080", ""),
        ("http://user:secret@host:1", "http://host:1", ""),
    ],
)
def test_an_address_is_shown_without_a_password(url: str, address: str, prefix: str) -> None:
    client = Http(url)
    assert (client.address, client.prefix) == (address, prefix)


@pytest.mark.parametrize("url", ["http://", "http://host:port", "ftp://host", "host"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(InvalidUrlError):
        Http(url)
