"""The worker protocol, and the list of workers."""

from __future__ import annotations

import uuid

import msgspec
from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.app.reports import read_heartbeat
from orchestrator.model import json
from orchestrator.model.wire import RegisterBody
from orchestrator.pages import render

_REGISTER = msgspec.json.Decoder(RegisterBody)


class Workers:
    """``/workers``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """List workers."""
        http.check_parameters(req, ())
        workers = await self._orchestrator.workers()
        if http.wants_html(req):
            unserved = await self._orchestrator.unserved()
            http.send_page(req, resp, render.workers_page(workers, unserved, base_url=http.base_url(req)))
        else:
            http.send_json(resp, workers)

    async def on_post(self, req: Request, resp: Response) -> None:
        """Register a worker."""
        http.check_parameters(req, ())
        raw = await http.read_body(req, self._orchestrator.limits)
        body = json.decode(raw, _REGISTER, self._orchestrator.limits)
        http.send_json(resp, self._orchestrator.gateway.register(body, f"w-{uuid.uuid4()}", http.caller(req)))


class Worker:
    """``/workers/{worker_id}``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, worker_id: str) -> None:
        """Read one worker."""
        http.check_parameters(req, ())
        http.send_json(resp, await self._orchestrator.worker(worker_id))

    async def on_delete(self, req: Request, resp: Response, worker_id: str) -> None:
        """The worker leaves."""
        http.check_parameters(req, ())
        await self._orchestrator.gateway.leave(worker_id)
        resp.status = 204


class Exchange:
    """``/workers/{worker_id}/exchange``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response, worker_id: str) -> None:
        """Results out, jobs in."""
        raw = await http.read_body(req, self._orchestrator.limits)
        http.send_json(resp, await self._orchestrator.gateway.exchange(worker_id, raw, http.caller(req)))


class Heartbeat:
    """``/workers/{worker_id}/heartbeat``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response, worker_id: str) -> None:
        """Renew leases."""
        raw = await http.read_body(req, self._orchestrator.limits)
        http.send_json(resp, await self._orchestrator.heartbeat(worker_id, read_heartbeat(raw), http.caller(req)))


class Drain:
    """``/workers/{worker_id}/drain``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response, worker_id: str) -> None:
        """Ask a worker to finish and go."""
        http.check_parameters(req, ())
        http.send_json(resp, await self._orchestrator.drain(worker_id))
