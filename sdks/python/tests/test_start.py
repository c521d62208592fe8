"""Which address a worker uses, and that the example that everybody starts with works as it stands."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from workersdk import InvalidUrlError, Worker
from workersdk.transport import open_transport

# The Python worker of the product's contract, character by character.
CONTRACT = """\
from workersdk import Worker

def main():
    worker = Worker()

    # Register handlers for specific actions
    worker.register("step1", lambda payload: f"Processed: {payload}")
    
    # Connects to Kafka and starts listening
    worker.start()

if __name__ == "__main__":
    main()
"""  # noqa: W293 - as it stands there

EXAMPLE = Path(__file__).parents[3] / "examples" / "python" / "worker.py"


async def test_the_contract_s_example_works_as_it_stands(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(CONTRACT)
    async with Gateway() as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            str(program),
            env={**os.environ, "WORKFLOW_URL": gateway.url},
            stderr=asyncio.subprocess.PIPE,
        )
        result = await gateway.result_of(await gateway.give("step1", "Hello World"))
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 8)
    assert result["result"] == "Processed: Hello World"
    assert process.returncode == 0
    assert b"Traceback" not in errors
    assert f"connected to {gateway.url}, actions: step1, concurrency 10".encode() in errors


async def test_the_address_of_the_contract_s_other_examples_works_wherever_the_environment_says(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(CONTRACT.replace("worker.start()", 'worker.start("kafka:9092", "workflow-workers-python")'))
    async with Gateway() as gateway:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(program),
            env={**os.environ, "WORKFLOW_URL": gateway.url},
            stderr=asyncio.subprocess.PIPE,
        )
        assert (await gateway.result_of(await gateway.give("step1", "x")))["result"] == "Processed: x"
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 8)
    assert b"INFO workersdk: kafka:9092 in the program is the documentation's example" in errors


@pytest.mark.skipif(not EXAMPLE.exists(), reason="the examples are not part of the source distribution")
def test_the_example_is_the_contract_s() -> None:
    assert EXAMPLE.read_text() == CONTRACT


@pytest.mark.parametrize("url", ["ftp://host:21", "localhost", "", "amqp://host", "http://", "http://host:x"])
def test_an_address_that_nobody_knows_is_an_error_that_names_the_known(url: str) -> None:
    with pytest.raises(InvalidUrlError, match=r"http://"):
        open_transport(url)


@pytest.mark.parametrize("url", ["http://host:8080", "HTTP://host:8080", "https://user:secret@host/workflows/"])
def test_http_addresses(url: str) -> None:
    address = open_transport(url).address
    assert address.startswith(("http://host", "https://host"))
    assert "secret" not in address


class Listening:
    """A logger without handlers, as in a program that has not set up logging."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.logger = logging.getLogger("workersdk")
        monkeypatch.setattr(logging.getLogger(), "handlers", [])
        monkeypatch.setattr(self.logger, "handlers", [])
        monkeypatch.setattr(self.logger, "level", logging.NOTSET)


def start_nowhere(**settings: Any) -> None:
    worker = Worker(**settings)
    worker.register("act", str)
    with pytest.raises(InvalidUrlError):
        worker.start("ftp://host")


def test_a_newcomer_sees_what_the_worker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    unheard = Listening(monkeypatch)
    start_nowhere()
    start_nowhere()
    assert len(unheard.logger.handlers) == 1
    assert unheard.logger.level == logging.INFO


def test_logging_that_is_set_up_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    unheard = Listening(monkeypatch)
    logging.getLogger().handlers.append(logging.NullHandler())
    start_nowhere()
    assert unheard.logger.handlers == []
    assert unheard.logger.level == logging.NOTSET


def test_a_logger_of_one_s_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    unheard = Listening(monkeypatch)
    own = logging.getLogger("own")
    start_nowhere(logger=own)
    assert unheard.logger.handlers == []
    assert own.handlers == []
