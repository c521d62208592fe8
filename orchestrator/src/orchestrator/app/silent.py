"""Readers of jobs that give no signs of life, asked for when somebody looks: see `ports.strangers`.

The broker may take its time, or be away; a run is shown all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.app.look import Look
from orchestrator.model.errors import OrchestratorError
from orchestrator.ports.strangers import Stranger, Strangers

LOOK_SECONDS: Final = 5.0
"""How long an answer is good for, also one that did not come."""
PATIENCE_SECONDS: Final = 1.0
"""How long who asks waits for it."""


class SilentReaders:
    """Asks the broker, once at a time."""

    def __init__(self, strangers: Strangers) -> None:
        self._strangers = strangers
        self._look = Look(strangers.strangers, LOOK_SECONDS, PATIENCE_SECONDS)

    async def of(self, action: str) -> list[str] | None:
        """Name the groups that may take jobs of an action, in order; None when the broker does not say."""
        found = await self.all()
        if found is None:
            return None
        topic = self._strangers.topic_of(action)
        return sorted({one.group for one in found if one.topic == topic and one.action in {"", action}})

    async def all(self) -> Sequence[Stranger] | None:
        """Find all groups; None when the broker does not say."""
        found = await self._look.get()
        return None if isinstance(found, OrchestratorError) else found

    def close(self) -> None:
        """Stop asking."""
        self._look.close()
