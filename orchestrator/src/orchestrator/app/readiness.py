"""How the parts are that a process stands on, looked at when somebody asks, and not more often than worth it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

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
        self._probes = probes
        self._looking: dict[str, asyncio.Task[str]] = {}
        self._found: dict[str, tuple[float, str]] = {}

    async def fault(self, part: str) -> str:
        """Say what is wrong with a part; empty when nothing is.

        A part that is silent is asked once at a time, however many callers there are.
        """
        now = asyncio.get_running_loop().time()
        found = self._found.get(part)
        if found is not None and now - found[0] < LOOK_SECONDS:
            return found[1]
        looking = self._looking.get(part)
        if looking is None or looking.done():
            looking = self._looking[part] = asyncio.create_task(self._look(part))
        done, _ = await asyncio.wait([looking], timeout=PATIENCE_SECONDS)
        fault = looking.result() if done else f"it has not answered within {PATIENCE_SECONDS:g} s"
        self._found[part] = (asyncio.get_running_loop().time(), fault)
        return fault

    async def _look(self, part: str) -> str:
        try:
            await self._probes[part]()
        except OrchestratorError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Stop looking."""
        for looking in self._looking.values():
            looking.cancel()
