"""How the parts are that a process stands on, looked at when somebody asks, and not more often than worth it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from orchestrator.app.look import Look
from orchestrator.model.errors import OrchestratorError

LOOK_SECONDS: Final = 1.0
"""How long an answer is good for: any number of probes cost a part one question in this time."""
PATIENCE_SECONDS: Final = 2.0
"""How long a part may take to answer."""

Probe = Callable[[], Awaitable[object]]
"""Asks a part for anything; raises `model.errors.OrchestratorError` when that does not work."""


class Readiness:
    """What is wrong with each part."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._looks = {part: Look(probe, LOOK_SECONDS, PATIENCE_SECONDS) for part, probe in probes.items()}

    async def fault(self, part: str) -> str:
        """Say what is wrong with a part; empty when nothing is.

        A part that is silent is asked once at a time, however many callers there are.
        """
        found = await self._looks[part].get()
        return str(found) if isinstance(found, OrchestratorError) else ""

    def close(self) -> None:
        """Stop looking."""
        for look in self._looks.values():
            look.close()
