"""Three brokers that keep three copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.daemon import wait_for
from stack.kafka_cluster import KafkaCluster
from stack.kafka_wire import Metadata
from stack.service import HOST

SECONDS_MAX = 60.0


@pytest.mark.timeout(300)
def test_two_of_three_go_on_and_the_third_comes_back(tmp_path: Path) -> None:
    with KafkaCluster(tmp_path).running() as cluster:
        first, second, third = cluster.brokers

        def is_made(topic: str) -> bool:
            asked = Metadata.ask(HOST, second.port, SECONDS_MAX, topics=(topic,), create=True)
            return asked.partitions.get(topic, 0) == 12

        assert wait_for(lambda: is_made("before"), SECONDS_MAX)
        first.kill()
        assert not first.answers()
        assert wait_for(lambda: is_made("meanwhile"), SECONDS_MAX)
        first.start(2 * SECONDS_MAX)
        assert first.answers()
        assert third.answers()
