"""What a process has answered over HTTP, counted: under a microsecond a request."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import Final

from falcon.asgi import Request, Response

from orchestrator.api import http
from orchestrator.app.tally import Distribution

SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper bounds of the buckets of the time that an answer takes."""


class Served:
    """Requests by route: a template and never a path, so that callers do not choose how many counters there are."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, ...]] = Counter()
        """By method, route and status."""
        self.seconds: dict[tuple[str, ...], Distribution] = {}
        """By method and route: from the head of the request to its answer, without what was waited on purpose."""

    def begin(self, req: Request) -> None:
        """Note when a request came."""
        caller = http.caller(req)
        req.context.served = (perf_counter(), caller, caller.waited)

    def end(self, req: Request, resp: Response, *, found: bool) -> None:
        """Count the answer; ``found`` says whether the route has the method."""
        place = (req.method if found else "any", req.uri_template or "none")
        self.requests[*place, str(resp.status_code)] += 1
        began_on, caller, waited = req.context.served
        times = self.seconds.get(place)
        if times is None:
            times = self.seconds[place] = Distribution(SECONDS)
        times.add(max(0.0, perf_counter() - began_on - (caller.waited - waited)))
