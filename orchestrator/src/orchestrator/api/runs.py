"""Runs: list, read, wait, history, cancel."""

from __future__ import annotations

import base64
import binascii

from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.api.operations import SEQ_MAX
from orchestrator.app.gateway import wait_duration
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.problem import ParameterInvalid
from orchestrator.model.run import RunId
from orchestrator.model.status import RunStatus
from orchestrator.model.times import iso
from orchestrator.model.view import RunSummary
from orchestrator.pages import render
from orchestrator.ports.queries import RunFilter

_LIST_PARAMETERS = ("status", "workflow", "from", "to", "limit", "cursor", "view")


class Runs:
    """``/workflow/runs``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """List runs, newest first."""
        http.check_parameters(req, _LIST_PARAMETERS)
        limits = self._orchestrator.limits
        html = http.wants_html(req)
        which = _which(req)
        limit = http.integer(req, "limit", limits.list_limit_default, 1, limits.list_limit_max)
        after = _read_cursor(http.parameter(req, "cursor") or None)
        view = http.parameter(req, "view")
        if view not in (None, "full", "summary"):
            raise ParameterInvalid.of("view", f"{view!r} is not known", "send full or summary")
        if html or view == "summary":
            runs, place = await self._orchestrator.summaries(which, limit, after)
            if html:
                page = await self._page(req, which, runs, _cursor(place), limit)
                http.send_page(req, resp, page)
                return
            http.send_next(req, resp, _cursor(place))
            http.send_json(resp, runs)
            return
        full, place = await self._orchestrator.runs(which, limit, after)
        http.send_next(req, resp, _cursor(place))
        http.send_json(resp, full)

    async def _page(
        self, req: Request, which: RunFilter, runs: list[RunSummary], cursor: str | None, limit: int
    ) -> str:
        filters = render.RunsFilters(
            statuses=which.statuses,
            workflow=which.workflow_id or "",
            started_from=http.parameter(req, "from") or "",
            started_to=http.parameter(req, "to") or "",
            limit=limit if http.parameter(req, "limit") else None,
            cursor=http.parameter(req, "cursor") or "",
        )
        ids = [workflow.id for workflow in await self._orchestrator.workflows()]
        return render.runs_page(
            runs, filters=filters, next_cursor=cursor, base_url=http.base_url(req), workflow_ids=ids
        )


class Run:
    """``/workflow/run/{run_id}``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, run_id: str) -> None:
        """Read a run; with ``wait``, once it has ended or the time is over."""
        orchestrator = self._orchestrator
        if http.wants_html(req):
            http.check_parameters(req, ("steps",))
            run = await orchestrator.run(RunId(run_id))
            workflow = await orchestrator.workflow(run.workflow_id, run.workflow_version)
            show_all = http.parameter(req, "steps") == "all"
            now = iso(orchestrator.clock.now())
            page = render.run_page(run, workflow, base_url=http.base_url(req), now=now, all_steps=show_all)
            http.send_page(req, resp, page)
            return
        http.check_parameters(req, ("wait",))
        wait = wait_duration(http.parameter(req, "wait") or 0, orchestrator.limits, "wait")
        http.send_json(resp, await orchestrator.run(RunId(run_id), wait, http.caller(req)))


class Events:
    """``/workflow/run/{run_id}/events``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, run_id: str) -> None:
        """Read the history."""
        http.check_parameters(req, ("after",))
        after = http.integer(req, "after", 0, 0, SEQ_MAX)
        http.send_json(resp, await self._orchestrator.events(RunId(run_id), after))


class Cancel:
    """``/workflow/run/{run_id}/cancel``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response, run_id: str) -> None:
        """End a run."""
        http.check_parameters(req, ())
        raw = await http.read_body(req, self._orchestrator.limits)
        http.send_json(resp, await self._orchestrator.cancel(RunId(run_id), raw))


def _which(req: Request) -> RunFilter:
    names = [name for value in req.get_param_as_list("status") or () for name in value.split(",") if name]
    known = {status.value for status in RunStatus}
    for name in names:
        if name not in known:
            raise ParameterInvalid.of("status", f"{name!r} is no status of a run", f"send {', '.join(sorted(known))}")
    return RunFilter(
        statuses=tuple(RunStatus(name) for name in dict.fromkeys(names)),
        workflow_id=http.parameter(req, "workflow") or None,
        started_from=http.time(req, "from"),
        started_to=http.time(req, "to"),
    )


def _cursor(place: tuple[int, int] | None) -> str | None:
    if place is None:
        return None
    return base64.urlsafe_b64encode(f"{place[0]}.{place[1]}".encode()).decode().rstrip("=")


def _read_cursor(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        started_at, seq = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii").split(".")
        if not (started_at.isdigit() and seq.isdigit() and len(started_at) < 19 and len(seq) < 19):
            raise ValueError(text)
        return int(started_at), int(seq)
    except (ValueError, binascii.Error):
        raise http.bad_cursor() from None
