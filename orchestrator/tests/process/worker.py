"""A worker of nothing but HTTP, in a thread: it lives through everything that the server does."""

from __future__ import annotations

import http.client
import threading
from types import TracebackType
from typing import Any, Self

from tests.process.server import Server, ask, done


class Worker:
    """Does every job at once: the result is the payload with one more word."""

    def __init__(self, server: Server, worker_id: str, *actions: str) -> None:
        self._server = server
        self._id = worker_id
        self._actions = actions
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._stopped = threading.Event()
        self.fault: Exception | None = None
        self.done: list[tuple[str, int]] = []
        """Jobs and attempts, in order."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join(10)
        assert self.fault is None
        assert not self._thread.is_alive()

    def _work(self) -> None:
        results: list[dict[str, Any]] = []
        connection = self._server.connect()
        try:
            while not self._stopped.is_set():
                body = {"results": results, "capacity": 5, "wait": 0.5}
                try:
                    answer = ask(connection, "POST", f"/workers/{self._id}/exchange", body)
                    if answer.status == 404:
                        ask(connection, "POST", "/workers", {"workerId": self._id, "actions": self._actions})
                        continue
                except (OSError, http.client.HTTPException):
                    # The server is away; what it may not have recorded is sent again.
                    connection.close()
                    self._stopped.wait(0.02)
                    continue
                if answer.status >= 500:
                    continue
                assert answer.status == 200, answer
                results = [self._do(job) for job in answer.json().get("jobs", [])]
        except Exception as error:  # noqa: BLE001 - told to the test when the block ends
            self.fault = error
        finally:
            connection.close()

    def _do(self, job: dict[str, Any]) -> dict[str, Any]:
        self.done.append((job["jobId"], job["attempt"]))
        return done(job, [*job["payload"], job["action"]])
