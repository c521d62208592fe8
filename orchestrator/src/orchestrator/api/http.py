"""What every resource does the same way: read a body within its limit, answer JSON, a page or a problem."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlencode

import falcon
import msgspec
from falcon.asgi import Request, Response

from orchestrator.app.waits import Caller
from orchestrator.model.errors import EncodingUnsupported, FieldError, InvalidRequest, OrchestratorError, TooLarge
from orchestrator.model.limits import Limits
from orchestrator.model.problem import (
    Fault,
    MethodNotAllowed,
    ParameterInvalid,
    PathNotFound,
    Problem,
    problem_of,
)
from orchestrator.model.times import Time, parse_time
from orchestrator.model.trace import PARENT_HEADER, STATE_HEADER, Trace, read_trace
from orchestrator.pages import render
from orchestrator.pages.assets import HEADERS, etag

_log = logging.getLogger(__name__)

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
HTML: Final = "text/html; charset=utf-8"
encode: Final = msgspec.json.Encoder().encode

_ENCODING_CHARS_MAX: Final = 100
CALLER: Final = "orchestrator.caller"
"""Key of the ASGI scope under which the server keeps the connection, a `Caller`."""
GONE: Final = "orchestrator.gone"
"""Key of the ASGI scope that is there when the caller went away while its body was read."""
FAILED: Final = "orchestrator.failed"
"""Key of the ASGI scope under which is kept what a request has come to before the application has it."""


async def read_body(req: Request, limits: Limits, most: int | None = None) -> bytes:
    """Read a body of at most ``most`` bytes (``request_bytes_max`` unless given).

    Raises:
        TooLarge: it is longer; the rest is not read.
        EncodingUnsupported: it is compressed.
        InvalidRequest: the caller went away before its end: half a body must not pass for a whole one.
    """
    encoding = req.get_header("Content-Encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        reason = f"a body is not taken as {encoding.strip()[:_ENCODING_CHARS_MAX]!r}"
        raise EncodingUnsupported(reason, [FieldError("Content-Encoding", reason, "send it without any encoding")])
    most = limits.request_bytes_max if most is None else most
    length = req.content_length
    if length is not None and length > most:
        raise _too_large(most)
    chunks: list[bytes] = []
    size = 0
    async for chunk in req.stream:
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        chunks.append(chunk)
    if GONE in req.scope:
        raise InvalidRequest("the caller went away in the middle of the body")
    return b"".join(chunks)


def _too_large(most: int) -> TooLarge:
    reason = f"more than {most:,} bytes"
    return TooLarge(reason, [FieldError("body", reason, "keep the data elsewhere and send a reference to it")])


def caller(req: Request) -> Caller:
    """Give the connection of a request; one that never closes where the server does not say."""
    return req.scope.get(CALLER) or Caller()


def base_url(req: Request) -> str:
    """Give the address under which the caller sees this server."""
    return f"{req.scheme}://{req.netloc}"


def wants_html(req: Request) -> bool:
    """Whether a browser asks."""
    return "text/html" in req.accept


def send_json(resp: Response, value: Any, status: int = 200) -> None:
    """Answer a view, or a list of views."""
    resp.status = status
    resp.content_type = JSON
    resp.set_header("Vary", "Accept")
    resp.data = encode(value)


def send_page(req: Request, resp: Response, html: str, status: int = 200) -> None:
    """Answer a page; 304 when the browser has it."""
    tag = etag(html)
    for name, value in HEADERS.items():
        resp.set_header(name, value)
    resp.set_header("ETag", tag)
    # A proxy that compresses makes the tag a weak one.
    if status == 200 and (req.get_header("If-None-Match") or "").removeprefix("W/") == tag:
        resp.status = 304
        return
    resp.status = status
    resp.content_type = HTML
    resp.data = html.encode()


def send_next(req: Request, resp: Response, cursor: str | None) -> None:
    """Say where the next page of a list is."""
    if cursor is not None:
        parameters = {**req.params, "cursor": cursor}
        resp.set_header("Link", f'<{req.path}?{urlencode(parameters, doseq=True)}>; rel="next"')


def check_parameters(req: Request, known: Iterable[str]) -> None:
    """Refuse query parameters that mean nothing here: a typing error in a filter would show everything."""
    known = tuple(known)
    for name in req.params:
        if name not in known:
            mend = f"leave it out; known are: {', '.join(known)}" if known else "leave it out"
            raise ParameterInvalid.of(name, "the parameter is not known", mend)


def parameter(req: Request, name: str) -> str | None:
    """Give a query parameter that may come once."""
    values = req.get_param_as_list(name)
    if not values:
        return None
    if len(values) > 1:
        raise ParameterInvalid.of(name, "it comes more than once", "send it once")
    return values[0]


def header(req: Request, name: str) -> str | None:
    """Give a header that may come once: of two, it is not for us to choose one."""
    value = req.get_header(name)
    if value is not None:
        raw = name.lower().encode("ascii")
        if sum(key == raw for key, _ in req.scope["headers"]) > 1:
            raise ParameterInvalid.of(name, "it comes more than once", "send it once")
    return value


def trace(req: Request, limits: Limits) -> Trace | None:
    """Give the trace context that a request belongs to; None without one, or with one that nobody can read.

    A header that comes more than once is joined by commas: so the standard has it for the state, and so two parents
    are none.
    """
    parent = req.get_header(PARENT_HEADER)
    if parent is None:
        return None
    return read_trace(parent, req.get_header(STATE_HEADER), limits.tracestate_chars_max)


def integer(req: Request, name: str, default: int, least: int, most: int) -> int:
    """Give a query parameter that is a whole number."""
    text = parameter(req, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ParameterInvalid.of(name, "it is not a whole number in range", f"send one from {least} to {most}")
    return int(text)


def time(req: Request, name: str) -> Time | None:
    """Read a moment of a query; None when there is none."""
    text = parameter(req, name)
    if not text:
        return None
    try:
        # A plus sign that was not escaped arrives as a space.
        return parse_time(text.replace(" ", "+"))
    except (ValueError, OverflowError):
        mend = "send ISO 8601, such as 2026-11-23T10:00:00Z"
        raise ParameterInvalid.of(name, "it is not a time since 1970", mend) from None


def bad_cursor() -> ParameterInvalid:
    """Make the error of a cursor that no page of the list gave."""
    mend = "take it from the Link header of the page before, or leave it out"
    return ParameterInvalid.of("cursor", "it is not one of this list", mend)


async def on_problem(req: Request, resp: Response, error: OrchestratorError, params: dict[str, Any], **_: Any) -> None:
    """Answer an error of ours."""
    send_problem(req, resp, problem_of(error))
    if isinstance(error, EncodingUnsupported):
        resp.set_header("Accept-Encoding", "identity")
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(max(1, round(error.retry_after))))


async def on_http_error(
    req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any], **_: Any
) -> None:
    """Answer what the router or the parser refuse."""
    ours: OrchestratorError
    if isinstance(error, falcon.HTTPNotFound):
        ours = PathNotFound(f"{req.path} is no path of the API")
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        ours = MethodNotAllowed(f"{req.method} is not for {req.path}")
    else:
        ours = InvalidRequest(": ".join(part for part in (error.title, error.description) if part))
    if error.headers:
        resp.set_headers(error.headers)
    send_problem(req, resp, problem_of(ours))


async def on_fault(req: Request, resp: Response, error: Exception, params: dict[str, Any], **_: Any) -> None:
    """Answer a bug of ours, without telling the world about our insides."""
    _log.error("%s %s failed", req.method, req.path, exc_info=error)
    send_problem(req, resp, problem_of(Fault("its log says more; the request may be repeated")))


def send_problem(req: Request, resp: Response, problem: Problem) -> None:
    """Answer RFC 9457, or a page to a browser."""
    if wants_html(req):
        html = render.error_page(problem.status, problem.title, problem.detail, problem.errors, base_url=base_url(req))
        send_page(req, resp, html, problem.status)
        return
    resp.status = problem.status
    resp.content_type = PROBLEM
    resp.data = encode(problem)
