"""What handlers do: how long they take, and what they report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from orchestrator.model.wire import JobOut
from tests.simulation.options import BROKEN_ACTION, PAYLOAD_BYTES_MAX, SLOW_ACTION, Fault
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Plan:
    """How one execution goes."""

    seconds: float
    report: Raw
    result: bytes | None
    """What it returns; None when it fails."""


def plan(world: World, job: JobOut) -> Plan:
    """Draw how an execution goes."""
    draw, journal = world.draw, world.journal
    seconds = draw.uniform(0.001, 0.2) if draw.random() < 0.85 else draw.uniform(0.5, 3)
    if job.action == SLOW_ACTION and draw.random() < 0.5:
        seconds = draw.uniform(1, 6)
    if job.action == BROKEN_ACTION or world.strikes(Fault.FAILURES):
        return Plan(seconds, _failed(world, job), None)
    result = _result(world)
    if world.strikes(Fault.ODD_RESULTS):
        name, report = draw.choice(_odd_reports(job))
        journal.met(f"odd result: {name}")
        return Plan(seconds, report, b"null" if name == "no result" else None)
    return Plan(seconds, _report(job, result=Raw(result)), result)


def released(held: tuple[str, int]) -> Raw:
    """Report a job that is given back."""
    return Raw(msgspec.json.encode({"jobId": held[0], "attempt": held[1], "status": "released"}))


def _report(job: JobOut, **fields: Any) -> Raw:
    return Raw(msgspec.json.encode({"jobId": job.job_id, "attempt": job.attempt, **fields}))


def _result(world: World) -> bytes:
    """Make a JSON value that no decoder and encoder would give back byte by byte."""
    number = world.draw.getrandbits(60)
    return (
        world.draw.choice(
            (
                b'{"id": %d, "price": 1.50}',
                b'[%d.0, "\\u00e4", 1E2]',
                b'"%d"',
                b"%d000000000000000000000",
            )
        )
        % number
    )


def _failed(world: World, job: JobOut) -> Raw:
    error: dict[str, Any] = {"type": "Refused", "message": "not today"}
    odds = world.draw.random()
    if odds < 0.15:
        error["retryable"] = False
        world.journal.met("handler failed for good")
    elif odds < 0.3:
        error["type"] = "Hopeless"
        world.journal.met("handler failed with a type of error")
    elif odds < 0.5:
        error["retryAfter"] = world.draw.choice((0, 0.2, "700ms", -1))
        world.journal.met("handler asked for a delay")
    else:
        world.journal.met("handler failed")
    return _report(job, status="failed", error=error)


def _odd_reports(job: JobOut) -> list[tuple[str, Raw]]:
    return [
        ("too large", _report(job, result="x" * PAYLOAD_BYTES_MAX)),
        ("too deep", _report(job, result=Raw(b"[" * 9 + b"]" * 9))),
        ("wrong status", _report(job, status="done")),
        ("no result", _report(job)),
        ("another run", Raw(msgspec.json.encode({"jobId": "nobody:0", "attempt": 1}))),
        ("another step", Raw(msgspec.json.encode({"jobId": f"{job.workflow_run_id}:77", "attempt": 1}))),
        ("no job id", Raw(b'{"jobId":"nonsense","attempt":1}')),
        ("no job", Raw(b'{"result":1}')),
        ("later attempt", Raw(msgspec.json.encode({"jobId": job.job_id, "attempt": job.attempt + 50}))),
    ]
