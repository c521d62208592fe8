"""The ASGI application: routes, error answers, and who may call."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from orchestrator.api import asyncapi, http, openapi
from orchestrator.api.asgi import VERSIONS, Asgi, Receive, Scope, Send
from orchestrator.api.dead_letters import DeadLetter, DeadLetters, DiscardMany, Groups, Redrive, RedriveMany
from orchestrator.api.guard import Guard
from orchestrator.api.health import Live, Ready
from orchestrator.api.metrics import Metrics
from orchestrator.api.plain import TRIGGER, PlainTriggers
from orchestrator.api.runs import Cancel, Events, Run, Runs
from orchestrator.api.served import Served
from orchestrator.api.workers import Drain, Exchange, Heartbeat, Worker, Workers
from orchestrator.api.workflows import Trigger, Version, Versions, Workflow, Workflows
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.errors import InvalidRequest, OrchestratorError
from orchestrator.model.problem import RoleMissing, error_kinds, problem_of
from orchestrator.model.role import Role
from orchestrator.model.topics import TOPICS, Topics
from orchestrator.pages import render
from orchestrator.pages.assets import ASSET_HEADERS, asset

_ALWAYS: Final = frozenset({"/health/live", "/health/ready", "/metrics", "/errors/{code}", "/assets/{name}"})
"""What a process answers whatever its roles are."""


def make_app(orchestrator: Orchestrator, hosts: Collection[str] | None, topics: Topics = TOPICS) -> Asgi:
    """Build the application.

    Args:
        orchestrator: the use-cases.
        hosts: names under which this server may be called; None takes any. A server on a loopback address takes only
            its own names, so that no web page elsewhere can reach it by a name that was bent to it (DNS rebinding).
        topics: what the topics are called here.
    """
    served = Served()
    guard = Guard(hosts)
    middleware: list[Any] = [_Answers(orchestrator, served), guard]
    app = falcon.asgi.App(middleware=middleware)
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    app.add_error_handler(Exception, http.on_fault)
    app.add_error_handler(falcon.HTTPError, http.on_http_error)
    app.add_error_handler(OrchestratorError, http.on_problem)
    trigger = Trigger(orchestrator)
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
        TRIGGER: trigger,
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
    edge = _edge(app)
    return PlainTriggers(trigger, orchestrator, guard, served, edge) if serves_all else edge


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
        if scope.get("http_version", "1.1") not in VERSIONS:
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


class _Answers:
    """Counts answers, and closes connections when the process goes: one that is kept would break."""

    def __init__(self, orchestrator: Orchestrator, served: Served) -> None:
        self._life = orchestrator.life
        self._served = served

    async def process_request(self, req: Request, resp: Response) -> None:
        """Note when the request came."""
        self._served.begin(req.scope, http.caller(req))

    async def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:  # noqa: FBT001 - Falcon's
        """Count the answer; close the connection with it."""
        method = "any" if resource is None else req.method
        self._served.end(req.scope, method, req.uri_template or "none", resp.status_code)
        if self._life.is_leaving:
            resp.set_header("Connection", "close")


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
