"""Which client records go out through."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import KafkaError, KafkaException

from orchestrator.adapters.kafka import outlets as module
from orchestrator.adapters.kafka.config import KafkaConfig
from orchestrator.adapters.kafka.outlets import MANY, READY_SECONDS, Outlets
from orchestrator.adapters.kafka.producer import Fault, Records
from tests.broker.hand import Hand
from tests.broker.site import Site

NOBODY = KafkaConfig(servers="127.0.0.1:1")


async def test_a_few_records_never_wait_and_many_do_once_their_client_is_ready() -> None:
    clock = Hand()
    outlets = Outlets(NOBODY, clock)
    few = outlets.for_burst(MANY - 1)
    assert outlets.for_burst(MANY) is few
    clock.now += READY_SECONDS
    many = outlets.for_burst(MANY)
    assert many is not few
    assert outlets.for_burst(10 * MANY) is many
    assert outlets.for_burst(MANY - 1) is outlets.for_burst(1) is few
    outlets.stop()


async def test_a_process_that_gets_no_second_client_goes_on_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Hand()
    outlets = Outlets(NOBODY, clock)
    few = outlets.for_burst(1)
    refused: list[int] = []

    def refuse(config: KafkaConfig, linger_ms: int) -> Records:
        refused.append(linger_ms)
        raise KafkaException(KafkaError(KafkaError._CRIT_SYS_RESOURCE))

    monkeypatch.setattr(module, "Records", refuse)
    for _ in range(3):
        assert outlets.for_burst(MANY) is few
        clock.now += READY_SECONDS
    assert len(refused) == 3
    outlets.stop()


async def test_what_both_clients_carry_arrives_and_is_counted(site: Site) -> None:
    clock = Hand()
    async with site.process():
        outlets = Outlets(KafkaConfig(servers=site.kafka), clock)
        outlets.for_burst(MANY)
        clock.now += READY_SECONDS
        places: list[tuple[int, int]] = []
        count = 20 * (1 + 2 * MANY)
        arrived = asyncio.Event()

        def acknowledged(partition: int, offset: int, fault: Fault | None) -> None:
            assert fault is None
            places.append((partition, offset))
            if len(places) == count:
                arrived.set()

        for _ in range(20):
            for size in (1, 2 * MANY):
                records = outlets.for_burst(size)
                for number in range(size):
                    assert records.send(site.topics.jobs, None, b"%d" % number, [], acknowledged, 0) is None
        report = outlets.report
        assert report.records_waiting + report.acknowledged == count
        await asyncio.wait_for(arrived.wait(), 30)
        assert len(set(places)) == count
        report = outlets.report
        assert (report.records_waiting, report.acknowledged, report.failed) == (0, count, 0)
        await outlets.close()
