"""The REST API as the commands use it: bytes in, bytes out, so that a payload is printed to its last digit."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from orchestrator.cli.failure import ExitCode, Failure, NoAnswer
from orchestrator.model.errors import FieldError

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
PAGE: Final = 500
"""Entries asked for at once; more come in further pages."""

_NEXT_PAGE: Final = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')

_NEXT_COMMAND: Final = {
    "workflow-not-found": "see what there is: `orchestrator workflow list`",
    "run-not-found": "see what there is: `orchestrator run list`",
    "worker-not-drainable": "stop its process with SIGTERM: it finishes what it has",
    "worker-not-found": "see what there is: `orchestrator worker list`",
    "dead-letter-not-found": "see what there is: `orchestrator dlq list`",
    "definition-invalid": "mend the file, then `orchestrator workflow validate FILE`",
    "run-finished": "see how it ended: `orchestrator run show RUN`",
    "dead-letter-settled": "see the open ones: `orchestrator dlq list`",
    "idempotency-conflict": "use another --key, or send the same input again",
    "busy": "try again in a moment",
    "unavailable": "try again in a moment; if it lasts: `orchestrator doctor`",
}


class Answer:
    """A response that is not an error."""

    def __init__(self, status: int, headers: Mapping[str, str], raw: bytes) -> None:
        self.status = status
        self.headers = headers
        self.raw = raw

    @property
    def value(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.raw)


class Orchestrator:
    """One address. Every failed call raises a `Failure` that can be shown as it is."""

    def __init__(self, url: str, seconds: float = ANSWER_SECONDS) -> None:
        self.url = _checked(url)
        self._parts = urlsplit(self.url)
        self._seconds = seconds

    def page(self, path: str) -> str:
        """Give the full address of a page or resource."""
        return f"{self.url}{path}"

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Answer:
        """Read a resource."""
        return self.call("GET", path, query)

    def post(
        self, path: str, body: bytes = b"", query: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Answer:
        """Send a body, or none; ``key`` is an Idempotency-Key."""
        return self.call("POST", path, query, body, {} if key is None else {"Idempotency-Key": key})

    def delete(self, path: str) -> Answer:
        """Remove a resource."""
        return self.call("DELETE", path)

    def all(self, path: str) -> list[msgspec.Raw]:
        """Give the entries of a list that has one page only."""
        return msgspec.json.decode(self.get(path).raw, type=list[msgspec.Raw])

    def entries(self, path: str, query: Mapping[str, Any], most: int | None = None) -> Iterator[msgspec.Raw]:
        """Give the entries of a long list, page after page, until there are no more or ``most`` were given."""
        left = most
        where = path + _query({**query, "limit": min(PAGE, most or PAGE)})
        while where:
            answer = self.get(where)
            for entry in msgspec.json.decode(answer.raw, type=list[msgspec.Raw]):
                yield entry
                left = None if left is None else left - 1
                if left == 0:
                    return
            following = _NEXT_PAGE.search(answer.headers.get("link", ""))
            where = following[1].removeprefix(self.url) if following else ""

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make one call.

        Raises:
            NoAnswer: nobody answers there.
            Failure: the answer is an error; its exit code says which kind.
        """
        connection = self._connection()
        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        try:
            connection.connect()
            connection.sock.settimeout(self._seconds)
            connection.request(method, self._parts.path + path + _query(query or {}), body, sent)
            response = connection.getresponse()
            raw = response.read()
        except TimeoutError:
            raise NoAnswer(self.url, f"no answer within {self._seconds:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(self.url, _reason(error)) from None
        finally:
            connection.close()
        received = {name.lower(): value for name, value in response.getheaders()}
        if response.status >= 400:
            raise _problem(response.status, received, raw, self.url)
        return Answer(response.status, received, raw)

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(self._parts.hostname or "", self._parts.port, timeout=min(CONNECT_SECONDS, self._seconds))


def segment(text: str) -> str:
    """Write an id as one segment of a path."""
    return quote(text, safe="")


def _query(query: Mapping[str, Any]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "", [])}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _checked(url: str) -> str:
    """Read an address.

    Raises:
        Failure: not an address of HTTP.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        port_is_fine, parts = False, urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        mend = "pass an address such as --url http://127.0.0.1:8080"
        raise Failure(f"{url!r} is not an address of an orchestrator", mend=mend, code=ExitCode.USAGE)
    return full.rstrip("/")


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, socket.gaierror):
        return "the host's name is not known"
    if isinstance(error, http.client.HTTPException):
        return "what answers there does not speak HTTP"
    return str(error) or type(error).__name__


def _problem(status: int, headers: Mapping[str, str], raw: bytes, url: str) -> Failure:
    """Turn an error answer into words."""
    exit_code = ExitCode.NOT_FOUND if status == 404 else ExitCode.ERROR
    try:
        problem = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        why = f"it answered {status} {http.client.responses.get(status, '')} and no reason that can be read".strip()
        mend = "is it an orchestrator that answers there? `orchestrator doctor` tells"
        return Failure(f"{url} refused the call", why=why, mend=mend, code=exit_code)
    code = str(problem.get("code", ""))
    mend = _NEXT_COMMAND.get(code, "")
    if wait := headers.get("retry-after"):
        mend = f"try again in {wait} s"
    fields = [
        FieldError(str(entry.get("field", "")), str(entry.get("reason", "")), str(entry.get("mend", "")))
        for entry in problem.get("errors") or []
    ]
    what = str(problem.get("title") or f"the orchestrator answered {status}")
    return Failure(what, why=str(problem.get("detail") or ""), mend=mend, code=exit_code, fields=fields)
