"""The records of this SDK are those of `protocol/examples`: byte for byte where it writes, whole where it reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Message

from workersdk import codec
from workersdk.kafka import records
from workersdk.outcomes import Failure, Outcome, completed, failed, released
from workersdk.transport import Hello

EXAMPLES = Path(__file__).parents[3] / "protocol" / "examples"
WORKER = "w-box-8287-bf6787"
JOBS = ("workflow-jobs", 0)
Example = dict[str, Any]


def example(name: str) -> Example:
    return cast("Example", json.loads((EXAMPLES / "records" / f"{name}.json").read_text()))


class Record:
    """A record as the client gives it."""

    def __init__(self, told: Example) -> None:
        self._told = told

    def key(self) -> bytes | None:
        key = self._told["key"]
        return None if key is None else cast("str", key).encode()

    def value(self) -> bytes:
        return cast("str", self._told["value"]).encode()

    def headers(self) -> list[tuple[str, bytes]]:
        return [(name, text.encode()) for name, text in self._told["headers"]]

    def offset(self) -> int:
        return 7

    def __len__(self) -> int:
        return len(self.value())


def job(name: str) -> records.KafkaJob:
    record = cast("Message", Record(example(name)))
    headers = records.headers_of(record)
    action = records.action_of(headers, record).decode()
    found = records.read_job(action, headers, record, JOBS, 30.0)
    found.start = records.start_of(WORKER, "2026-11-30T15:40:08.524139Z")
    return found


def check(outcome: Outcome, name: str) -> None:
    told = example(name)
    found = cast("records.KafkaJob", outcome.job)
    assert outcome.body.decode() == told["value"]
    assert found.key.decode() == told["key"]
    headers = [[name, value.decode() if isinstance(value, bytes) else value] for name, value in found.result_headers()]
    assert headers == told["headers"]


def test_a_job_is_read() -> None:
    found = job("job")
    assert (found.id, found.attempt, found.is_alone) == ("01a22d1d-0dab-7cea-808a-29457981d4fc:0", 1, False)
    assert found.raw["payload"] == "Hello World"
    assert found.result_partition == 0xD4FC % 12


@pytest.mark.parametrize("told", [None, b"", b"-1", b"+1", b" 1", b"1_0", b"one", "²".encode(), b"1" * 5_000])
def test_what_names_no_partition_is_passed_over(told: bytes | None) -> None:
    record = Record(example("job"))
    headers = [(name, text) for name, text in record.headers() if name != records.RESULT_PARTITION]
    found = records.read_job("step1", [*headers, (records.RESULT_PARTITION, told)], cast("Message", record), JOBS, 30.0)
    assert found.result_partition == records.ANY_PARTITION


def test_a_job_that_comes_again_is_read_with_all_that_it_says() -> None:
    found = job("job-again")
    assert (found.attempt, found.is_alone, found.lease) == (2, True, 2.5)
    assert found.raw["details"] == {"done": 40}
    payload = found.raw["payload"]
    assert payload["amount"] == 123456789012345678901234567890
    assert codec.dumps({"name": payload["name"]}).decode() == '{"name":"Zoë 🎉"}'


def test_results_are_written_byte_for_byte() -> None:
    check(completed(job("job"), "Processed: Hello World", 1_000), "result-completed")
    again = Failure("ConnectionError", "the ledger is closed", "ConnectionError: the ledger is closed\n", True, 2.5)
    check(failed(job("job"), again), "result-failed")
    check(failed(job("job"), Failure("CardDeclined", "no such card", "", is_retryable=False)), "result-failed-for-good")
    leaving = job("job-again")
    leaving.details = b'{"done":60}'
    check(released(leaving), "result-released")
    check(completed(job("job-traced"), "Processed: Hello World", 1_000), "result-traced")


@pytest.mark.parametrize("name", ["heartbeat", "heartbeat-leaving"])
def test_heartbeats_are_written_byte_for_byte(name: str) -> None:
    hello = Hello(
        worker_id=WORKER,
        actions=("step1", "write-letter"),
        sdk="workersdk-python",
        version="0.1.0",
        host="box",
        pid=8287,
        concurrency=10,
        lease=22.5,
    )
    writer = records.BeatWriter(hello, None, 22.5, 7.5)
    is_leaving = name == "heartbeat-leaving"
    in_hand = [] if is_leaving else [records.write_in_flight(job("job-again"), b'{"done":60}')]
    capacity = 0 if is_leaving else 9
    assert writer.write(in_hand, capacity, is_leaving=is_leaving).decode() == example(name)["value"]


def test_a_stop_is_read() -> None:
    assert records.read_control(example("stop")["value"].encode()) == {
        "jobId": "01a22d1d-0dab-7cea-808a-29457981d4fc:3",
        "attempt": 2,
        "type": "cancel",
        "reason": "",
    }
