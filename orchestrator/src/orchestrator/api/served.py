"""What a process has answered over HTTP, counted: about a microsecond a request."""

from __future__ import annotations

from time import perf_counter
from typing import Any, Final

from orchestrator.app.tally import Distribution
from orchestrator.app.waits import Caller

SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the buckets of the time that an answer takes."""


_BEGAN: Final = "orchestrator.began"
"""Key of the ASGI scope under which is kept when the request came."""


class _Count:
    __slots__ = ("number", "seconds")

    def __init__(self, seconds: Distribution) -> None:
        self.number = 0
        self.seconds = seconds
        """Of all answers of the method and route, whatever their status."""


class Served:
    """Requests by route: a template and never a path, so that callers do not choose how many counters there are."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], _Count] = {}
        """By method, route and status."""
        self.seconds: dict[tuple[str, ...], Distribution] = {}
        """By method and route: from the head of the request to its answer, without what was waited on purpose."""

    @property
    def requests(self) -> dict[tuple[str, ...], int]:
        """Requests answered, by method, route and status."""
        return {(method, route, str(status)): one.number for (method, route, status), one in self._counts.items()}

    def begin(self, scope: dict[str, Any], caller: Caller) -> None:
        """Note when a request came, unless that is known."""
        if _BEGAN not in scope:
            scope[_BEGAN] = (perf_counter(), caller, caller.waited)

    def end(self, scope: dict[str, Any], method: str, route: str, status: int) -> None:
        """Count the answer."""
        key = (method, route, status)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(self.seconds.setdefault(key[:2], Distribution(SECONDS)))
        count.number += 1
        began_on, caller, waited = scope[_BEGAN]
        seconds = perf_counter() - began_on - (caller.waited - waited)
        # A wait is measured by the loop's clock, to the millisecond.
        count.seconds.add(max(0.0, seconds))
