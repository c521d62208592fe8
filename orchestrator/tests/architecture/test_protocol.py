"""``protocol/`` says what the server does: its schemas are the server's, its examples are what it writes and reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import msgspec
import pytest
from msgspec.structs import replace

from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.dead_letters import copies_of, copies_of_refused
from orchestrator.adapters.kafka.homes import Homes
from orchestrator.api import asyncapi
from orchestrator.api.http import encode
from orchestrator.app.records import Beats, Results
from orchestrator.model import wire
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.event import Failure
from orchestrator.model.job import ANY_STEP
from orchestrator.model.json import Json
from orchestrator.model.limits import Limits
from orchestrator.model.record import job_headers, job_value, read_job, read_stop
from orchestrator.model.run import RunId
from orchestrator.model.times import Time, parse_time
from orchestrator.model.topics import TOPICS
from orchestrator.model.trace import Trace
from orchestrator.ports.broker import Incoming, Sent
from tests.architecture.protocol_files import BODIES, EXAMPLES, FOLDER, files

Example = dict[str, Any]

SCHEMA_OF_TOPIC: Final = {
    TOPICS.jobs: "job",
    TOPICS.results: "result",
    TOPICS.heartbeats: "heartbeat",
    TOPICS.control: "stop",
}
RUN: Final = "01a22d1d-0dab-7cea-808a-29457981d4fc"
HOMES: Final = Homes(12)


def read(path: Path) -> Example:
    example: Example = json.loads(path.read_text())
    return example


RECORDS: Final = {path.stem: read(path) for path in sorted((EXAMPLES / "records").glob("*.json"))}
CALLS: Final = {path.stem: read(path) for path in sorted((EXAMPLES / "http").glob("*.json"))}


def schema(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(json.loads((FOLDER / "schemas" / f"{name}.schema.json").read_text()))


def incoming(name: str) -> Incoming:
    example = RECORDS[name]
    key = example["key"]
    return Incoming(
        value=example["value"].encode(),
        produced_at=Time(1),
        partition=0,
        offset=0,
        key=None if key is None else key.encode(),
    )


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_files_are_those_of_the_source(path: Path) -> None:
    assert path.read_text() == files()[path], "run `make docs`"


def test_there_is_no_file_that_nobody_writes() -> None:
    written = {path for path in FOLDER.rglob("*.json") if EXAMPLES not in path.parents}
    assert written == set(files())


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_keeps_to_its_schema(name: str) -> None:
    example = RECORDS[name]
    schema(SCHEMA_OF_TOPIC[example["topic"]]).validate(json.loads(example["value"]))


@pytest.mark.parametrize("name", CALLS)
def test_a_body_keeps_to_its_schema(name: str) -> None:
    example = CALLS[name]
    schema(example["schema"]).validate(json.loads(example["body"]))


def test_every_level_and_kind_has_an_example() -> None:
    assert {example["topic"] for example in RECORDS.values()} == set(SCHEMA_OF_TOPIC)
    assert {example["schema"] for example in CALLS.values()} == set(BODIES)
    assert {example["level"] for example in RECORDS.values()} == {0, 1, 2}


@pytest.mark.parametrize("name", [name for name, example in RECORDS.items() if example["topic"] == TOPICS.jobs])
def test_a_job_is_written_byte_for_byte(name: str) -> None:
    example = RECORDS[name]
    job = read_job(example["value"].encode(), [(header, text.encode()) for header, text in example["headers"]])
    assert job_value(job).decode() == example["value"]
    headers = job_headers(job, HOMES.header_of(job.run_id))
    assert [[header, bytes(value or b"").decode()] for header, value in headers] == example["headers"]  # type: ignore[arg-type]
    assert example["key"] == job.run_id


def test_a_stop_is_written_byte_for_byte() -> None:
    text = RECORDS["stop"]["value"]
    assert encode(read_stop(text.encode())).decode() == text


@pytest.mark.parametrize("name", [name for name, example in CALLS.items() if example["writer"] == "orchestrator"])
def test_an_answer_is_all_that_the_server_writes(name: str) -> None:
    text = CALLS[name]["body"]
    kind = BODIES[CALLS[name]["schema"]]
    # Its fields in the order of the type; a number of seconds is read as 30.0 and written as 30.
    assert list(_pairs(encode(msgspec.json.decode(text, type=kind)).decode())) == list(_pairs(text))


def _pairs(text: str) -> Iterator[tuple[str, Any]]:
    """Give names and values in the order in which they stand."""
    found: list[tuple[str, Any]] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.extend(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=note)
    return iter(found)


@pytest.mark.parametrize(
    ("name", "step", "attempt", "outcome"),
    [
        ("result-plain", ANY_STEP, 1, "completed"),
        ("result-completed", 0, 1, "completed"),
        ("result-failed", 0, 1, "failed"),
        ("result-failed-for-good", 0, 1, "failed"),
        ("result-released", 3, 2, "released"),
        ("result-traced", 0, 1, "completed"),
    ],
)
def test_a_result_is_understood(name: str, step: int, attempt: int, outcome: str) -> None:
    results = Results(Limits())
    results.add(incoming(name))
    assert results.refused == []
    (report,) = results.reports
    assert (report.run_id, report.step, report.attempt, report.outcome) == (RUN, step, attempt, outcome)
    if step == ANY_STEP:
        assert report.action == "step1"
    else:
        assert report.worker == "w-box-8287-bf6787"
        assert report.started_at == parse_time("2026-11-30T15:40:08.524139Z")
    if outcome == "completed":
        assert report.result == b'"Processed: Hello World"'


def test_an_error_says_whether_and_when_it_may_be_tried_again() -> None:
    results = Results(Limits())
    for name in ("result-failed", "result-failed-for-good"):
        results.add(incoming(name))
    again, never = results.reports
    assert again.failure is not None
    assert never.failure is not None
    assert (again.failure.type, again.retryable, again.retry_after) == ("ConnectionError", True, 2_500_000)
    assert (never.failure.type, never.retryable, never.retry_after) == ("CardDeclined", False, None)


def test_signs_of_life_are_understood() -> None:
    beats = Beats(Limits())
    beats.add(incoming("heartbeat"))
    (beat,) = beats.beats
    assert (beat.run_id, beat.step, beat.attempt, beat.details) == (RUN, 3, 2, b'{"done":60}')
    assert not beats.workers["w-box-8287-bf6787"].is_leaving
    beats.add(incoming("heartbeat-leaving"))
    assert beats.workers["w-box-8287-bf6787"].is_leaving
    assert beats.refused == []


def test_every_field_has_a_meaning() -> None:
    for name in SCHEMA_OF_TOPIC.values():
        found = json.loads((FOLDER / "schemas" / f"{name}.schema.json").read_text())
        for part in (found, *found.get("$defs", {}).values()):
            assert all(field["description"] for field in part["properties"].values())


def headers_in_the_document(message: str) -> set[str]:
    return set(asyncapi.document(TOPICS)["components"]["messages"][message]["headers"]["properties"])


@pytest.mark.parametrize(
    ("message", "topic"),
    [
        ("job", TOPICS.jobs),
        ("result", TOPICS.results),
        ("heartbeat", TOPICS.heartbeats),
        ("stop", TOPICS.control),
    ],
)
def test_the_document_names_the_headers_that_there_are(message: str, topic: str) -> None:
    examples = [example for example in RECORDS.values() if example["topic"] == topic]
    written = {name for example in examples for name, _ in example["headers"]}
    # A worker may say what its record is; ours do with results only.
    assert headers_in_the_document(message) - written <= {"content-type"}
    assert written <= headers_in_the_document(message)


def test_the_document_names_the_headers_of_dead_letters() -> None:
    letter = DeadLetter(
        id=f"{RUN}:0:1",
        run_id=RunId(RUN),
        workflow_id="w",
        step=0,
        action="a",
        attempt=1,
        attempts=1,
        failure=Failure("T", "m", "s"),
        payload=Json(b"1"),
        worker="w-1",
        created_at=Time(1),
        trace=Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=value"),
    )
    config = KafkaConfig(servers="nowhere:9092")
    copies = [
        *copies_of(letter, config, Sent(letter.run_id, 0, 1, 3, 7), Homes(12).header_of(letter.run_id)),
        *copies_of_refused(replace(incoming("result-plain"), key=b"k" * 10_000), TOPICS.results, "no JSON"),
    ]
    written = {name for copy in copies for name, _ in copy.headers}
    # A job that ran alone says so in its record; its letter is of the step.
    assert headers_in_the_document("deadLetter") - written <= {"wf-alone"}
    assert written <= headers_in_the_document("deadLetter")


def test_results_over_http_are_those_of_an_exchange() -> None:
    body = msgspec.json.decode(CALLS["exchange-results"]["body"], type=wire.ExchangeBody)
    assert [(one.status, bytes(one.result)) for one in body.results] == [
        ("completed", b'"Processed: Hello World"'),
        ("failed", b"null"),
        ("released", b"null"),
    ]
