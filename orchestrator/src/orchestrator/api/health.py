"""Whether the process lives, and whether it takes work."""

from __future__ import annotations

from falcon.asgi import Request, Response
from msgspec import UNSET, UnsetType

from orchestrator.api import http
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.times import iso
from orchestrator.model.view import Component, Health


class Live:
    """``/health/live``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer as long as the process can."""
        http.send_json(resp, Health(status="live", time=iso(self._orchestrator.clock.now())))


class Ready:
    """``/health/ready``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer 503 with the reason when no work can be taken."""
        await self._orchestrator.life.check_ready()
        time = iso(self._orchestrator.clock.now())
        http.send_json(resp, Health(status="ready", time=time, components=await components_of(self._orchestrator)))


async def components_of(orchestrator: Orchestrator) -> dict[str, Component] | UnsetType:
    """Say how the parts are that the process can do without; nothing where it was given none.

    Without Kafka, requests are taken, and their jobs go out when it is back: a balancer has nothing to gain by leaving
    out a process that all others are like.
    """
    components: dict[str, Component] = {}
    life = orchestrator.life
    if life.outgoing is not None:
        fault = await life.readiness.fault("kafka")
        components["kafka"] = Component(status="down" if fault else "up", reason=fault or None)
    if life.hints is not None:
        components["redis"] = Component(status=life.hints.report.condition, reason=life.hints.report.reason or None)
    return components or UNSET
