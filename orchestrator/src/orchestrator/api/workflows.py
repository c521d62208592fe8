"""Definitions and triggers."""

from __future__ import annotations

import contextlib
from typing import Final

from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.app.command import Triggered
from orchestrator.app.gateway import wait_duration
from orchestrator.app.orchestrator import Orchestrator, check_key
from orchestrator.app.waits import Caller
from orchestrator.model.errors import Busy, WorkflowNotFound
from orchestrator.model.times import Duration
from orchestrator.model.trace import Trace
from orchestrator.model.view import Started
from orchestrator.pages import render

_WAITS_REMEMBERED: Final = 64
_WAIT_CHARS_MAX: Final = 32


class Workflows:
    """``/workflow/``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """List the latest versions."""
        http.check_parameters(req, ())
        workflows = await self._orchestrator.workflows()
        if http.wants_html(req):
            http.send_page(req, resp, render.workflows_page(workflows, base_url=http.base_url(req)))
        else:
            http.send_json(resp, workflows)

    async def on_post(self, req: Request, resp: Response) -> None:
        """Define a workflow, or a new version of it."""
        http.check_parameters(req, ())
        limits = self._orchestrator.limits
        raw = await http.read_body(req, limits, limits.definition_bytes_max)
        workflow, created = await self._orchestrator.define(raw)
        resp.set_header("Location", f"/workflow/{workflow.id}/versions/{workflow.version}")
        http.send_json(resp, workflow, 201 if created else 200)


class Workflow:
    """``/workflow/{workflow_id}``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, workflow_id: str) -> None:
        """Read the latest version."""
        http.check_parameters(req, ())
        if http.wants_html(req):
            versions = await self._orchestrator.versions(workflow_id)
            http.send_page(req, resp, render.workflow_page(versions, base_url=http.base_url(req)))
        else:
            http.send_json(resp, await self._orchestrator.workflow(workflow_id))


class Versions:
    """``/workflow/{workflow_id}/versions``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, workflow_id: str) -> None:
        """List all versions, newest first."""
        http.check_parameters(req, ())
        http.send_json(resp, await self._orchestrator.versions(workflow_id))


class Version:
    """``/workflow/{workflow_id}/versions/{number}``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, workflow_id: str, number: str) -> None:
        """Read one version."""
        http.check_parameters(req, ())
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise WorkflowNotFound(f"{number!r} is not the number of a version")
        http.send_json(resp, await self._orchestrator.workflow(workflow_id, int(number)))


class Trigger:
    """``/workflow/{workflow_id}/trigger``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self.waits: dict[bytes, Duration] = {b"": Duration(0)}
        """What queries that were right before ask for: callers send the same one each time."""

    async def begin(
        self, workflow_id: str, raw: bytes, key: str | None, trace: Trace | None, wait: Duration, caller: Caller
    ) -> Triggered:
        """Start a run, and wait so long for its end."""
        triggered = await self._orchestrator.trigger(workflow_id, raw, key, trace)
        if wait:
            # The run has begun: where too many wait already, its id now is worth more than an error.
            with contextlib.suppress(Busy):
                await self._orchestrator.wait(triggered.run_id, wait, caller, has_begun_now=triggered.created)
        return triggered

    async def on_post(self, req: Request, resp: Response, workflow_id: str) -> None:
        """Start a run; the answer is its id, as text unless JSON is asked for."""
        if http.FAILED in req.scope:
            raise req.scope.pop(http.FAILED)
        orchestrator = self._orchestrator
        wait = Duration(0)
        if req.query_string:
            http.check_parameters(req, ("wait",))
            wait = wait_duration(http.parameter(req, "wait") or 0, orchestrator.limits, "wait")
            if len(self.waits) < _WAITS_REMEMBERED and len(req.query_string) <= _WAIT_CHARS_MAX:
                self.waits[req.query_string.encode()] = wait
        key = check_key(http.header(req, "Idempotency-Key"), orchestrator.limits)
        trace = http.trace(req, orchestrator.limits)
        raw = await http.read_body(req, orchestrator.limits)
        as_json = http.JSON in req.accept
        triggered = await self.begin(workflow_id, raw, key, trace, wait, http.caller(req))
        resp.set_header("Location", f"/workflow/run/{triggered.run_id}")
        status = 201 if triggered.created else 200
        if as_json:
            shown = await orchestrator.run(triggered.run_id) if wait else Started(run_id=triggered.run_id)
            http.send_json(resp, shown, status)
        else:
            resp.status = status
            resp.content_type = "text/plain; charset=utf-8"
            resp.set_header("Vary", "Accept")
            resp.data = triggered.run_id.encode()
