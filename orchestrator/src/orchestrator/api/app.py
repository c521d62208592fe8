"""The ASGI application: routes, error answers, and who may call."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from orchestrator.api import asyncapi, http, openapi
from orchestrator.api.dead_letters import DeadLetter, DeadLetters, DiscardMany, Groups, Redrive, RedriveMany
from orchestrator.api.health import Live, Ready
from orchestrator.api.metrics import Metrics
from orchestrator.api.runs import Cancel, Events, Run, Runs
from orchestrator.api.served import Served
from orchestrator.api.workers import Drain, Exchange, Heartbeat, Worker, Workers
from orchestrator.api.workflows import Trigger, Version, Versions, Workflow, Workflows
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.errors import InvalidRequest, OrchestratorError
from orchestrator.model.problem import HostRefused, RoleMissing, error_kinds, problem_of
from orchestrator.model.role import Role
from orchestrator.model.topics import TOPICS, Topics
from orchestrator.pages import render
from orchestrator.pages.assets import ASSET_HEADERS, asset

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_VERSIONS: Final = frozenset({"1.1", "1.0"})
_HOSTS_REMEMBERED: Final = 64
_ALWAYS: Final = frozenset({"/health/live", "/health/ready", "/metrics", "/errors/{code}", "/assets/{name}"})
"""What a process answers whatever its roles are."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def make_app(orchestrator: Orchestrator, hosts: Collection[str] | None, topics: Topics = TOPICS) -> Asgi:
    """Build the application.

    Args:
        orchestrator: the use-cases.
        hosts: names under which this server may be called; None takes any. A server on a loopback address takes only
            its own names, so that no web page elsewhere can reach it by a name that was bent to it (DNS rebinding).
        topics: what the topics are called here.
    """
    served = Served()
    middleware: list[Any] = [_Answers(orchestrator, served), _Guard(hosts)]
    app = falcon.asgi.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    app.add_error_handler(Exception, http.on_fault)
    app.add_error_handler(falcon.HTTPError, http.on_http_error)
    app.add_error_handler(OrchestratorError, http.on_problem)
    routes: dict[str, Any] = {
        "/": _Home(),
        "/workflow": Workflows(orchestrator),
        "/workflow/runs": Runs(orchestrator),
        "/workflow/run/{run_id}": Run(orchestrator),
        "/workflow/run/{run_id}/events": Events(orchestrator),
        "/workflow/run/{run_id}/cancel": Cancel(orchestrator),
        "/workflow/{workflow_id}": Workflow(orchestrator),
        "/workflow/{workflow_id}/versions": Versions(orchestrator),
        "/workflow/{workflow_id}/versions/{number}": Version(orchestrator),
        "/workflow/{workflow_id}/trigger": Trigger(orchestrator),
        "/workers": Workers(orchestrator),
        "/workers/{worker_id}": Worker(orchestrator),
        "/workers/{worker_id}/exchange": Exchange(orchestrator),
        "/workers/{worker_id}/heartbeat": Heartbeat(orchestrator),
        "/workers/{worker_id}/drain": Drain(orchestrator),
        "/dead-letters": DeadLetters(orchestrator),
        "/dead-letters/groups": Groups(orchestrator),
        "/dead-letters/redrive": RedriveMany(orchestrator),
        "/dead-letters/discard": DiscardMany(orchestrator),
        "/dead-letters/{letter_id}": DeadLetter(orchestrator),
        "/dead-letters/{letter_id}/redrive": Redrive(orchestrator),
        "/health/live": Live(orchestrator),
        "/health/ready": Ready(orchestrator),
        "/metrics": Metrics(orchestrator, served),
        "/errors/{code}": _Errors(),
        "/openapi.json": _Document(openapi.document),
        "/asyncapi": _Document(partial(asyncapi.document, topics)),
        "/assets/{name}": _Assets(),
    }
    serves_all = Role.API in orchestrator.life.roles
    for path, resource in routes.items():
        if hasattr(resource, "on_get"):
            resource.on_head = resource.on_get  # the server leaves the body out
        if serves_all or path in _ALWAYS:
            app.add_route(path, resource)
    if not serves_all:
        app.add_sink(_Refusal(orchestrator.life.roles), "/")
    return _edge(app)


class _Refusal:
    """Answers for what a process without the role ``api`` does not serve."""

    def __init__(self, roles: frozenset[Role]) -> None:
        self._has = " and ".join(role for role in Role if role in roles)

    async def __call__(self, req: Request, resp: Response | None, **_: Any) -> None:
        raise RoleMissing(f"its roles are {self._has} only; send the request to a process with the role api")


def _edge(app: falcon.asgi.App[Any, Any]) -> Asgi:
    """Do what Falcon does not: note a disconnect in the middle of a body, which it takes for the body's end, and
    refuse versions of HTTP on which it raises."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("http_version", "1.1") not in _VERSIONS:
            await _refuse_version(scope, send)
            return

        async def noted() -> dict[str, Any]:
            message = await receive()
            if message["type"] == "http.disconnect":
                scope[http.GONE] = True
            return message

        await app(scope, noted, send)

    return asgi


async def _refuse_version(scope: Scope, send: Send) -> None:
    problem = problem_of(InvalidRequest(f"HTTP/{scope['http_version']} is not spoken here; send HTTP/1.1"))
    body = http.encode(problem)
    headers = [
        (b"content-type", http.PROBLEM.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class _Guard:
    """Refuses requests that a web page elsewhere could have caused."""

    def __init__(self, hosts: Collection[str] | None) -> None:
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._passed: set[str] = set()
        """Host headers that were right before: a worker sends the same one a thousand times a second."""

    async def process_request(self, req: Request, resp: Response) -> None:
        """Check Host and, for a change, Origin."""
        header = req.get_header("Host", default="")
        if header not in self._passed:
            self._check_host(_host(req))
            if len(self._passed) < _HOSTS_REMEMBERED:
                self._passed.add(header)
        origin = req.get_header("Origin")
        if origin is not None and req.method not in _SAFE_METHODS and _address(origin) != req.netloc.lower():
            raise HostRefused(f"a page of {origin} may not change anything here")

    def _check_host(self, host: str) -> None:
        if self._hosts is not None and host not in self._hosts and not _is_loopback(host):
            known = ", ".join(sorted(self._hosts))
            raise HostRefused(f"this server is not {host!r} but {known}; set ORCHESTRATOR_HOSTS to add a name")


class _Answers:
    """Counts answers, and closes connections when the process goes: one that is kept would break."""

    def __init__(self, orchestrator: Orchestrator, served: Served) -> None:
        self._life = orchestrator.life
        self._served = served

    async def process_request(self, req: Request, resp: Response) -> None:
        """Note when the request came."""
        self._served.begin(req)

    async def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:  # noqa: FBT001 - Falcon's
        """Count the answer; close the connection with it."""
        self._served.end(req, resp, found=resource is not None)
        if self._life.is_leaving:
            resp.set_header("Connection", "close")


def _host(req: Request) -> str:
    """Give the name by which the server is called; empty where the header cannot be read."""
    try:
        return req.host.lower()
    except ValueError:
        return ""


def _address(origin: str) -> str | None:
    """Give host and port of an origin; None where it cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Home:
    async def on_get(self, req: Request, resp: Response) -> None:
        raise falcon.HTTPFound("/workflow/runs")


class _Errors:
    """What the ``type`` of a problem points to."""

    async def on_get(self, req: Request, resp: Response, code: str) -> None:
        http.check_parameters(req, ())
        kind = error_kinds().get(code)
        if kind is None:
            raise falcon.HTTPNotFound
        if http.wants_html(req):
            page = render.error_page(kind.status, kind.title, kind.meaning, base_url=http.base_url(req))
            http.send_page(req, resp, page)
        else:
            http.send_json(resp, kind)


class _Document:
    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    async def on_get(self, req: Request, resp: Response) -> None:
        http.send_json(resp, self._make())


class _Assets:
    async def on_get(self, req: Request, resp: Response, name: str) -> None:
        found = asset(name)
        if found is None:
            raise falcon.HTTPNotFound
        resp.data, resp.content_type = found
        for header, value in ASSET_HEADERS.items():
            resp.set_header(header, value)
