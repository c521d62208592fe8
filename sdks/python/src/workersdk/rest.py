"""The REST API call by call: retries that are safe, errors that say what to do. Used by both clients."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from workersdk import codec
from workersdk.errors import ApiError, ConflictError, ConnectionFailedError, NotFoundError, UnsupportedTransportError
from workersdk.http import AnswerTooLargeError, Backoff, Http, HttpError, Response
from workersdk.transport import URL_VARIABLE

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT_S: Final = 30.0
TRIES_MAX: Final = 5
RETRY_AFTER_S_MAX: Final = 10.0
PAGE_MAX: Final = 500
RETRIED_STATUSES: Final = frozenset({502, 503, 504})

_NEXT_PAGE = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')

Query = Mapping[str, Any]


def client_url(url: str | None) -> str:
    """Return the address to use: the argument, else WORKFLOW_URL if it is HTTP, else http://127.0.0.1:8080."""
    if url is None:
        variable = os.environ.get(URL_VARIABLE, "").strip()
        return variable if variable.lower().startswith(("http://", "https://")) else DEFAULT_URL
    if not url.lower().startswith(("http://", "https://")):
        raise UnsupportedTransportError(
            f"a client speaks HTTP to the orchestrator: {url!r} should be an address such as {DEFAULT_URL}"
        )
    return url


class Rest:
    """Calls to one orchestrator."""

    def __init__(self, url: str) -> None:
        self._http = Http(url)

    @property
    def address(self) -> str:
        return self._http.address

    async def close(self) -> None:
        await self._http.close()

    def abandon(self) -> None:
        """Forget the connections: they are another process's, or their loop has ended."""
        self._http.abandon()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT_S,
        is_repeatable: bool = True,
    ) -> Any:
        """Make a call and return the JSON of its answer; None when it has none."""
        response = await self._send(method, path + _query(query), body, headers, timeout, is_repeatable)
        return self._read(response)

    async def pages(self, path: str, query: Query, limit: int | None) -> AsyncIterator[list[dict[str, Any]]]:
        """Return the pages of a list, following its links, until `limit` entries have come."""
        left = limit
        where = path + _query({**query, "limit": None if limit is None else max(1, min(limit, PAGE_MAX))})
        while where and (left is None or left > 0):
            response = await self._send("GET", where, None, None, TIMEOUT_S, True)
            page = self._read(response)
            if left is not None:
                page = page[:left]
                left -= len(page)
            yield page
            where = self._next_page(response)

    async def _send(
        self,
        method: str,
        target: str,
        body: Any,
        headers: Mapping[str, str] | None,
        timeout: float,
        is_repeatable: bool,
    ) -> Response:
        content = None if body is None else codec.dumps(body)
        backoff = Backoff()
        for tries_left in reversed(range(TRIES_MAX if is_repeatable else 1)):
            pause = backoff.next()
            try:
                response = await self._http.request(
                    method, target, content, headers=headers, timeout=timeout, is_repeatable=is_repeatable
                )
            except HttpError as error:
                if not tries_left or isinstance(error, AnswerTooLargeError):
                    raise ConnectionFailedError(self.address, str(error)) from error
            else:
                if response.status not in RETRIED_STATUSES or not tries_left:
                    return _checked(response)
                pause = max(pause, _retry_after(response))
            await asyncio.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _read(self, response: Response) -> Any:
        if not response.body:
            return None
        try:
            return codec.loads(response.body)
        except ValueError as error:
            raise ConnectionFailedError(self.address, f"what answers there does not speak JSON: {error}") from error

    def _next_page(self, response: Response) -> str:
        found = _NEXT_PAGE.search(response.headers.get("link", ""))
        if found is None:
            return ""
        link = urlsplit(found[1])
        path = link.path.removeprefix(self._http.prefix)
        return f"{path}?{link.query}" if link.query else path


def _query(query: Query | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return "?" + urlencode(given, doseq=True) if given else ""


def _retry_after(response: Response) -> float:
    text = response.headers.get("retry-after", "")
    return min(float(text), RETRY_AFTER_S_MAX) if text.isdigit() else 0.0


def _checked(response: Response) -> Response:
    if 200 <= response.status < 300:
        return response
    problem = codec.loads_problem(response.body)
    kind = {404: NotFoundError, 409: ConflictError}.get(response.status, ApiError)
    raise kind(
        response.status,
        str(problem.get("code") or ""),
        str(problem.get("title") or response.reason),
        str(problem.get("detail") or ""),
        problem["errors"],
    )
