"""Dead letters: list, group, read, redrive, discard, one by one or many at once."""

from __future__ import annotations

from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.dead_letter import DeadLetterState, error_type_of
from orchestrator.model.errors import DeadLetterNotFound, FieldError
from orchestrator.model.problem import FilterMissing, ParameterInvalid
from orchestrator.pages import render
from orchestrator.ports.queries import LetterFilter

_FILTERS = ("workflow", "action", "error", "from", "to")


class DeadLetters:
    """``/dead-letters``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """List dead letters that wait for a person, newest first."""
        http.check_parameters(req, (*_FILTERS, "state", "limit", "cursor"))
        limits = self._orchestrator.limits
        after = await _cursor(req, self._orchestrator)
        limit = http.integer(req, "limit", limits.list_limit_default, 1, limits.list_limit_max)
        letters, cursor = await self._orchestrator.dead_letters(_which(req), limit, after)
        if http.wants_html(req):
            filters = render.LettersFilters(
                workflow=http.parameter(req, "workflow") or "",
                action=http.parameter(req, "action") or "",
                error=http.parameter(req, "error") or "",
                created_from=http.parameter(req, "from") or "",
                created_to=http.parameter(req, "to") or "",
                state=http.parameter(req, "state") or "",
                limit=limit if http.parameter(req, "limit") else None,
                cursor=after or "",
            )
            page = render.dead_letters_page(letters, cursor, base_url=http.base_url(req), filters=filters)
            http.send_page(req, resp, page)
            return
        http.send_next(req, resp, cursor)
        http.send_json(resp, letters)


class Groups:
    """``/dead-letters/groups``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """Count them by workflow, action and type of error."""
        http.check_parameters(req, (*_FILTERS, "state", "limit"))
        limits = self._orchestrator.limits
        limit = http.integer(req, "limit", limits.list_limit_default, 1, limits.list_limit_max)
        http.send_json(resp, await self._orchestrator.dead_letter_groups(_which(req), limit))


class RedriveMany:
    """``/dead-letters/redrive``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response) -> None:
        """Run the steps of many again, each in its own run."""
        which, limit, after = await _many(req, self._orchestrator)
        http.send_json(resp, await self._orchestrator.redrive_many(which, limit, after))


class DiscardMany:
    """``/dead-letters/discard``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response) -> None:
        """Discard many: their runs stay failed."""
        which, limit, after = await _many(req, self._orchestrator)
        http.send_json(resp, await self._orchestrator.discard_many(which, limit, after))


async def _many(req: Request, orchestrator: Orchestrator) -> tuple[LetterFilter, int, str | None]:
    """Read what is asked for; who means all of them has to say so."""
    http.check_parameters(req, (*_FILTERS, "all", "limit", "cursor"))
    which = _which(req)
    meant = http.parameter(req, "all") or "false"
    if meant not in ("true", "false"):
        raise ParameterInvalid.of("all", f"{meant!r} is not known", "send true or false")
    if which == LetterFilter() and meant != "true":
        mend = "send one, or all=true to settle every open dead letter"
        raise FilterMissing("all: no filter is given", [FieldError("all", "no filter is given", mend)])
    most = orchestrator.limits.letters_per_call_max
    return which, http.integer(req, "limit", most, 1, most), await _cursor(req, orchestrator)


def _which(req: Request) -> LetterFilter:
    state = http.parameter(req, "state") or DeadLetterState.OPEN
    if state not in set(DeadLetterState):
        known = ", ".join(DeadLetterState)
        raise ParameterInvalid.of("state", f"{state!r} is not a state of a dead letter", f"send one of {known}")
    error = http.parameter(req, "error") or None
    return LetterFilter(
        state=DeadLetterState(state),
        workflow_id=http.parameter(req, "workflow") or None,
        action=http.parameter(req, "action") or None,
        error_type=None if error is None else error_type_of(error),
        created_from=http.time(req, "from"),
        created_to=http.time(req, "to"),
    )


async def _cursor(req: Request, orchestrator: Orchestrator) -> str | None:
    cursor = http.parameter(req, "cursor") or None
    if cursor is not None:
        try:
            await orchestrator.dead_letter(cursor)
        except DeadLetterNotFound:
            raise http.bad_cursor() from None
    return cursor


class DeadLetter:
    """``/dead-letters/{letter_id}``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response, letter_id: str) -> None:
        """Read one."""
        http.check_parameters(req, ())
        letter = await self._orchestrator.dead_letter(letter_id)
        if http.wants_html(req):
            http.send_page(req, resp, render.dead_letter_page(letter, base_url=http.base_url(req)))
        else:
            http.send_json(resp, letter)

    async def on_delete(self, req: Request, resp: Response, letter_id: str) -> None:
        """Discard it: its run stays failed."""
        http.check_parameters(req, ())
        await self._orchestrator.discard(letter_id)
        resp.status = 204


class Redrive:
    """``/dead-letters/{letter_id}/redrive``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_post(self, req: Request, resp: Response, letter_id: str) -> None:
        """Run its step again, in the same run."""
        http.check_parameters(req, ())
        http.send_json(resp, await self._orchestrator.redrive(letter_id))
