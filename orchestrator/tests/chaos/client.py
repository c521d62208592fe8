"""Clients: they trigger runs with a key each, ask again until they have an answer, and do what people do with runs."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import kinds
from tests.chaos.kinds import Kind
from tests.process.server import Answer, ask

CALL_SECONDS = 8.0
"""How long a call may take before it is made again elsewhere."""
PAUSE_SECONDS = 0.2
AGAIN_PART = 0.1
"""The part of triggers that are sent again although they were answered."""


@dataclass
class Asked:
    """A run that a client asked for, and what it was told."""

    number: int
    kind: Kind
    run_ids: set[str] = field(default_factory=set)
    cancelled: str = ""
    """What the answer to a cancel said of the run: its status."""


class Clients:
    """Threads that keep asking until `finish`."""

    def __init__(self, ports: Callable[[], Sequence[int]], seed: int, threads: int = 6) -> None:
        self._ports = ports
        self._random = random.Random(seed)
        self._numbers = iter(range(1, 10_000_000))
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]
        self._is_over = threading.Event()
        self._left = 0
        self._pause = 0.0
        self._mix: tuple[Kind, ...] = kinds.MIX
        self.asked: dict[int, Asked] = {}
        """By number."""
        self.wrong: list[str] = []
        """Answers that nobody should get."""
        self.answers: defaultdict[int, int] = defaultdict(int)
        """How often each status was answered; 0 stands for no answer."""

    # --- the load ----------------------------------------------------------------------------------------------------

    def define(self) -> None:
        """Define all workflows."""
        for definition in kinds.WORKFLOWS.values():
            self._until_answered("POST", "/workflow/", definition, {})

    def start(self, runs: int, per_second: float, mix: tuple[Kind, ...] = kinds.MIX) -> None:
        """Ask for so many more runs, at most so many a second."""
        self._mix = mix
        self._pause = len(self._threads) / per_second
        with self._lock:
            self._left += runs
        for thread in self._threads:
            if not thread.is_alive() and thread.ident is None:
                thread.start()

    @property
    def is_done(self) -> bool:
        """Whether everything that was asked for was answered."""
        with self._lock:
            return not self._left and all(one.run_ids for one in self.asked.values())

    def rest(self) -> None:
        """Ask for no more runs than were asked for."""
        with self._lock:
            self._left = 0

    def finish(self) -> None:
        """Let the threads end."""
        self._is_over.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(CALL_SECONDS * 2)

    def _ask(self) -> None:
        while not self._is_over.is_set():
            asked = self._next()
            if asked is None:
                self._is_over.wait(0.05)
                continue
            begun = time.monotonic()
            self._trigger(asked)
            self._is_over.wait(max(0.0, self._pause - (time.monotonic() - begun)))

    def _next(self) -> Asked | None:
        with self._lock:
            if not self._left:
                return None
            self._left -= 1
            number = next(self._numbers)
            self.asked[number] = Asked(number, self._mix[number % len(self._mix)])
            return self.asked[number]

    def _trigger(self, asked: Asked) -> None:
        path = f"/workflow/{kinds.workflow_of(asked.kind)}/trigger"
        body = {"input": kinds.input_of(asked.number, asked.kind)}
        headers = {"Idempotency-Key": f"key-{asked.number}"}
        for _ in range(2 if self._random.random() < AGAIN_PART else 1):
            answer = self._until_answered("POST", path, body, headers)
            if answer is not None:
                asked.run_ids.add(answer.text)
        if asked.kind == "cancelled" and asked.run_ids:
            answer = self._until_answered("POST", f"/workflow/run/{min(asked.run_ids)}/cancel", {}, {}, also=(409,))
            if answer is not None:
                asked.cancelled = "CANCELLED" if answer.status == 200 or b"CANCELLED" in answer.body else answer.text

    def _until_answered(
        self, method: str, path: str, body: object, headers: dict[str, str], also: tuple[int, ...] = ()
    ) -> Answer | None:
        while not self._is_over.is_set():
            answer = self.call(method, path, body, headers)
            if answer is not None and (answer.status < 300 or answer.status in also):
                return answer
            if answer is not None and answer.status < 500 and answer.status not in {408, 425, 429}:
                self.wrong.append(f"{method} {path}: {answer.status} {answer.text[:300]}")
                return None
            self._is_over.wait(PAUSE_SECONDS)
        return None

    # --- one call ----------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = b"", headers: dict[str, str] | None = None) -> Answer | None:
        """Make one call to one of the replicas; None when no answer came."""
        ports = list(self._ports())
        if not ports:
            return None
        connection = http.client.HTTPConnection("127.0.0.1", self._random.choice(ports), timeout=CALL_SECONDS)
        try:
            answer = ask(connection, method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.answers[0] += 1
            return None
        finally:
            connection.close()
        self.answers[answer.status] += 1
        return answer

    # --- what people do ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Redrive the dead letters that can be made good; discard half of the others."""
        for workflow in ("redeemed", "doomed"):
            answer = self.call("GET", f"/dead-letters?workflow={workflow}&limit=500")
            if answer is None or answer.status != 200:
                continue
            for letter in _letters(answer):
                path = f"/dead-letters/{letter['id']}"
                if workflow == "redeemed":
                    self._settled(self.call("POST", path + "/redrive"), path)
                elif letter["payload"]["number"] // 20 % 2:
                    self._settled(self.call("DELETE", path), path)

    def look_at_workers(self) -> None:
        """Open the page of workers, then one over Kafka, and try to drain it, which is for workers over HTTP only."""
        self.call("GET", "/workers", headers={"Accept": "text/html"})
        answer = self.call("GET", "/workers")
        if answer is None or answer.status != 200:
            return
        over_kafka = [worker["workerId"] for worker in answer.json() if worker["transport"] == "kafka"]
        if over_kafka:
            path = f"/workers/{self._random.choice(over_kafka)}"
            self.call("GET", path)
            # 404: it has gone meanwhile.
            self._expect(self.call("POST", f"{path}/drain"), path, 404, 409)

    def _settled(self, answer: Answer | None, path: str) -> None:
        # 409: somebody settled it before, which may have been this very call.
        self._expect(answer, path, 200, 202, 204, 409)

    def _expect(self, answer: Answer | None, path: str, *statuses: int) -> None:
        if answer is not None and answer.status < 500 and answer.status not in statuses:
            self.wrong.append(f"{path}: {answer.status} {answer.text[:300]}")


def _letters(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.json()
    return found
