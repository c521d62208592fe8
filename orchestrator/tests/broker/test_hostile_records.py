"""Five hundred records that nobody should write, and then one that somebody waits for."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Producer
from msgspec import Raw

from orchestrator.model.job import Rejection
from orchestrator.model.limits import Limits
from tests.broker.site import RawWorker, Site, define, ended, eventually, next_message, trigger

COUNT = 500
VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**30, "", "x", [], [1], {}, {"a": {}}, "\ud800", "x" * 5_000)


def corpus(run_id: str, seed: int) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Give keys and values. None of them answers the open attempt of the run."""
    chance = random.Random(seed)
    whole = {
        "workflowRunId": run_id,
        "action": "step1",
        "jobId": f"{run_id}:0",
        "attempt": 1,
        "status": "completed",
        "result": 1,
    }
    keys = (None, b"", run_id.encode(), b"\xff\xfe", b"k" * 3_000)
    while True:
        kind = chance.randrange(9)
        value: bytes | None
        if kind == 0:
            value = None
        elif kind == 1:
            value = chance.randbytes(chance.randrange(200))
        elif kind == 2:
            depth = chance.randrange(100, 20_000)
            value = b'{"workflowRunId":"%s","action":"step1","result":' % run_id.encode() + b"[" * depth + b"]" * depth
        elif kind == 3:
            text = json.dumps(whole).encode()
            value = text[: chance.randrange(len(text))]
        elif kind == 4:
            value = json.dumps({**whole, "result": "\xff"}, ensure_ascii=False).encode("latin-1")
        elif kind == 5:
            value = json.dumps({**whole, "workflowRunId": f"nobody-{chance.randrange(9)}", "jobId": None}).encode()
        elif kind == 6:
            value = json.dumps({**whole, "attempt": chance.choice([0, 2, 99, 2**40])}).encode()
        elif kind == 7:
            value = json.dumps({**whole, "jobId": chance.choice([f"{run_id}:7", "nobody:0", ":", "x"])}).encode()
        else:
            field = chance.choice(["workflowRunId", "jobId", "attempt", "status"])
            broken = {**whole, field: chance.choice(VALUES[3:])}
            if broken["attempt"] == 1:
                broken["attempt"] = 3
            value = json.dumps(broken).encode()
        yield chance.choice(keys), value


async def test_hostile_records_are_counted_and_kept_and_the_next_one_is_taken(
    site: Site, raw: RawWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with site.process() as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        job = await raw.job()
        producer = Producer({"bootstrap.servers": site.kafka, "message.max.bytes": Limits().kafka_record_bytes_max})
        source = corpus(run_id, seed=4)
        for _ in range(COUNT):
            key, value = next(source)
            producer.produce(site.topics.results, value, key, partition=0)
        # One above the largest result, which is no error of the record.
        huge = {**job, "result": "x" * (orchestrator.limits.payload_bytes_max + 1), "attempt": 5}
        producer.produce(site.topics.results, json.dumps(huge).encode(), partition=0)
        good = {"workflowRunId": run_id, "action": "step1", "result": "good"}
        producer.produce(site.topics.results, json.dumps(good).encode(), partition=0)
        assert producer.flush(60) == 0
        run = await ended(orchestrator, run_id)
        assert (run.status, run.final_output) == ("COMPLETED", Raw(b'"good"'))
        assert orchestrator.incoming is not None
        rejected = orchestrator.incoming.rejected

        async def are_all_counted() -> bool:
            return sum(rejected.values()) >= COUNT + 1

        await eventually(are_all_counted)
        assert sum(rejected.values()) == COUNT + 1
        warned = [record for record in caplog.records if "changed nothing" in record.getMessage()]
        assert len(warned) == len(rejected)
        letters = site.reader("letters", site.topics.dead_letters)
        for _ in range(rejected[Rejection.INVALID]):
            headers = dict((await next_message(letters)).headers() or [])
            assert headers["wf-dlt-reason"] == b"undecodable"
            assert headers["kafka_dlt-exception-message"]
        letters.close()
