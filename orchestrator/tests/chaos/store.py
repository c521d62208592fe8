"""What the database and the topic of dead letters say, read without the orchestrator."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import asyncpg
from confluent_kafka import Consumer, TopicPartition

from orchestrator.adapters.kafka.dead_letters import LETTER_ID
from orchestrator.adapters.postgres import rows
from orchestrator.model.dead_letter import DeadLetter
from orchestrator.model.definition import DefinitionVersion
from orchestrator.model.event import Event
from orchestrator.model.run import RunState

_CALL_SECONDS: Final = 20.0
_WAITING: Final = """
    SELECT 'run ' || run_id || ' ' || status FROM runs WHERE ended_at IS NULL
    UNION ALL SELECT 'job ' || runs.run_id || ' step ' || step || ' attempt ' || attempt || ' ' || jobs.state
        || coalesce(' at ' || partition || ':' || "offset", '') || coalesce(' of ' || worker, '')
        FROM jobs LEFT JOIN runs ON runs.seq = jobs.run_seq
    UNION ALL SELECT 'letter ' || id || ' has no record' FROM dead_letters WHERE due_at IS NOT NULL
    UNION ALL SELECT 'letter ' || id || ' is not redriven' FROM dead_letters
        WHERE workflow_id = 'redeemed' AND state = 'OPEN'
    LIMIT 1000"""


@dataclass
class Run:
    """One run as the store has it."""

    state: RunState
    input: Any = None
    events: list[Event] = field(default_factory=list)
    results: list[tuple[int, Any]] = field(default_factory=list)


@dataclass
class Record:
    """One record on the topic of dead letters."""

    letter_id: str
    reason: str
    value: bytes


@dataclass
class Kept:
    """All that is kept."""

    runs: dict[str, Run]
    definitions: dict[tuple[str, int], DefinitionVersion]
    letters: list[DeadLetter]
    keys: dict[str, str]
    """Run ids by Idempotency-Key."""


async def waiting(database: str) -> list[str]:
    """List what is not at rest."""
    connection = await asyncpg.connect(database, timeout=_CALL_SECONDS)
    try:
        return [row[0] for row in await connection.fetch(_WAITING)]
    finally:
        await connection.close()


async def read(database: str) -> Kept:
    """Read everything."""
    connection = await asyncpg.connect(database, timeout=_CALL_SECONDS)
    try:
        by_seq: dict[int, Run] = {}
        for row in await connection.fetch(f"SELECT {rows.STATE_COLUMNS} FROM runs"):
            by_seq[row[0]] = Run(rows.state(row))
        history = await connection.fetch("SELECT run_seq, step, events, payload FROM history ORDER BY run_seq, id")
        for seq, step, events, payload in history:
            run = by_seq[seq]
            run.events += rows.decode_events(events)
            if step == rows.INPUT_STEP:
                run.input = json.loads(payload)
            elif step is not None:
                run.results.append((step, json.loads(payload)))
        definitions = [
            rows.definition(row) for row in await connection.fetch(f"SELECT {rows.DEFINITION_COLUMNS} FROM definitions")
        ]
        letters = await connection.fetch(f"SELECT {rows.LETTER_COLUMNS} FROM dead_letters")
        keys = await connection.fetch("SELECT key, run_id FROM idempotency")
        return Kept(
            runs={run.state.run_id: run for run in by_seq.values()},
            definitions={(one.definition.id, one.version): one for one in definitions},
            letters=[rows.dead_letter(row) for row in letters],
            keys={row[0]: row[1] for row in keys},
        )
    finally:
        await connection.close()


def records(servers: str, topic: str) -> list[Record]:
    """Read the whole topic of dead letters."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "checker", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=_CALL_SECONDS).topics[topic].partitions
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_CALL_SECONDS)
            for number in partitions
        }
        left = {number: end for number, (begin, end) in ends.items() if end > begin}
        consumer.assign([TopicPartition(topic, number, ends[number][0]) for number in left])
        found: list[Record] = []
        until = monotonic() + _CALL_SECONDS * 3
        while left:
            assert monotonic() < until, f"{topic} was not read to its end"
            message = consumer.poll(1.0)
            if message is None or message.error() is not None:
                continue
            headers = dict(message.headers() or [])
            found.append(
                Record(_text(headers.get(LETTER_ID)), _text(headers.get("wf-dlt-reason")), message.value() or b"")
            )
            number = message.partition() or 0
            if (message.offset() or 0) + 1 >= left.get(number, 0):
                left.pop(number, None)
        return found
    finally:
        consumer.close()


def by_run(letters: Iterable[DeadLetter]) -> defaultdict[str, list[DeadLetter]]:
    """Sort dead letters by their runs."""
    found: defaultdict[str, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        found[letter.run_id].append(letter)
    return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value or "")
