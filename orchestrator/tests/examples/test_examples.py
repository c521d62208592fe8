"""The examples do the same in each language: workflows of `examples/workflows`, workers as `make` has built them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.conformance.processes import WorkerProcess
from stack.examples import FOLDER, LANGUAGES, command
from tests.process.server import Server, until

HASTE = {"order": ("delay", "1s", "200ms"), "long-job": ("heartbeatTimeout", "10s", "2s")}
"""What a test does not wait for: a field of a workflow, as it stands there and as it is here."""
SAID = {"python": "Processed", "node": "Node processed", "java": "Java processed"}
PATIENCE_SECONDS = 60.0


class Example:
    """A worker of one example, and what it writes."""

    def __init__(self, server: Server, language: str, name: str, folder: Path) -> None:
        self._log = folder / f"{language}-{name}.log"
        address = {"WORKFLOW_URL": f"http://127.0.0.1:{server.port}"}
        self.process = WorkerProcess(command(language, name), address, self._log)

    def says(self, words: str) -> None:
        """Wait until it has written them."""
        until(lambda: words in self._log.read_text(), PATIENCE_SECONDS)


@contextmanager
def example(server: Server, language: str, name: str, folder: Path) -> Iterator[Example]:
    started = Example(server, language, name, folder)
    try:
        yield started
    finally:
        started.process.end()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that knows the workflows."""
    with Server(None) as running:
        for file in sorted((FOLDER / "workflows").glob("*.json")):
            text = file.read_text()
            if file.stem in HASTE:
                field, given, here = HASTE[file.stem]
                assert text.count(f'"{field}": "{given}"') == 1
                text = text.replace(f'"{field}": "{given}"', f'"{field}": "{here}"')
            assert running.call("POST", "/workflow/", text.encode()).status == 201
        yield running


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def order(server: Server, language: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    """The workers of `order` and of `hello`: each has actions of its own."""
    folder = tmp_path_factory.mktemp(language)
    with example(server, language, "hello", folder), example(server, language, "order", folder) as started:
        yield started


def ended(server: Server, run_id: str) -> dict[str, Any]:
    return server.show(run_id, wait=PATIENCE_SECONDS)


def attempts(run: dict[str, Any], step: int) -> list[tuple[str, str | None]]:
    return [(one["status"], (one["error"] or {}).get("type")) for one in run["steps"][step]["attempts"]]


@pytest.mark.usefixtures("order")
def test_hello(server: Server, language: str) -> None:
    run = ended(server, server.trigger("hello", "Hello World"))
    assert run["finalOutput"] == f"{SAID[language]}: Hello World"


def test_order(server: Server, order: Example) -> None:
    good, unlucky, blocked = (
        server.trigger("order", {"id": 7, "amount": 30, "card": card}) for card in ("good", "unlucky", "blocked")
    )
    for run_id in (good, unlucky):
        shipped = {"id": 7, "payment": f"{run_id}:1", "parcel": "parcel-7"}
        assert ended(server, run_id)["finalOutput"] == shipped
    assert attempts(ended(server, good), 1) == [("COMPLETED", None)]
    assert attempts(ended(server, unlucky), 1) == [("FAILED", "BankUnavailable")] * 2 + [("COMPLETED", None)]
    assert attempts(ended(server, blocked), 1) == [("FAILED", "CardDeclined")]

    (letter,) = server.call("GET", "/dead-letters").json()
    assert letter["runId"] == blocked
    assert server.call("POST", f"/dead-letters/{letter['id']}/redrive").status == 200
    redriven = ended(server, blocked)
    assert redriven["status"] == "COMPLETED"
    assert attempts(redriven, 1) == [("FAILED", "CardDeclined"), ("COMPLETED", None)]
    for words in ("reserved", "attempt 3 to charge 30", "charged", "shipped"):
        order.says(f"order 7: {words}")


def test_long_job_goes_on_where_a_worker_was_killed_and_in_another_language(server: Server, tmp_path: Path) -> None:
    run_id = server.trigger("long-job", {"frames": 60, "secondsPerFrame": 0.05})

    before = 0

    def done() -> int:
        details = server.show(run_id)["steps"][0]["details"] or {"done": 0}
        return int(details["done"])

    def goes_on() -> bool:
        return done() > before

    for attempt, language in enumerate(LANGUAGES, 1):
        with example(server, language, "long-job", tmp_path) as worker:
            worker.says(f"encode from frame {before} of 60, attempt {attempt}")
            until(goes_on, PATIENCE_SECONDS)
            worker.process.send(signal.SIGKILL)
            worker.process.wait(PATIENCE_SECONDS)
            before = done()
    with example(server, LANGUAGES[0], "long-job", tmp_path) as worker:
        worker.says(f"encode from frame {before} of 60, attempt {len(LANGUAGES) + 1}")
        run = ended(server, run_id)
        worker.says("encoded 60 frames")
    assert run["finalOutput"] == {"frames": 60, "resumedAt": before}
    assert attempts(run, 0)[:-1] == [("LOST", "WorkerLost")] * len(LANGUAGES)
