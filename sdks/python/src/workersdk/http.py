"""HTTP to one orchestrator, by aiohttp: what a worker's transport and the clients share."""

from __future__ import annotations

import asyncio
import base64
import errno
import io
import random
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from workersdk.errors import InvalidUrlError
from workersdk.version import USER_AGENT

CONNECT_TIMEOUT_S: Final = 10.0
PAUSE_S_FIRST: Final = 0.1
PAUSE_S_MAX: Final = 10.0

# aiohttp warns of larger bodies that are given as bytes; as a file it sends them piece by piece.
_BODY_BYTES_AT_ONCE: Final = 1024 * 1024
_NOT_SENT: Final = ("Accept-Encoding",)


class HttpError(Exception):
    """There is no answer: no connection, a connection lost, a time-out, or something that is not HTTP."""


class Response(NamedTuple):
    """An answer, read to its end. Names of headers are found in any case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class Http:
    """Requests to one orchestrator, over kept connections.

    It follows no redirects, keeps no cookies and looks for no proxy in the environment. The session is opened with the
    first request, on the loop that is running then.
    """

    def __init__(self, url: str) -> None:
        """Read `http://host:port/prefix` or `https://user:password@host`. Raises `InvalidUrlError`."""
        try:
            given = URL(url)
            host = given.host
        except ValueError as error:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator: {error}") from None
        if given.scheme not in ("http", "https") or not host:
            raise InvalidUrlError(f"{url!r} is not an address of an orchestrator, such as http://127.0.0.1:8080")
        self.prefix = given.raw_path.rstrip("/")
        self.address = f"{given.origin()}{self.prefix}"
        self._headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Content-Type": "application/json"}
        if given.user is not None:
            pair = f"{given.user}:{given.password or ''}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._session: aiohttp.ClientSession | None = None

    def url(self, target: str) -> URL:
        """Return the URL of a path, with its query, that is written as it travels."""
        return URL(self.address + target, encoded=True)

    async def request(
        self,
        method: str,
        url: URL,
        body: bytes | None = None,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool = True,
    ) -> Response:
        """Send one request and read its answer. `timeout` in seconds is for the whole of it. Raises `HttpError`.

        One that is not repeatable goes out on a connection of its own: when a kept one breaks, nobody knows what was
        done. A cancelled request closes its connection, so that the orchestrator sees that nobody waits any more.
        """
        if not is_repeatable:
            async with self._open() as session:
                return await _exchange(session, method, url, body, timeout, headers)
        if self._session is None:
            self._session = self._open()
        return await _exchange(self._session, method, url, body, timeout, headers)

    async def close(self) -> None:
        """Close the connections. The next request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def abandon(self) -> None:
        """Forget the connections without touching them: they are another process's, or their loop has ended."""
        session, self._session = self._session, None
        if session is not None:
            session.detach()

    def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=_Connector(limit=0),
            headers=self._headers,
            skip_auto_headers=_NOT_SENT,
            cookie_jar=aiohttp.DummyCookieJar(),
        )


class Backoff:
    """Pauses between tries: the n-th is anywhere between 0 and min(10 s, 0.1 s * 2^n).

    Full jitter keeps a thousand workers that lost the same orchestrator from coming back in step.
    """

    def __init__(self) -> None:
        self._count = 0

    def next(self) -> float:
        """Return the next pause in seconds."""
        longest = min(PAUSE_S_MAX, PAUSE_S_FIRST * 2.0 ** min(self._count, 32))
        self._count += 1
        return random.uniform(0, longest)

    def reset(self) -> None:
        """Begin again with the shortest pause."""
        self._count = 0


class _Connector(aiohttp.TCPConnector):
    # aiohttp's own closes forgotten connections here. After a fork that would reach into the parent's event loop.
    def __del__(self, _warnings: Any = None) -> None:
        pass


async def _exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    body: bytes | None,
    timeout: float,
    headers: Mapping[str, str] | None,
) -> Response:
    data = io.BytesIO(body) if body is not None and len(body) > _BODY_BYTES_AT_ONCE else body
    try:
        answer = await session.request(
            method, url, data=data, headers=headers, timeout=_time_out(timeout), allow_redirects=False
        )
        content = await answer.read()
    except (asyncio.TimeoutError, TimeoutError):
        raise HttpError(f"no answer within {timeout:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise HttpError(_reason(error)) from error
    return Response(answer.status, answer.reason or "", answer.headers, content)


@lru_cache(maxsize=64)
def _time_out(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT_S)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ECONNREFUSED:
        return "connection refused"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(text.split()) or type(error).__name__
