"""Every failpoint is one that processes come to: none is a name only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from orchestrator.adapters.failpoints.armed import Failpoints
from orchestrator.adapters.failpoints.names import FAILPOINTS
from orchestrator.app import broker_leases
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.bootstrap import open_orchestrator
from orchestrator.model.errors import WorkerNotDrainable
from orchestrator.model.limits import Limits
from orchestrator.ports.queries import LetterFilter
from orchestrator.ports.store import PayloadRef
from orchestrator.settings import Settings
from tests.broker.http_worker import HttpWorker, done
from tests.broker.site import PATIENCE_SECONDS, RawWorker, Site, define, ended, trigger
from tests.real import Real

ARMED = ",".join(f"{name}=delay:0@999999999" for name in FAILPOINTS)
"""All of them, each at a time that never comes: they are only counted."""
FAILING: Final = ",store.due=error@2"
"""Who fails at a duty gives it up."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Failpoints]:
    """What processes have armed."""
    known: list[Failpoints] = []
    parse = Failpoints.parse

    def remember(text: str) -> Failpoints:
        known.append(parse(text))
        return known[-1]

    monkeypatch.setattr(Failpoints, "parse", remember)
    return known


async def test_every_failpoint_is_met(
    site: Site, real: Real, raw: RawWorker, opened: list[Failpoints], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(broker_leases, "LOST_SECONDS", 0.2)

    def unmet() -> list[str]:
        met = {name for points in opened for name in points.met}
        return [name for name in FAILPOINTS if name not in met]

    async with open_orchestrator(Settings(data=tmp_path / "data", failpoints=ARMED)) as embedded:
        await define(embedded, {"action": "step1"})
        await trigger(embedded)
        # A program over the ports may ask for these; the pipeline has them in memory.
        await embedded._store.payloads([PayloadRef((await trigger(embedded)), None)])
        await embedded._store.definition("flow", 1)
        # The memory of what was answered, where there is one, belongs to one database.
        await embedded._store.incarnation()
        # Asked for where the store has refused something.
        await embedded._store.try_write()
    settings = Settings(
        database=site.database,
        kafka=site.kafka,
        kafka_prefix=site.prefix,
        partitions=3,
        redis=real.redis(),
        redis_prefix=site.prefix,
        failpoints=ARMED + FAILING,
        limits=Limits(runs_kept_seconds=3_600, cleaning_seconds=0.2),
    )
    async with open_orchestrator(settings) as orchestrator, open_orchestrator(settings) as other:
        await _live(orchestrator, site, raw)
        await _serve_over_http(orchestrator, other)
        await _look_around(other)
        # Nobody does this one: it is noted as sent, and looked for among those that were taken.
        await trigger(orchestrator)
        until = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        await orchestrator.life.figures.look()
        while unmet() and asyncio.get_running_loop().time() < until:
            if unmet() == ["outbox.send_again"]:
                await _lose(orchestrator)
            await asyncio.sleep(0.05)
    assert unmet() == []


async def _serve_over_http(*processes: Orchestrator) -> None:
    """Let workers over HTTP of each process have a job, lose one, have that alone, and be told to stop another."""
    for number, process in enumerate(processes):
        action = f"web{number}"
        await define(process, {"action": action, "retry": {"delay": 0}})
        worker = HttpWorker(process, action, action, lease=1)
        lost = await trigger(process)
        assert [job.get("alone") for job in await worker.jobs()] == [None]
        (again,) = await worker.jobs()
        assert again["alone"]
        await worker.exchange(done(again))
        assert (await ended(process, lost)).status == "COMPLETED"
        stopped = await trigger(process)
        await worker.jobs()
        await process.cancel(stopped, b"")


async def _look_around(process: Orchestrator) -> None:
    """Do what people do with workers."""
    while "w" not in {worker.worker_id for worker in await process.workers()}:
        await asyncio.sleep(0.05)
    assert (await process.worker("w")).transport == "kafka"
    with pytest.raises(WorkerNotDrainable):
        await process.drain("w")
    await process.unserved()


async def _lose(orchestrator: Orchestrator) -> None:
    """Let jobs lie beyond the end of their topic, as after a crash of the broker that took it back."""
    assert orchestrator.life.outgoing is not None
    database = orchestrator.life.outgoing._outbox._inner._database  # type: ignore[attr-defined]
    await database.fetch("UPDATE jobs SET state = 'sent', \"offset\" = 1000000, partition = 0 RETURNING 1")


async def _live(orchestrator: Orchestrator, site: Site, raw: RawWorker) -> None:
    """Do everything that there is to do once."""
    await define(orchestrator, {"action": "step1", "retry": {"maxRetries": 0}})
    started = await orchestrator.trigger("flow", b"", "a-key")
    await define(orchestrator, {"action": "step1", "retry": {"maxRetries": 0}}, {"action": "step2"})
    job = await raw.job()
    outgoing = orchestrator.life.outgoing
    assert outgoing is not None
    while outgoing._acknowledged:
        # Where a job was that fails is asked for once it is noted, and no more remembered.
        await asyncio.sleep(0.05)
    failure = {**job, "status": "failed", "error": {"type": "Broke", "message": "no luck"}}
    site.say(site.topics.results, b"no result", json.dumps(failure).encode())
    assert (await ended(orchestrator, started.run_id)).status == "FAILED"
    letters, _ = await orchestrator.dead_letters(LetterFilter(), 10, None)
    await orchestrator.redrive(letters[0].id)
    job = await raw.job()
    raw.commit()
    beat = {"workerId": "w", "actions": ["step1"], "inFlight": [{"jobId": job["jobId"], "attempt": job["attempt"]}]}
    unknown = {"workerId": "w", "actions": ["step1"], "inFlight": [{"jobId": job["jobId"], "attempt": 9}]}
    site.say(site.topics.heartbeats, json.dumps(beat).encode(), json.dumps(unknown).encode())
    raw.answer(job, "fine")
    assert (await ended(orchestrator, started.run_id)).status == "COMPLETED"
