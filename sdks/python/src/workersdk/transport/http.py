"""The worker protocol over HTTP: docs/worker-protocol.md, call by call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from workersdk import codec
from workersdk.http import Http, HttpError, Response
from workersdk.transport import Answer, Hello, Pulse, Refused, Terms, TooLarge, Unavailable, WorkerUnknown

CALL_TIMEOUT_S: Final = 10.0
EXCHANGE_TIMEOUT_S: Final = 30.0
PASSING_STATUSES: Final = frozenset({408, 425, 429})
_WORKERS: Final = "/workers"


class HttpTransport:
    """Speaks to the orchestrator's own port. One instance serves one worker.

    Nothing is tried again here: all five calls may be repeated, and the worker does that.
    """

    def __init__(self, url: str) -> None:
        self._http = Http(url)
        self._worker = _WORKERS
        self._payload_bytes_max = Terms().result_bytes_max

    @property
    def address(self) -> str:
        return self._http.address

    async def register(self, hello: Hello) -> Terms:
        self._worker = f"{_WORKERS}/{quote(hello.worker_id, safe=':@')}"
        body: dict[str, Any] = {
            "workerId": hello.worker_id,
            "actions": list(hello.actions),
            "sdk": hello.sdk,
            "version": hello.version,
            "host": hello.host,
            "pid": hello.pid,
            "concurrency": hello.concurrency,
        }
        if hello.lease is not None:
            body["lease"] = hello.lease
        answer = await self._call("POST", _WORKERS, codec.dumps(body), CALL_TIMEOUT_S)
        known = Terms()
        self._payload_bytes_max = int(answer.get("resultBytesMax", known.result_bytes_max))
        return Terms(
            lease=float(answer.get("lease", known.lease)),
            heartbeat=float(answer.get("heartbeat", known.heartbeat)),
            wait_max=float(answer.get("waitMax", known.wait_max)),
            capacity_max=int(answer.get("capacityMax", known.capacity_max)),
            result_bytes_max=self._payload_bytes_max,
            request_bytes_max=int(answer.get("requestBytesMax", known.request_bytes_max)),
        )

    async def exchange(self, results: Sequence[bytes], capacity: int, wait: float) -> Answer:
        body = b'"capacity":%d,"wait":%s}' % (capacity, repr(wait).encode())
        body = b'{"results":[%s],%s' % (b",".join(results), body) if results else b"{" + body
        # A payload was an input or a result: as many of the largest as are asked for have to be taken.
        more_bytes = capacity * self._payload_bytes_max
        answer = await self._call("POST", self._worker + "/exchange", body, wait + EXCHANGE_TIMEOUT_S, more_bytes)
        return Answer(
            jobs=answer.get("jobs") or (),
            cancelled=answer.get("cancelled") or (),
            rejected=answer.get("rejected") or (),
            is_draining=answer.get("draining") is True,
        )

    async def heartbeat(self, in_flight: Sequence[bytes]) -> Pulse:
        body = b'{"inFlight":[%s]}' % b",".join(in_flight)
        answer = await self._call("POST", self._worker + "/heartbeat", body, CALL_TIMEOUT_S)
        return Pulse(
            cancelled=answer.get("cancelled") or (),
            unknown=answer.get("unknown") or (),
            is_draining=answer.get("draining") is True,
        )

    async def leave(self, timeout: float) -> None:
        await self._call("DELETE", self._worker, None, timeout)

    async def close(self) -> None:
        await self._http.close()

    async def _call(
        self, method: str, target: str, body: bytes | None, timeout: float, more_bytes: int = 0
    ) -> dict[str, Any]:
        try:
            response = await self._http.request(method, target, body, timeout=timeout, more_bytes=more_bytes)
        except HttpError as error:
            raise Unavailable(str(error)) from error
        if not 200 <= response.status < 300:
            raise _error_for(response)
        if not response.body:
            return {}
        try:
            answer = codec.loads(response.body)
        except ValueError as error:
            raise Unavailable(f"the answer is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise Unavailable("the answer is not a JSON object")
        return answer


def _error_for(response: Response) -> Exception:
    problem = codec.loads_problem(response.body)
    title = str(problem.get("title") or response.reason)
    detail = str(problem.get("detail") or "")
    for error in problem["errors"]:
        detail += f"; {error.get('field', '')}: {error.get('reason', '')}"
    status = response.status
    if status == 404 and problem.get("code") == "worker-not-found":
        return WorkerUnknown(detail or title)
    if status == 413:
        return TooLarge(detail or title)
    if status >= 500 or status in PASSING_STATUSES or status < 400:
        return Unavailable(f"{status} {title}" + (f": {detail}" if detail else ""))
    return Refused(status, title, detail.removeprefix("; "))
