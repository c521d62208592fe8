"""Dead letters: list, read, redrive, discard."""

from __future__ import annotations

from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.errors import DeadLetterNotFound
from orchestrator.pages import render


class DeadLetters:
    """``/dead-letters``"""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator

    async def on_get(self, req: Request, resp: Response) -> None:
        """List dead letters that wait for a person, newest first."""
        http.check_parameters(req, ("workflow", "action", "limit", "cursor"))
        limits = self._orchestrator.limits
        after = http.parameter(req, "cursor") or None
        if after is not None:
            await self._check_cursor(after)
        letters, cursor = await self._orchestrator.dead_letters(
            http.parameter(req, "workflow") or None,
            http.parameter(req, "action") or None,
            http.integer(req, "limit", limits.list_limit_default, 1, limits.list_limit_max),
            after,
        )
        if http.wants_html(req):
            filters = render.LettersFilters(
                workflow=http.parameter(req, "workflow") or "",
                action=http.parameter(req, "action") or "",
                cursor=after or "",
            )
            page = render.dead_letters_page(letters, cursor, base_url=http.base_url(req), filters=filters)
            http.send_page(req, resp, page)
            return
        http.send_next(req, resp, cursor)
        http.send_json(resp, letters)

    async def _check_cursor(self, cursor: str) -> None:
        try:
            await self._orchestrator.dead_letter(cursor)
        except DeadLetterNotFound:
            raise http.bad_cursor() from None


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
