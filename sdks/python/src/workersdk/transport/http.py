"""The worker protocol over HTTP: docs/worker-protocol.md, call by call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from workersdk import codec
from workersdk.http1 import Endpoint, HttpClient, HttpError, Response, StaleConnectionError
from workersdk.transport import Answer, Hello, Pulse, Refused, Terms, TooLarge, Unavailable, WorkerUnknown
from workersdk.version import USER_AGENT

CALL_TIMEOUT_S: Final = 10.0
EXCHANGE_TIMEOUT_S: Final = 30.0
PASSING_STATUSES: Final = frozenset({408, 425, 429})


class HttpTransport:
    """Speaks to the orchestrator's own port. One instance serves one worker."""

    def __init__(self, url: str) -> None:
        endpoint = Endpoint.parse(url)
        self._http = HttpClient(endpoint, user_agent=USER_AGENT)
        self._address = endpoint.url
        self._path = ""

    @property
    def address(self) -> str:
        return self._address

    async def register(self, hello: Hello) -> Terms:
        self._path = "/workers/" + quote(hello.worker_id, safe=":@")
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
        answer = await self._call("POST", "/workers", [codec.dumps(body)], CALL_TIMEOUT_S)
        known = Terms()
        return Terms(
            lease=float(answer.get("lease", known.lease)),
            heartbeat=float(answer.get("heartbeat", known.heartbeat)),
            wait_max=float(answer.get("waitMax", known.wait_max)),
            capacity_max=int(answer.get("capacityMax", known.capacity_max)),
            result_bytes_max=int(answer.get("resultBytesMax", known.result_bytes_max)),
            request_bytes_max=int(answer.get("requestBytesMax", known.request_bytes_max)),
        )

    async def exchange(self, results: Sequence[bytes], capacity: int, wait: float) -> Answer:
        tail = b'"capacity":%d,"wait":%s}' % (capacity, repr(wait).encode())
        body = [b'{"results":[', b",".join(results), b"],", tail] if results else [b"{", tail]
        answer = await self._call("POST", self._path + "/exchange", body, wait + EXCHANGE_TIMEOUT_S)
        return Answer(
            jobs=answer.get("jobs") or (),
            cancelled=answer.get("cancelled") or (),
            rejected=answer.get("rejected") or (),
            is_draining=answer.get("draining") is True,
        )

    async def heartbeat(self, in_flight: Sequence[bytes]) -> Pulse:
        body = [b'{"inFlight":[', b",".join(in_flight), b"]}"]
        answer = await self._call("POST", self._path + "/heartbeat", body, CALL_TIMEOUT_S)
        return Pulse(
            cancelled=answer.get("cancelled") or (),
            unknown=answer.get("unknown") or (),
            is_draining=answer.get("draining") is True,
        )

    async def leave(self, timeout: float) -> None:
        await self._call("DELETE", self._path, None, timeout)

    async def close(self) -> None:
        self._http.close()

    async def _call(self, method: str, path: str, body: Sequence[bytes] | None, timeout: float) -> dict[str, Any]:
        try:
            try:
                response = await self._http.request(method, path, body=body, timeout=timeout)
            except StaleConnectionError:
                response = await self._http.request(method, path, body=body, timeout=timeout)
        except HttpError as error:
            raise Unavailable(str(error)) from error
        if 200 <= response.status < 300:
            return _read_object(response)
        raise _error_for(response)


def _read_object(response: Response) -> dict[str, Any]:
    if not response.body:
        return {}
    try:
        answer = codec.loads(response.body)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Unavailable(f"the answer is not JSON: {error}") from error
    except ValueError:
        answer = _read_long_integers(response.body)
    if not isinstance(answer, dict):
        raise Unavailable("the answer is not a JSON object")
    return answer


def _read_long_integers(body: bytes) -> Any:
    """Read an answer of which one job cannot be read, so that the others can be done."""
    answer = codec.loads_with_long_integers(body)
    for job in answer.get("jobs", ()) if isinstance(answer, dict) else ():
        unreadable = codec.find_unreadable(job.get("payload"))
        if unreadable is not None:
            job["payload"] = unreadable
    return answer


def _error_for(response: Response) -> Exception:
    try:
        problem = codec.loads(response.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    title = str(problem.get("title") or response.reason)
    detail = str(problem.get("detail") or "")
    for error in problem.get("errors") or ():
        if isinstance(error, dict):
            detail += f"; {error.get('field', '')}: {error.get('reason', '')}"
    status = response.status
    if status == 404 and problem.get("code") == "worker-not-found":
        return WorkerUnknown(detail or title)
    if status == 413:
        return TooLarge(detail or title)
    if status >= 500 or status in PASSING_STATUSES or status < 400:
        return Unavailable(f"{status} {title}" + (f": {detail}" if detail else ""))
    return Refused(status, title, detail.removeprefix("; "))
