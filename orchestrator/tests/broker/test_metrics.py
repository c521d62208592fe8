"""What metrics say of a real Kafka, PostgreSQL and Redis."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchestrator.api.metrics import write
from orchestrator.api.served import Served
from orchestrator.app import broker_leases, outgoing
from orchestrator.app.orchestrator import Orchestrator
from orchestrator.model.limits import Limits
from tests.api.test_metrics import read
from tests.broker.http_worker import HttpWorker
from tests.broker.site import RawWorker, Site, define, ended, eventually, trigger
from tests.broker.test_refusals import NOISE, SMALL
from tests.real import Real

SOON = Limits(metrics_seconds=0.001)


async def samples(orchestrator: Orchestrator) -> dict[str, float]:
    return read((await write(orchestrator, Served())).decode())


async def until(orchestrator: Orchestrator, **wanted: float) -> dict[str, float]:
    """Wait until metrics, whose names go on after ``orchestrator_``, are so."""
    found: dict[str, float] = {}

    async def are_so() -> bool:
        nonlocal found
        found = await samples(orchestrator)
        return all(found.get(f"orchestrator_{name}") == value for name, value in wanted.items())

    try:
        await eventually(are_so)
    except TimeoutError:
        raise AssertionError({name: found.get(f"orchestrator_{name}") for name in wanted}) from None
    return found


async def test_what_goes_out_is_counted_until_workers_have_it(site: Site) -> None:
    async with site.process(partitions=1, limits=SOON) as orchestrator:
        worker = RawWorker(site, "workflow-worker.step1")
        await define(orchestrator, {"action": "step1"}, {"action": "step2"})
        for _ in range(3):
            await trigger(orchestrator)
        found = await until(
            orchestrator, **{"kafka_records_total{outcome=acknowledged}": 3, "jobs_open{state=sent}": 3}
        )
        assert found["orchestrator_kafka_records_waiting{}"] == found["orchestrator_kafka_bytes_waiting{}"] == 0
        assert found["orchestrator_jobs_open{state=pending}"] == 0
        # Nobody has said that he has read for it.
        assert "orchestrator_kafka_action_lag{action=step1}" not in found
        jobs = [await worker.job() for _ in range(3)]
        worker.commit()
        await until(orchestrator, **{"kafka_action_lag{action=step1}": 0})
        for _ in range(2):
            await trigger(orchestrator)
        found = await until(orchestrator, **{"kafka_action_lag{action=step1}": 2})
        assert "orchestrator_kafka_action_lag{action=step2}" not in found
        assert found["orchestrator_part_up{part=kafka}"] == found["orchestrator_part_up{part=database}"] == 1
        assert found["orchestrator_database_connections{state=most,use=reads}"] == 4
        assert found["orchestrator_database_waiting{use=reads}"] == 0
        worker.answer(jobs[0], "done")
        await until(orchestrator, **{"attempts_ended_total{outcome=completed}": 1, "kafka_lag{topic=results}": 0})
        worker.close()


async def test_what_is_under_way_has_a_size(site: Site) -> None:
    async with site.process(limits=SOON) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        broker = orchestrator.life.figures.broker
        assert broker is not None
        # Acknowledgements are collected by the loop, which has had no turn since.
        before = broker.report
        await trigger(orchestrator, "x" * 100_000)
        after = broker.report
        assert (after.records_waiting, after.bytes_waiting >= 100_000) == (before.records_waiting + 1, True)
        await until(orchestrator, **{"kafka_records_waiting{}": 0, "kafka_bytes_waiting{}": 0})


async def test_results_that_nobody_takes_are_behind(site: Site, raw: RawWorker) -> None:
    async with site.process(roles="api,timers", limits=SOON) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        run_id = await trigger(orchestrator)
        raw.answer(await raw.job(), "done", times=5)
        await until(orchestrator, **{"kafka_lag{topic=results}": 5, "kafka_lag{topic=heartbeats}": 0})
        async with site.process(roles="engine", limits=SOON) as engine:
            assert (await ended(engine, run_id)).status == "COMPLETED"
            await until(engine, **{"kafka_lag{topic=results}": 0})
            assert sum((await rejected(engine)).values()) == 4


async def rejected(orchestrator: Orchestrator) -> dict[str, float]:
    return {
        name: value
        for name, value in (await samples(orchestrator)).items()
        if name.startswith("orchestrator_records_rejected_total")
    }


async def test_workers_of_all_processes_are_counted_by_how_they_come(site: Site) -> None:
    async with site.process(limits=SOON) as one, site.process(limits=SOON) as two:
        HttpWorker(one, "over-http", "step1").register()
        beat = {"workerId": "over-kafka", "actions": ["step1"], "inFlight": [], "lease": 30}
        site.say(site.topics.heartbeats, json.dumps(beat).encode())
        both = {
            "workers{status=CONNECTED,transport=http}": 1,
            "workers{status=CONNECTED,transport=kafka}": 1,
        }
        await until(one, **both)
        await until(two, **both)


async def test_a_job_that_kafka_will_not_take_is_refused(site: Site) -> None:
    site.make_topic(site.topics.jobs, max_message_bytes=str(SMALL))
    async with site.process(limits=SOON) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        await trigger(orchestrator, NOISE)
        wanted = {"jobs_refused_total{}": 1, "dead_letters_open{}": 1, "attempts_ended_total{outcome=failed}": 1}
        found = await until(orchestrator, **wanted)
        assert found["orchestrator_kafka_records_total{outcome=failed}"] == 1
        assert found["orchestrator_events_total{event=StepFailed}"] == 1


async def test_what_is_sent_again_is_counted_by_reason(
    site: Site, raw: RawWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "MISPLACED_SECONDS", 0.2)
    monkeypatch.setattr(broker_leases, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(broker_leases, "LOST_SECONDS", 0.2)
    full = {"queue.buffering.max.messages": "20"}
    limits = Limits(metrics_seconds=0.001, kafka_resend_seconds=1)
    async with site.process(kafka_properties=full, limits=limits) as orchestrator:
        assert orchestrator.life.outgoing is not None
        database = orchestrator.life.outgoing._outbox._database  # type: ignore[attr-defined]
        await define(orchestrator, {"action": "step1"})
        await asyncio.gather(*(trigger(orchestrator, number) for number in range(60)))
        found = await until(orchestrator, **{"jobs_open{state=sent}": 60})
        assert found["orchestrator_kafka_records_total{outcome=failed}"] > 0
        assert found["orchestrator_jobs_resent_total{reason=unacknowledged}"] > 0
        assert found["orchestrator_jobs_resent_total{reason=lost}"] == 0
        before = found["orchestrator_jobs_resent_total{reason=misplaced}"]
        await database.fetch("UPDATE jobs SET topic = 'elsewhere' RETURNING 1")

        async def are_back() -> bool:
            return not await database.fetch("SELECT 1 FROM jobs WHERE topic = 'elsewhere'")

        await eventually(are_back)
        found = await until(orchestrator, **{"jobs_open{state=sent}": 60})
        assert found["orchestrator_jobs_resent_total{reason=misplaced}"] == before + 60
        await database.fetch('UPDATE jobs SET "offset" = 1000000 RETURNING 1')
        await until(orchestrator, **{"jobs_resent_total{reason=lost}": 60})


async def test_a_kafka_that_does_not_answer_is_down_until_it_does(site: Site) -> None:
    async with site.process(failpoints="broker.lags=error@1", limits=SOON) as orchestrator:
        found = await samples(orchestrator)
        assert found["orchestrator_part_up{part=kafka}"] == 0
        assert "orchestrator_kafka_lag{topic=results}" not in found
        await until(orchestrator, **{"part_up{part=kafka}": 1, "kafka_lag{topic=results}": 0})


async def test_what_redis_was_asked_is_counted(site: Site, real: Real) -> None:
    async with site.process(redis=real.redis(), redis_prefix=site.prefix, limits=SOON) as orchestrator:
        await define(orchestrator, {"action": "step1"})
        await until(orchestrator, **{"redis_state{state=up}": 1, "part_up{part=redis}": 1})

        async def is_hit() -> bool:
            await orchestrator.trigger("flow", b"", "a-key")
            return (await samples(orchestrator))["orchestrator_redis_hints_total{outcome=hits}"] > 0

        await eventually(is_hit)
        found = await samples(orchestrator)
        assert found["orchestrator_redis_hints_total{outcome=misses}"] > 0
        assert found["orchestrator_redis_hints_total{outcome=kept}"] > 0
        assert (
            found["orchestrator_redis_hints_total{outcome=errors}"]
            == found["orchestrator_redis_state{state=down}"]
            == 0
        )
