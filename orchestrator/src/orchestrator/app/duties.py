"""Rounds of duties, and who has them where no other process could."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from orchestrator.model.errors import OrchestratorError, Unavailable
from orchestrator.model.role import Duty
from orchestrator.ports.duties import Duties

ROUND_SECONDS: Final = 60.0
"""How long one round of a duty may take before another process may try."""


class EveryDuty:
    """See `ports.duties.Duties`: the only process has them all."""

    def has(self, duty: Duty) -> bool:
        """See `ports.duties.Duties.has`."""
        return True

    def give_up(self, duty: Duty) -> None:
        """See `ports.duties.Duties.give_up`: there is nobody to take it."""


class NoDuty:
    """See `ports.duties.Duties`: a process without the role has none."""

    def has(self, duty: Duty) -> bool:
        """See `ports.duties.Duties.has`."""
        return False

    def give_up(self, duty: Duty) -> None:
        """See `ports.duties.Duties.give_up`: there is nothing to give."""


async def perform(duties: Duties, duty: Duty, work: Callable[[], Awaitable[None]]) -> bool:
    """Do a round of a duty if this process has it; say whether it has.

    Raises:
        OrchestratorError: the round failed, or took too long. The duty is given up: what hinders this process, such as
            a broken connection, need not hinder another.
    """
    if not duties.has(duty):
        return False
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            await work()
    except TimeoutError:
        duties.give_up(duty)
        raise Unavailable(f"a round of the duty {duty} took more than {ROUND_SECONDS:.0f} s") from None
    except OrchestratorError:
        duties.give_up(duty)
        raise
    return True
